"""`NamespaceRelease`: keeps the deletion of a namespace from hanging on finalizers that ESO has forgotten."""

from typing import Any, TypedDict

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from pullsecrets import binding
from pullsecrets.kube import KubernetesClient, shared_client


class NamespaceReleaseArgs(TypedDict):
    """Arguments of `NamespaceRelease`."""

    namespace: pulumi.Input[str]
    """Namespace that this program makes."""
    registries: pulumi.Input[list[pulumi.Input[str]]]
    """Registries that its labels grant."""
    context: pulumi.Input[str | None]
    """kubeconfig context; None for the current one."""


class _Provider(ResourceProvider):
    """Does nothing while the namespace stays as it is."""

    # The pickled provider holds no secret; as plain text it costs no encryption per resource.
    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Remember what to release."""
        return CreateResult(id_=props["namespace"], outs=dict(props))

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Find what `update` would do; a namespace of another name is another resource."""
        replaces = ["namespace"] if _olds["namespace"] != _news["namespace"] else []
        return DiffResult(changes=bool(replaces) or _olds["registries"] != _news["registries"], replaces=replaces)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Release the registries that the namespace no longer has; their labels are off by now."""
        dropped = [name for name in _olds["registries"] if name not in _news["registries"]]
        binding.release_abandoned(_client(_news), _news["namespace"], dropped)
        return UpdateResult(outs=dict(_news))

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Release what ESO has forgotten; the namespace is deleted next."""
        binding.release_abandoned(_client(_props), _props["namespace"], _props["registries"])


class NamespaceRelease(Resource, module="pullsecrets", name="NamespaceRelease"):
    """Takes ESO's finalizers off a made namespace before it is deleted, where its label was taken off by hand.

    Only where no `ImagePullSecretBinding` does that: with Pod admission
    (https://github.com/external-secrets/external-secrets/issues/6677).
    """

    def __init__(self, name: str, args: NamespaceReleaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare what to release.

        Args:
            name: resource name.
            args: the namespace and its registries.
            opts: resource options; let it depend on the namespace, so that it is deleted first.
        """
        super().__init__(_Provider(), name, {**args}, opts)


def _client(props: dict[str, Any]) -> KubernetesClient:
    return shared_client(props.get("context"))
