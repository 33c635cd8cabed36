"""`ImagePullSecretBinding`: pull Secrets in ServiceAccounts' lists, and what a namespace no longer has, taken away."""

from typing import Any, TypedDict, cast

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

from pullsecrets.kube.client import KubernetesClient, shared_client
from pullsecrets.tenancy import binding, opt_in


class ImagePullSecretBindingArgs(TypedDict):
    """Arguments of `ImagePullSecretBinding`."""

    namespace: pulumi.Input[str]
    """Namespace of the ServiceAccounts."""
    service_accounts: pulumi.Input[list[pulumi.Input[str]]]
    """ServiceAccounts to bind; none where admission gives Pods the entries. One that does not exist yet is bound by a
    later `up`, except `default`, which is waited for."""
    secrets: pulumi.Input[list[pulumi.Input[str]]]
    """Names of the pull Secrets."""
    labels: pulumi.Input[dict[str, pulumi.Input[str]]]
    """Labels of the namespace. One that is not wanted any more is taken off after everything else has changed."""
    context: pulumi.Input[str | None]
    """kubeconfig context; None for the current one."""


class _Provider(ResourceProvider):
    """Reads the live lists in each diff, so that a plain `up` repairs drift and binds late ServiceAccounts."""

    # The pickled provider holds no secret; as plain text it costs no encryption per resource.
    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Append the entries."""
        return CreateResult(id_=props["namespace"], outs=_bind(props))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Report which ServiceAccounts are bound now."""
        state = binding.read_state(_client(props), props["namespace"], props["service_accounts"], props["secrets"])
        return ReadResult(id_=id_, outs={**props, "bound": list(state.bound), "missing": list(state.missing)})

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Find what `update` would do: other wishes, entries that others removed, ServiceAccounts that appeared."""
        if _olds["namespace"] != _news["namespace"]:
            return DiffResult(changes=True, replaces=["namespace"])
        # State has to name where the provider's code is now, or nothing could delete the resource later.
        if any(_olds.get(key) != _news[key] for key in ("service_accounts", "secrets", "labels", "__provider")):
            return DiffResult(changes=True)
        state = binding.read_state(_client(_news), _news["namespace"], _news["service_accounts"], _news["secrets"])
        return DiffResult(changes=list(state.bound) != _olds["bound"] or bool(state.unbound))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Append what is wanted now; only when that can be pulled with, take away what is not wanted any more.

        What fails here fails before anything is appended: state would not know the new entry, and nobody take it off.
        """
        client, namespace = _client(_news), _news["namespace"]
        secrets, accounts = _texts(_olds, "secrets"), _texts(_olds, "service_accounts")
        dropped = [name for name in secrets if name not in _news["secrets"]]
        if dropped:
            binding.await_delivery(client, namespace, [name for name in _news["secrets"] if name not in secrets])
        outs = _bind(_news)
        binding.unbind(client, namespace, [name for name in accounts if name not in _news["service_accounts"]], secrets)
        binding.unbind(client, namespace, _news["service_accounts"], dropped)
        labels = cast("dict[str, str]", _olds.get("labels") or {})
        gone = {key: value for key, value in labels.items() if _news["labels"].get(key) != value}
        opt_in.leave(client, namespace, gone, {}, dropped)
        return UpdateResult(outs=outs)

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Remove our entries and no other."""
        accounts, secrets = _texts(_props, "service_accounts"), _texts(_props, "secrets")
        binding.unbind(_client(_props), _props["namespace"], accounts, secrets)


class ImagePullSecretBinding(Resource, module="pullsecrets", name="ImagePullSecretBinding"):
    """Binds pull Secrets to ServiceAccounts of one namespace without losing any other entry.

    `imagePullSecrets` is an atomic list, so a ServiceAccountPatch would replace the entries that OpenShift puts there
    (and `destroy` would remove them all). This resource appends with a guarded JSON Patch and removes only its own.

    It comes after the namespace's labels and after everything that looks for them, so it is also what takes away labels
    that are not wanted any more, and the finalizers that ESO forgets then
    (https://github.com/external-secrets/external-secrets/issues/6677).
    """

    bound: pulumi.Output[list[str]]
    """ServiceAccounts that list every Secret."""
    missing: pulumi.Output[list[str]]
    """Wanted ServiceAccounts that do not exist yet."""

    def __init__(self, name: str, args: ImagePullSecretBindingArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the binding.

        Args:
            name: resource name.
            args: namespace, ServiceAccounts and Secrets.
            opts: resource options.
        """
        super().__init__(_Provider(), name, {**args, "bound": None, "missing": None}, opts)


def _bind(props: dict[str, Any]) -> dict[str, Any]:
    state = binding.bind(_client(props), props["namespace"], props["service_accounts"], props["secrets"])
    return {**props, "bound": list(state.bound), "missing": list(state.missing)}


def _texts(props: dict[str, Any], key: str) -> list[str]:
    # The state of an earlier version has no such key where admission gave Pods the entries.
    return [*cast("list[str]", props.get(key) or [])]


def _client(props: dict[str, Any]) -> KubernetesClient:
    return shared_client(props.get("context"))
