"""What Pods pull and with which Secrets: which ones lack a registry's reference, and which cannot pull."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pullsecrets.config import Registry
from pullsecrets.image import any_from
from pullsecrets.kube.client import KubernetesClient, unless_refused
from pullsecrets.kube.objects import Object, controller_of, entries_of, is_leaving, status_of
from pullsecrets.kube.podspec import (
    DAEMON_SET,
    JOB,
    POD,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    STATEFUL_SET,
    containers_of,
    images_of,
)
from pullsecrets.kube.pull_failure import PULL_FAILURES

STATIC_POD = "a static Pod of a node reads no ServiceAccount: name the Secret in its manifest"
"""What to do for a Pod that a Node owns."""

Templates = Mapping[tuple[str, str], tuple[str, ...]]
"""By namespace and name: what the Pod templates of one kind name in `imagePullSecrets`."""

_MAKERS = {made.kind: made for made in (REPLICA_SET, STATEFUL_SET, DAEMON_SET, JOB, REPLICATION_CONTROLLER)}
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
    message: str = ""
    """What the kubelet says of that failure; free text, to be redacted before it is shown."""
    failed_images: tuple[str, ...] = ()
    """Images that cannot be pulled, as the Pod's specification names them."""
    idle: bool = False
    """Whether none of its containers runs: recreating it interrupts nothing."""
    pulled_images: tuple[str, ...] = ()
    """Images that the kubelet asked the registry for, because they are pulled always, and got."""
    cached_images: tuple[str, ...] = ()
    """Images that it got and that may have been on the node: nobody knows whether the registry was asked."""
    node: str = ""
    """Where it runs; empty while it is nowhere."""

    def uses(self, registry: Registry) -> bool:
        """Tell whether one of the images comes from a canonical host of the registry."""
        return any_from(self.images, registry.hosts)

    def lacks(self, registry: Registry) -> bool:
        """Tell whether the Pod pulls from the registry without naming its Secret: only recreating it can help."""
        return self.uses(registry) and registry.name not in self.references

    def has_pulled(self, registry: Registry, since: str) -> bool:
        """Tell whether the kubelet pulled from the registry for this Pod, which names its Secret, after a moment.

        Args:
            registry: whose image and Secret.
            since: RFC 3339 time in UTC, by the clock of the API server.
        """
        named = registry.name in self.references and self.created > since > ""
        return named and any_from(self.pulled_images, registry.hosts)

    def fails_on(self, hosts: Collection[str]) -> bool:
        """Tell whether an image that cannot be pulled comes from one of the hosts."""
        return any_from(self.failed_images, hosts)


def live_pods(cluster: KubernetesClient, namespace: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield the Pods that have not finished and are not being deleted, of one namespace or of all."""
    for item in cluster.items(POD.collection(namespace), _UNFINISHED):
        if status_of(item).get("phase") not in _FINISHED and not is_leaving(item):
            yield item


def entries_by_account(accounts: Iterable[Object]) -> dict[str, dict[str, list[str]]]:
    """Return what each ServiceAccount's `imagePullSecrets` lists, by namespace and name."""
    found: dict[str, dict[str, list[str]]] = {}
    for item in accounts:
        found.setdefault(item["metadata"]["namespace"], {})[item["metadata"]["name"]] = entries_of(item)
    return found


def list_pods(cluster: KubernetesClient, namespace: str | None = None) -> list[PodPull]:
    """Return what these Pods pull, as one list."""
    return [_pod(item) for item in live_pods(cluster, namespace)]


def list_templates(cluster: KubernetesClient, kind: str, namespace: str | None = None) -> Templates:
    """Return what the Pod templates of one kind name, in one namespace or in all; none where they may not be read."""
    maker = _MAKERS.get(kind)
    if maker is None:
        return {}
    items = unless_refused(lambda: list(cluster.items(maker.collection(namespace))), 403, 404) or ()
    return {
        (item["metadata"]["namespace"], item["metadata"]["name"]): tuple(entries_of(maker.spec(item))) for item in items
    }


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
    named = templates(kind).get((pod.namespace, name)) if kind in _MAKERS else None
    if named is not None:
        return bool(named) and registry.name not in named
    if set(pod.references) <= set(entries):
        return False
    return True if kind in {"", "Node"} else None


def _pod(item: dict[str, Any]) -> PodPull:
    metadata, spec, status = item["metadata"], POD.spec(item), status_of(item)
    owner, containers = controller_of(item), containers_of(spec)
    return PodPull(
        namespace=metadata["namespace"],
        name=metadata["name"],
        owner=f"{owner['kind']}/{owner['name']}" if owner else None,
        service_account=spec.get("serviceAccountName") or "default",
        references=tuple(entries_of(spec)),
        images=images_of(spec),
        failure=_failure(status).get("reason"),
        message=_failure(status).get("message", ""),
        created=metadata["creationTimestamp"],
        failed_images=_failed_images(containers, status),
        idle=not any("running" in (item.get("state") or {}) for item in _statuses(status)),
        pulled_images=_got_images(containers, status, always=True),
        cached_images=_got_images(containers, status, always=False),
        node=spec.get("nodeName") or "",
    )


def _statuses(status: Object) -> list[Object]:
    kinds = ("initContainerStatuses", "containerStatuses")
    return [item for kind in kinds for item in status.get(kind) or ()]


def _waiting(item: Object) -> dict[str, str]:
    return cast("dict[str, dict[str, str]]", item.get("state") or {}).get("waiting", {})


def _failure(status: Object) -> dict[str, str]:
    """Return reason and message of the first container whose image cannot be pulled."""
    waiting = (_waiting(item) for item in _statuses(status))
    return next((state for state in waiting if state.get("reason") in PULL_FAILURES), dict[str, str]())


def _failed_images(containers: Sequence[Object], status: Object) -> tuple[str, ...]:
    """Return the images as specified: a status may spell them in full."""
    failed = {item.get("name") for item in _statuses(status) if _waiting(item).get("reason") in PULL_FAILURES}
    return tuple(item["image"] for item in containers if item.get("image") and item.get("name") in failed)


def _got_images(containers: Sequence[Object], status: Object, *, always: bool) -> tuple[str, ...]:
    """Return the images that are there, of containers that pull always, or of all others.

    What is pulled always the registry was asked for: the others may come from the node's cache. A node that only
    simulates tells no image ID.
    """
    got = {item.get("name") for item in _statuses(status) if item.get("imageID")}
    return tuple(
        item["image"]
        for item in containers
        if item.get("image") and (item.get("imagePullPolicy") == "Always") is always and item.get("name") in got
    )
