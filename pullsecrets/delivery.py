"""Proof of delivery: every namespace of a registry holds the Secret with one content, seen by metadata alone."""

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pullsecrets.config import Registry
from pullsecrets.kube import KubernetesApiError, KubernetesClient
from pullsecrets.manifests import CONTENT_DIGEST_ANNOTATION
from pullsecrets.patience import patiently

LOOK_AGAIN_SECONDS = 5
"""How often the namespaces are listed again while Secrets are watched: some go, some join."""

_EXPIRED = 410


@dataclass(frozen=True)
class Progress:
    """How far a delivery is."""

    wanted: frozenset[str]
    """Namespaces that carry the opt-in label now."""
    missing: frozenset[str]
    """Those of them that do not hold the content yet."""

    @property
    def proved(self) -> int:
        """How many namespaces hold the content."""
        return len(self.wanted) - len(self.missing)


OnProgress = Callable[[Progress], None]


def label_selector(registry: Registry) -> str:
    """Return a registry's opt-in label as the API server and `kubectl --selector` take it."""
    return ",".join(f"{key}={value}" for key, value in sorted(registry.selector.items()))


def selected_namespaces(
    cluster: KubernetesClient, registry: Registry, only: Collection[str] | None = None
) -> frozenset[str]:
    """Return the namespaces that carry a registry's opt-in label and are not being deleted.

    Args:
        cluster: the cluster.
        registry: whose label.
        only: leave out all others; None for none.
    """
    items = cluster.items("/api/v1/namespaces", {"labelSelector": label_selector(registry)}, metadata_only=True)
    live = {item["metadata"]["name"] for item in items if not item["metadata"].get("deletionTimestamp")}
    return frozenset(live if only is None else live & set(only))


def wait_for_digest(
    cluster: KubernetesClient, registry: Registry, digest: str, namespaces: Iterable[str] | None, timeout: float
) -> frozenset[str]:
    """Wait as `prove_digest` does, and return the namespaces that do not hold the content."""
    return prove_digest(cluster, registry, digest, namespaces, timeout).missing


def prove_digest(
    cluster: KubernetesClient,
    registry: Registry,
    digest: str,
    namespaces: Iterable[str] | None,
    timeout: float,
    on_progress: OnProgress | None = None,
) -> Progress:
    """Wait until every namespace with a registry's label holds the content of a digest, and return what was seen last.

    Reads the digest that ESO writes beside each Secret, from a list and then a watch of metadata: no Secret's content
    leaves the API server. A namespace that is deleted or loses the label meanwhile is waited for no longer, one that
    gains the label joins. An API server that is away for a moment is waited for too.

    Args:
        cluster: the cluster, as somebody who may list and watch Secrets.
        registry: whose Secret.
        digest: of the content that is wanted.
        namespaces: wait for these alone, as far as they carry the label; None for all that carry it.
        timeout: seconds; with 0 it looks once.
        on_progress: called whenever what is missing changes, first with what the list shows.

    Raises:
        UnreachableError: when the API server does not answer and the time is over.
        KubernetesApiError: when it refuses the list.
    """
    only = None if namespaces is None else frozenset(namespaces)
    delivery = _Delivery(cluster, registry, digest, only, on_progress)
    deadline = time.monotonic() + timeout
    while True:
        patiently(deadline, delivery.look_and_follow, deadline)
        if not delivery.missing or time.monotonic() >= deadline:
            return delivery.progress


class _Delivery:
    """What is known of the namespaces and their Secrets while they are watched."""

    def __init__(
        self,
        cluster: KubernetesClient,
        registry: Registry,
        digest: str,
        only: frozenset[str] | None,
        on_progress: OnProgress | None,
    ) -> None:
        self._cluster = cluster
        self._registry = registry
        self._digest = digest
        self._only = only
        self._on_progress = on_progress
        self._query = {"fieldSelector": f"metadata.name={registry.name}"}
        self._version = ""
        self._wanted: frozenset[str] = frozenset()
        self._digests: dict[str, str | None] = {}
        self._told: Progress | None = None

    @property
    def missing(self) -> frozenset[str]:
        """Namespaces without the content."""
        return frozenset(name for name in self._wanted if self._digests.get(name) != self._digest)

    @property
    def progress(self) -> Progress:
        """What is known now."""
        return Progress(self._wanted, self.missing)

    def look_and_follow(self, deadline: float) -> None:
        """List namespaces and Secrets, and follow them until all is there, the time is over or the watch breaks."""
        self._look()
        while self.missing and (left := deadline - time.monotonic()) > 0:
            if not self._follow(min(left, LOOK_AGAIN_SECONDS)):
                return

    def _look(self) -> None:
        self._wanted = selected_namespaces(self._cluster, self._registry, self._only)
        found, self._version = self._cluster.snapshot("/api/v1/secrets", self._query, metadata_only=True)
        self._digests = {item["metadata"]["namespace"]: _digest_of(item) for item in found}
        self._tell()

    def _follow(self, seconds: float) -> bool:
        """Watch Secrets until nothing is missing or the time is over, then list the namespaces again.

        Returns:
            False when the watch cannot go on from where it was, so that Secrets must be listed again.
        """
        unbroken = self._watch(seconds)
        if unbroken:
            self._wanted = selected_namespaces(self._cluster, self._registry, self._only)
            self._tell()
        return unbroken

    def _watch(self, seconds: float) -> bool:
        query = {**self._query, "resourceVersion": self._version, "allowWatchBookmarks": "true"}
        try:
            for event in self._cluster.watch("/api/v1/secrets", query, math.ceil(seconds), metadata_only=True):
                if event["type"] == "ERROR":
                    return False
                self._take(event["type"], event["object"])
                if not self.missing:
                    return True
        except KubernetesApiError as error:
            if error.status != _EXPIRED:
                raise
            return False
        return True

    def _take(self, kind: str, item: Mapping[str, Any]) -> None:
        metadata = item["metadata"]
        self._version = metadata["resourceVersion"]
        if kind == "BOOKMARK":
            return
        self._digests[metadata["namespace"]] = None if kind == "DELETED" else _digest_of(item)
        self._tell()

    def _tell(self) -> None:
        progress = self.progress
        if self._on_progress and progress != self._told:
            self._on_progress(progress)
        self._told = progress


def _digest_of(item: Mapping[str, Any]) -> str | None:
    annotations = cast("dict[str, str]", item["metadata"].get("annotations") or {})
    return annotations.get(CONTENT_DIGEST_ANNOTATION)
