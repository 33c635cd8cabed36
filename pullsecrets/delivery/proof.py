"""Proof of delivery: every namespace of a registry holds the Secret with one content, seen by metadata alone."""

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pullsecrets.config import Registry
from pullsecrets.kube.client import KubernetesApiError, KubernetesClient
from pullsecrets.kube.eso import read_external_secrets
from pullsecrets.kube.objects import is_leaving
from pullsecrets.kube.ownership import Delivery
from pullsecrets.kube.selectors import by_name, written
from pullsecrets.kube.waiting import patiently

LOOK_AGAIN_SECONDS = 5
"""How often the namespaces are listed again while Secrets are watched: some go, some join."""

FIRST_PAUSE_SECONDS = 0.3
"""ESO writes the Secret first and its own status a moment later."""

WHOLE_SECOND = 1.0
"""The API server records who wrote what by whole seconds, so that of two writes within one the last is not known."""

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
Sync = Callable[[Collection[str]], object]


def selected_namespaces(
    cluster: KubernetesClient, registry: Registry, only: Collection[str] | None = None
) -> frozenset[str]:
    """Return the namespaces that carry a registry's opt-in label and are not being deleted.

    Args:
        only: leave out all others; None for none.
    """
    items = cluster.items("/api/v1/namespaces", {"labelSelector": written(registry.selector)}, metadata_only=True)
    live = {item["metadata"]["name"] for item in items if not is_leaving(item)}
    return frozenset(live if only is None else live & set(only))


def wait_for_digest(
    cluster: KubernetesClient,
    registry: Registry,
    digest: str,
    namespaces: Iterable[str] | None,
    timeout: float,
    sync: Sync | None = None,
) -> frozenset[str]:
    """Wait as `prove_digest` does, and return the namespaces that are not proved to hold the content."""
    return prove_digest(cluster, registry, digest, namespaces, timeout, sync=sync).missing


def prove_digest(
    cluster: KubernetesClient,
    registry: Registry,
    digest: str,
    namespaces: Iterable[str] | None,
    timeout: float,
    on_progress: OnProgress | None = None,
    sync: Sync | None = None,
) -> Progress:
    """Wait until every namespace with a registry's label holds the content of a digest, and return what was seen last.

    Proved is what `ownership.Delivery.unproved` has no doubt about: ESO wrote it, by the API server's own record, and
    the digest that it wrote beside it is the wanted one. That is read from a list and then a watch of metadata: no
    Secret's content leaves the API server. A namespace that is deleted or loses the label meanwhile is waited for no
    longer, one that gains the label joins. An API server that is away for a moment is waited for too.

    Args:
        cluster: the cluster, as a user who may list and watch Secrets.
        digest: of the content that is wanted.
        namespaces: wait for these alone, as far as they carry the label; None for all that carry it.
        timeout: seconds; with 0 it looks once.
        on_progress: called whenever what is missing changes, first with what the list shows.
        sync: has ESO compare namespaces again. Called once, for those that claim the content and are not proved to hold
            it after a whole second: somebody may have written in the same one as ESO.

    Raises:
        UnreachableError: when the API server does not answer and the time is over.
        KubernetesApiError: when it refuses the list.
    """
    only = None if namespaces is None else frozenset(namespaces)
    delivery = _Delivery(cluster, registry, digest, only, on_progress, sync)
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
        sync: Sync | None,
    ) -> None:
        self._cluster = cluster
        self._registry = registry
        self._digest = digest
        self._only = only
        self._on_progress = on_progress
        self._sync = sync
        self._version = ""
        self._wanted: frozenset[str] = frozenset()
        self._found: dict[str, Delivery] = {}
        self._proved: set[str] = set()
        self._current = False
        """Whether ExternalSecrets were read after the Secrets that are known."""
        self._told: Progress | None = None

    @property
    def missing(self) -> frozenset[str]:
        """Namespaces that are not proved to hold the content."""
        return self._wanted - self._proved

    @property
    def progress(self) -> Progress:
        """What is known now."""
        return Progress(self._wanted, self.missing)

    def look_and_follow(self, deadline: float) -> None:
        """List namespaces and Secrets, and follow them until all is there, the time is over or the watch breaks."""
        self._look()
        pause = FIRST_PAUSE_SECONDS
        while (self.missing or not self._current) and (left := deadline - time.monotonic()) > 0:
            if not self._claimed():
                if not self._follow(min(left, LOOK_AGAIN_SECONDS)):
                    return
            elif self._current:
                # Every Secret claims the content: what is missing is not seen in a watch of Secrets.
                time.sleep(min(left, pause))
                if pause >= WHOLE_SECOND and self._sync:
                    self._sync(self.missing)
                    self._sync = None
                pause = min(pause * 2, LOOK_AGAIN_SECONDS)
                self._look()
            else:
                self._judge(read_external_secrets(self._cluster, self._registry.name))

    def _claimed(self) -> bool:
        return all(name in self._found and self._found[name].digest == self._digest for name in self._wanted)

    def _look(self) -> None:
        self._wanted = selected_namespaces(self._cluster, self._registry, self._only)
        found, self._version = self._cluster.snapshot(
            "/api/v1/secrets", by_name(self._registry.name), metadata_only=True
        )
        self._found = {item["metadata"]["namespace"]: Delivery(self._registry.name, None, item) for item in found}
        self._proved = set()
        self._judge(read_external_secrets(self._cluster, self._registry.name))

    def _judge(self, external_secrets: Mapping[str, Mapping[str, Any]]) -> None:
        for name in self._found.keys() | external_secrets.keys():
            known = self._found.get(name)
            self._put(name, Delivery(self._registry.name, external_secrets.get(name), known.secret if known else None))
        self._current = True
        self._tell()

    def _put(self, namespace: str, found: Delivery) -> None:
        self._found[namespace] = found
        if found.unproved(self._digest) is None:
            self._proved.add(namespace)
        else:
            self._proved.discard(namespace)

    def _follow(self, seconds: float) -> bool:
        """Watch Secrets until each claims the content or the time is over, then list the namespaces again.

        Returns:
            False when the watch cannot go on from where it was, so that Secrets must be listed again.
        """
        unbroken = self._watch(seconds)
        if unbroken:
            self._wanted = selected_namespaces(self._cluster, self._registry, self._only)
            self._tell()
        return unbroken

    def _watch(self, seconds: float) -> bool:
        query = {**by_name(self._registry.name), "resourceVersion": self._version, "allowWatchBookmarks": "true"}
        try:
            for event in self._cluster.watch("/api/v1/secrets", query, math.ceil(seconds), metadata_only=True):
                if event["type"] == "ERROR":
                    return False
                self._take(event["type"], event["object"])
                if self._claimed():
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
        namespace = metadata["namespace"]
        known = self._found.get(namespace)
        secret = None if kind == "DELETED" else item
        self._put(namespace, Delivery(self._registry.name, known.external_secret if known else None, secret))
        self._current = False
        self._tell()

    def _tell(self) -> None:
        progress = self.progress
        if self._on_progress and progress != self._told:
            self._on_progress(progress)
        self._told = progress
