"""`NamespaceOptIn`: the opt-in labels on a namespace that others own."""

from typing import Any, TypedDict

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

from pullsecrets import opt_in
from pullsecrets.kube import KubernetesClient, shared_client


class NamespaceOptInArgs(TypedDict):
    """Arguments of `NamespaceOptIn`."""

    namespace: pulumi.Input[str]
    """Namespace that exists."""
    labels: pulumi.Input[dict[str, pulumi.Input[str]]]
    """Opt-in labels."""
    registries: pulumi.Input[list[pulumi.Input[str]]]
    """Registries that the labels grant; their finalizers are released when the namespace leaves."""
    context: pulumi.Input[str | None]
    """kubeconfig context; None for the current one."""


class _Provider(ResourceProvider):
    """Reads the live labels in each diff, so that a plain `up` repairs drift."""

    # The pickled provider holds no secret; as plain text it costs no encryption per resource.
    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Put the labels on."""
        opt_in.opt_in(_client(props), props["namespace"], props["labels"])
        return CreateResult(id_=props["namespace"], outs=dict(props))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Report which of our labels are there now."""
        live = opt_in.read_labels(_client(props), props["namespace"], props["labels"])
        return ReadResult(id_="", outs={}) if live is None else ReadResult(id_=id_, outs={**props, "labels": live})

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Find what `update` would do: other wishes, or labels that others changed."""
        if _olds["namespace"] != _news["namespace"]:
            return DiffResult(changes=True, replaces=["namespace"])
        if any(_olds[key] != _news[key] for key in ("labels", "registries")):
            return DiffResult(changes=True)
        live = opt_in.read_labels(_client(_news), _news["namespace"], _news["labels"])
        return DiffResult(changes=live != _news["labels"])

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Put wanted labels on, take dropped ones off and release what they granted."""
        client, namespace = _client(_news), _news["namespace"]
        opt_in.opt_in(client, namespace, _news["labels"])
        dropped_labels = {key: value for key, value in _olds["labels"].items() if key not in _news["labels"]}
        dropped = [name for name in _olds["registries"] if name not in _news["registries"]]
        opt_in.opt_out(client, namespace, dropped_labels, dropped)
        return UpdateResult(outs=dict(_news))

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Take our labels off and release ESO's finalizers, so that the owner can delete the namespace."""
        opt_in.opt_out(_client(_props), _props["namespace"], _props["labels"], _props["registries"])


class NamespaceOptIn(Resource, module="pullsecrets", name="NamespaceOptIn"):
    """Opt-in labels on a namespace that exists and that its owner keeps.

    A `NamespacePatch` would create a namespace that is missing, create it again when it is deleted after its owner
    removed it, and leave ESO's finalizer behind, on which the namespace's own deletion hangs
    (https://github.com/external-secrets/external-secrets/issues/6677).
    """

    def __init__(self, name: str, args: NamespaceOptInArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the labels.

        Args:
            name: resource name.
            args: namespace, labels and what they grant.
            opts: resource options.
        """
        super().__init__(_Provider(), name, {**args}, opts)


def _client(props: dict[str, Any]) -> KubernetesClient:
    return shared_client(props.get("context"))
