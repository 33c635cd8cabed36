"""What Pods pull and with which Secrets: which ones lack a registry's reference, and which cannot pull."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pullsecrets.config import Registry
from pullsecrets.image import image_host
from pullsecrets.kube.client import KubernetesApiError, KubernetesClient
from pullsecrets.kube.ownership import controller_of
from pullsecrets.kube.pull_failure import PULL_FAILURES

STATIC_POD = "a static Pod of a node reads no ServiceAccount: name the Secret in its manifest"
"""What to do for a Pod that a Node owns."""

Templates = Mapping[tuple[str, str], tuple[str, ...]]
"""By namespace and name: what the Pod templates of one kind name in `imagePullSecrets`."""

_TEMPLATES = {
    "ReplicaSet": "/apis/apps/v1{scope}/replicasets",
    "StatefulSet": "/apis/apps/v1{scope}/statefulsets",
    "DaemonSet": "/apis/apps/v1{scope}/daemonsets",
    "Job": "/apis/batch/v1{scope}/jobs",
    "ReplicationController": "/api/v1{scope}/replicationcontrollers",
}
"""Kinds that make Pods themselves. A Deployment does so through its ReplicaSets, whose template is the Pod's own."""

_FINISHED = frozenset({"Succeeded", "Failed"})
# The server leaves them out: a cluster keeps the Pods of many finished Jobs. A Pod is about 5 KB.
_UNFINISHED = {"fieldSelector": ",".join(f"status.phase!={phase}" for phase in sorted(_FINISHED)), "limit": "1000"}


@dataclass(frozen=True)
class PodPull:
    """The part of a Pod that says what it pulls and how that goes."""

    namespace: str
    name: str
    owner: str | None
    """Controller as `Kind/name`, such as `ReplicaSet/auth-5d9`; None for a Pod that nothing would make again."""
    service_account: str
    references: tuple[str, ...]
    """Names in `spec.imagePullSecrets`, fixed when the Pod was admitted."""
    images: tuple[str, ...]
    failure: str | None
    """Waiting reason of the first container whose image cannot be pulled."""
    created: str
    """RFC 3339 time of creation."""
    failed_images: tuple[str, ...] = ()
    """Images that cannot be pulled, as the Pod's specification names them."""
    idle: bool = False
    """Whether none of its containers runs: making it anew interrupts nothing."""
    pulled_images: tuple[str, ...] = ()
    """Images that the kubelet asked the registry for, because they are pulled always, and got."""

    def uses(self, registry: Registry) -> bool:
        """Tell whether one of the images comes from a canonical host of the registry."""
        return any(image_host(image) in registry.hosts for image in self.images)

    def lacks(self, registry: Registry) -> bool:
        """Tell whether the Pod pulls from the registry without naming its Secret: only making it anew can help."""
        return self.uses(registry) and registry.name not in self.references

    def has_pulled(self, registry: Registry, since: str) -> bool:
        """Tell whether the kubelet pulled from the registry for this Pod, which names its Secret, after a moment.

        Args:
            registry: whose image and Secret.
            since: RFC 3339 time in UTC, by the clock of the API server.
        """
        named = registry.name in self.references and self.created > since > ""
        return named and any(image_host(image) in registry.hosts for image in self.pulled_images)

    def fails_on(self, hosts: Collection[str]) -> bool:
        """Tell whether an image that cannot be pulled comes from one of the hosts."""
        return any(image_host(image) in hosts for image in self.failed_images)


def list_pods(cluster: KubernetesClient, namespace: str | None = None) -> list[PodPull]:
    """Return the Pods that have not finished and are not being deleted, of one namespace or of all."""
    scope = f"/namespaces/{namespace}" if namespace else ""
    return list(_live(cluster.items(f"/api/v1{scope}/pods", _UNFINISHED)))


def list_templates(cluster: KubernetesClient, kind: str, namespace: str | None = None) -> Templates:
    """Return what the Pod templates of one kind name, in one namespace or in all; none where they may not be read."""
    if kind not in _TEMPLATES:
        return {}
    scope = f"/namespaces/{namespace}" if namespace else ""
    try:
        return {
            (item["metadata"]["namespace"], item["metadata"]["name"]): _named(_template(item))
            for item in cluster.items(_TEMPLATES[kind].format(scope=scope))
        }
    except KubernetesApiError as error:
        if error.status not in {403, 404}:
            raise
        return {}


def brings_own_list(
    pod: PodPull, registry: Registry, entries: Collection[str], templates: Callable[[str], Templates]
) -> bool | None:
    """Tell whether a Pod that lacks a registry's reference brings a list of its own, so that it would come back so.

    Admission copies the ServiceAccount's list only into a Pod that has none
    (https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#serviceaccount-admission-controller),
    and that list may have changed since: only the template that Pods are made from tells. A Pod that nothing makes
    again is judged by names that its ServiceAccount does not list now.

    Args:
        pod: the Pod.
        registry: the registry whose reference it lacks.
        entries: what its ServiceAccount lists now.
        templates: gives the templates of a kind, as `list_templates`; not called for a Pod that names nothing.

    Returns:
        None when its template cannot be read and its names do not tell.
    """
    if not pod.references:
        return False
    kind, _, name = (pod.owner or "").partition("/")
    named = templates(kind).get((pod.namespace, name)) if kind in _TEMPLATES else None
    if named is not None:
        return bool(named) and registry.name not in named
    if set(pod.references) <= set(entries):
        return False
    return True if kind in {"", "Node"} else None


def _live(items: Iterable[dict[str, Any]]) -> Iterator[PodPull]:
    for item in items:
        metadata, status = item["metadata"], cast("dict[str, Any]", item.get("status") or {})
        if status.get("phase") in _FINISHED or metadata.get("deletionTimestamp"):
            continue
        yield _pod(metadata, item["spec"], status)


def _pod(metadata: dict[str, Any], spec: dict[str, Any], status: dict[str, Any]) -> PodPull:
    kinds = ("initContainers", "containers", "ephemeralContainers")
    containers = cast("list[dict[str, Any]]", [item for kind in kinds for item in spec.get(kind) or ()])
    return PodPull(
        namespace=metadata["namespace"],
        name=metadata["name"],
        owner=_controller(metadata),
        service_account=spec.get("serviceAccountName") or "default",
        references=_named(spec),
        images=tuple(container["image"] for container in containers if container.get("image")),
        failure=_failure(status),
        created=metadata["creationTimestamp"],
        failed_images=_failed_images(containers, status),
        idle=not any("running" in (item.get("state") or {}) for item in _statuses(status)),
        pulled_images=_pulled_images(containers, status),
    )


def _template(item: Mapping[str, Any]) -> dict[str, Any]:
    # A ReplicationController may have none.
    template = cast("dict[str, Any]", item["spec"].get("template") or {})
    return cast("dict[str, Any]", template.get("spec") or {})


def _named(spec: Mapping[str, Any]) -> tuple[str, ...]:
    entries = cast("list[dict[str, str]]", spec.get("imagePullSecrets") or [])
    return tuple(entry.get("name", "") for entry in entries)


def _controller(metadata: dict[str, Any]) -> str | None:
    owner = controller_of(metadata)
    return f"{owner['kind']}/{owner['name']}" if owner else None


def _statuses(status: dict[str, Any]) -> list[dict[str, Any]]:
    kinds = ("initContainerStatuses", "containerStatuses")
    return [item for kind in kinds for item in status.get(kind) or ()]


def _waiting(item: dict[str, Any]) -> str:
    state = cast("dict[str, dict[str, str]]", item.get("state") or {})
    return state.get("waiting", {}).get("reason", "")


def _failure(status: dict[str, Any]) -> str | None:
    reasons = (_waiting(item) for item in _statuses(status))
    return next((reason for reason in reasons if reason in PULL_FAILURES), None)


def _failed_images(containers: list[dict[str, Any]], status: dict[str, Any]) -> tuple[str, ...]:
    """Return the images as specified: a status may spell them in full."""
    failed = {item.get("name") for item in _statuses(status) if _waiting(item) in PULL_FAILURES}
    return tuple(item["image"] for item in containers if item.get("image") and item.get("name") in failed)


def _pulled_images(containers: list[dict[str, Any]], status: dict[str, Any]) -> tuple[str, ...]:
    """Return the images whose pull the registry must have been asked for: others may come from the node's cache.

    A node that only simulates tells no image ID.
    """
    got = {item.get("name") for item in _statuses(status) if item.get("imageID")}
    return tuple(
        item["image"]
        for item in containers
        if item.get("image") and item.get("imagePullPolicy") == "Always" and item.get("name") in got
    )
