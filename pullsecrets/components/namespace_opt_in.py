"""`NamespaceOptIn`: a tenant's namespace with its opt-in labels, created where the stack is to create it."""

from collections.abc import Mapping
from typing import Any, TypedDict, cast

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

from pullsecrets.kube.client import KubernetesClient, shared_client
from pullsecrets.kube.marks import STACK_ANNOTATION
from pullsecrets.tenancy import opt_in


class NamespaceOptInArgs(TypedDict):
    """Arguments of `NamespaceOptIn`."""

    namespace: pulumi.Input[str]
    """Name of the namespace."""
    labels: pulumi.Input[dict[str, pulumi.Input[str]]]
    """Labels that it carries, opt-in labels among them; those of others stay."""
    annotations: pulumi.Input[dict[str, pulumi.Input[str]]]
    """Annotations that it carries; those of others stay."""
    registries: pulumi.Input[Mapping[str, pulumi.Input[Mapping[str, pulumi.Input[str]]]]]
    """Selector of each registry that the labels grant, by its name."""
    owner: pulumi.Input[str | None]
    """Stack that creates the namespace where it is missing; None for a namespace that others create."""
    delete: pulumi.Input[bool]
    """Whether a namespace that was created here is deleted when it leaves."""
    context: pulumi.Input[str | None]
    """kubeconfig context; None for the current one."""


# Where the provider's code is counts too: state has to name it, or nothing could delete the resource later.
_WISHES = ("labels", "annotations", "registries", "owner", "delete", "__provider")


class _Provider(ResourceProvider):
    """Reads the live labels in each diff, so that a plain `up` repairs drift."""

    # The pickled provider holds no secret; as plain text it costs no encryption per resource.
    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Create the namespace, or put the labels on."""
        _put(props)
        return CreateResult(id_=props["namespace"], outs=dict(props))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Report which of our labels and annotations are there now."""
        live = opt_in.read_marks(_client(props), props["namespace"], props["labels"], _declared_annotations(props))
        if live is None:
            return ReadResult(id_="", outs={})
        return ReadResult(id_=id_, outs={**props, "labels": live[0], "annotations": live[1]})

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Find what `update` would do: other wishes, a namespace that is gone, or labels that others changed."""
        if _olds["namespace"] != _news["namespace"]:
            return DiffResult(changes=True, replaces=["namespace"])
        if any(_olds.get(key) != _news.get(key) for key in _WISHES):
            return DiffResult(changes=True)
        wanted = _news["labels"], _news["annotations"]
        return DiffResult(changes=opt_in.read_marks(_client(_news), _news["namespace"], *wanted) != wanted)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Put on what is wanted. Labels that are not wanted any more go with `ImagePullSecretBinding`."""
        _put(_news)
        annotations = {key: value for key, value in _annotations(_olds).items() if key not in _annotations(_news)}
        opt_in.take_off(_client(_news), _news["namespace"], {}, annotations)
        return UpdateResult(outs=dict(_news))

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Take off what is ours, ESO's finalizers too, and delete the namespace where that is declared."""
        client, namespace, owner = _client(_props), _props["namespace"], _props.get("owner")
        # Who created it stays written there, so that it can come back without being adopted.
        opt_in.leave(client, namespace, _props["labels"], _declared_annotations(_props), _props["registries"])
        if owner and _props.get("delete"):
            opt_in.delete_if_owned(client, namespace, owner)


class NamespaceOptIn(Resource, module="pullsecrets", name="NamespaceOptIn"):
    """A namespace that carries opt-in labels, and keeps every label and annotation that others put there.

    Before the Kubernetes provider updates a Namespace by server-side apply, it takes over the fields of every manager
    whose name begins with `kubectl` (`fixCSAFieldManagers` in its pkg/await/await.go, v4.25.0); the apply then removes
    those that it does not declare, so labels that people put there would vanish. A `NamespacePatch` would create a
    namespace that is missing, create it again when it is deleted after its owner removed it, and leave ESO's finalizer
    behind, on which the namespace's own deletion hangs
    (https://github.com/external-secrets/external-secrets/issues/6677).
    """

    def __init__(self, name: str, args: NamespaceOptInArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the namespace's labels.

        Args:
            args: namespace, labels and what they grant.
        """
        super().__init__(_Provider(), name, {**args}, opts)


def _put(props: dict[str, Any]) -> None:
    labels, annotations = props["labels"], props["annotations"]
    opt_in.opt_in(_client(props), props["namespace"], labels, annotations, props["registries"], props.get("owner"))


def _annotations(props: dict[str, Any]) -> dict[str, str]:
    """Return the annotations that a namespace has from us, the one that says who created it among them."""
    owner = props.get("owner")
    return {**_declared_annotations(props), **({STACK_ANNOTATION: owner} if owner else {})}


def _declared_annotations(props: dict[str, Any]) -> dict[str, str]:
    return cast("dict[str, str]", props.get("annotations") or {})


def _client(props: dict[str, Any]) -> KubernetesClient:
    return shared_client(props.get("context"))
