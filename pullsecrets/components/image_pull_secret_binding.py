"""Bindings of one namespace or many: pull Secrets in ServiceAccounts' lists, and what is not declared, taken away."""

from collections.abc import Mapping
from itertools import islice
from typing import Any, TypedDict

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

from pullsecrets.errors import PullSecretsError
from pullsecrets.kube.bindings import MANY, ONE, read_bindings
from pullsecrets.kube.client import KubernetesClient, shared_client
from pullsecrets.tenancy.bindings import Bindings, read_lacking, settle
from pullsecrets.text import listed


class NamespaceBinding(TypedDict):
    """What one namespace has."""

    service_accounts: pulumi.Input[list[pulumi.Input[str]]]
    """ServiceAccounts to bind; none where admission gives Pods the entries. One that does not exist yet is bound by a
    later `up`, except `default`, which is waited for."""
    secrets: pulumi.Input[list[pulumi.Input[str]]]
    """Names of the pull Secrets."""
    labels: pulumi.Input[dict[str, pulumi.Input[str]]]
    """Labels of the namespace. One that is not wanted any more is taken off after everything else has changed."""


class ImagePullSecretBindingArgs(NamespaceBinding):
    """Arguments of `ImagePullSecretBinding`."""

    namespace: pulumi.Input[str]
    """Namespace of the ServiceAccounts."""
    context: pulumi.Input[str | None]
    """kubeconfig context; None for the current one."""


class ImagePullSecretBindingsArgs(TypedDict):
    """Arguments of `ImagePullSecretBindings`."""

    namespaces: pulumi.Input[Mapping[str, pulumi.Input[NamespaceBinding]]]
    """What each namespace has, by its name."""
    context: pulumi.Input[str | None]
    """kubeconfig context; None for the current one."""


class _Provider(ResourceProvider):
    """Reads the live lists in each preview, so that a plain `up` repairs drift and binds late ServiceAccounts."""

    # The pickled provider holds no secret; as plain text it costs no encryption per resource.
    serialize_as_secret_always = False

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        """Note as an input what namespaces lack that had it, so that a preview shows it."""
        return CheckResult(_noting_lacking(news, read_bindings(_olds) if _olds else {}), [])

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Append the entries."""
        return CreateResult(id_=props.get("namespace", MANY), outs=_settled(props, {}))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Report which entries are lacking now."""
        return ReadResult(id_=id_, outs=_noting_lacking(props, read_bindings(props)))

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Find what `update` would do: other wishes, entries that others removed, ServiceAccounts that appeared."""
        if _olds.get("namespace") != _news.get("namespace"):
            return DiffResult(changes=True, replaces=["namespace"])
        lacking: dict[str, Any] = _news.get("lacking", {})
        if lacking and "namespaces" in _news:
            # The engine shows what its dynamic providers print; a preview without --diff tells no more of inputs.
            print(f"ServiceAccounts that lack pull Secrets, in {listed(lacking, 10)}", flush=True)
        # State has to name where the provider's code is now, or nothing could delete the resource later.
        moved = _olds.get("__provider") != _news["__provider"]
        changes = moved or bool(lacking) or bool(_olds.get("failed")) or read_bindings(_olds) != read_bindings(_news)
        return DiffResult(changes=changes)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Append what is wanted now; only when that can be pulled with, take away what is not wanted any more."""
        return UpdateResult(outs=_settled(_news, read_bindings(_olds)))

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Remove our entries and no other."""
        failed = settle(_client(_props), read_bindings(_props), {}).failed
        if failed:
            raise PullSecretsError("\n".join(failed.values()))


class ImagePullSecretBinding(Resource, module="pullsecrets", name=ONE):
    """Binds pull Secrets to ServiceAccounts of one namespace without losing any other entry.

    `imagePullSecrets` is an atomic list, so a ServiceAccountPatch would replace the entries that OpenShift puts there
    (and `destroy` would remove them all). This resource appends with a guarded JSON Patch and removes only its own.

    It comes after the namespace's labels and after everything that looks for them, so it is also what takes away labels
    that are not wanted any more, and the finalizers that ESO forgets then
    (https://github.com/external-secrets/external-secrets/issues/6677).
    """

    def __init__(self, name: str, args: ImagePullSecretBindingArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the binding.

        Args:
            name: resource name.
            args: namespace, ServiceAccounts and Secrets.
            opts: resource options.
        """
        super().__init__(_Provider(), name, {**args}, opts)


class ImagePullSecretBindings(Resource, module="pullsecrets", name=MANY):
    """Binds the namespaces of a stack as `ImagePullSecretBinding` binds one, with a few lists in place of one for each.

    A namespace that fails keeps no other from being bound; the run fails at its end and names each.
    """

    failed: pulumi.Output[dict[str, str]]
    """Why a namespace could not be bound, by its name; the next `up` tries again."""

    def __init__(
        self, name: str, args: ImagePullSecretBindingsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare the bindings.

        Args:
            name: resource name.
            args: namespaces, their ServiceAccounts and Secrets.
            opts: resource options.
        """
        super().__init__(_Provider(), name, {**args, "failed": None}, opts)
        # State has to know of the namespaces that were bound, so it is not the provider that fails.
        self.failed.apply(_require_none)


_MOST_CAUSES = 10


def _require_none(failed: Mapping[str, str] | None) -> None:
    if failed:
        causes = dict.fromkeys(failed[name] for name in sorted(failed))
        raise pulumi.RunError("\n".join([*islice(causes, _MOST_CAUSES), f"not bound: {listed(sorted(failed), 100)}"]))


def _settled(props: dict[str, Any], held: Bindings) -> dict[str, Any]:
    """Settle what is wanted and return the outputs that say what is held now."""
    settled = settle(_client(props), held, read_bindings(props))
    outs = {key: value for key, value in props.items() if key != "lacking"}
    if "namespaces" not in props:
        if settled.failed:
            raise PullSecretsError("\n".join(settled.failed.values()))
        return outs
    namespaces = {name: bound.properties() for name, bound in settled.held.items()}
    return {**outs, "namespaces": namespaces, "failed": settled.failed}


def _noting_lacking(props: dict[str, Any], held: Bindings) -> dict[str, Any]:
    wanted = {name: bound for name, bound in read_bindings(props).items() if name in held}
    lacking = read_lacking(_client(props), wanted)
    return {**{key: props[key] for key in props if key != "lacking"}, **({"lacking": lacking} if lacking else {})}


def _client(props: dict[str, Any]) -> KubernetesClient:
    return shared_client(props.get("context"))
