"""What each wave of a rollout must pass: Secret proved, Pods Ready, no image that could not be pulled, smoke check."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self, cast

from pullsecrets.config import Registry, StackConfig
from pullsecrets.coverage.audit import concerned_namespaces, coverage
from pullsecrets.coverage.inventory import read_inventory
from pullsecrets.kube.client import KubernetesClient, last_seen
from pullsecrets.kube.objects import is_leaving
from pullsecrets.redaction import redact
from pullsecrets.rollout.plan import Target
from pullsecrets.workloads.pods import list_pods

PULL_REASONS = frozenset({"Failed", "BackOff", "InspectFailed"})
"""Reasons of the kubelet's events about images; `Failed` and `BackOff` have other meanings too, so that the message is
looked at (https://github.com/kubernetes/kubernetes, pkg/kubelet/events/event.go)."""


class Reason(str):
    """Why something does not pass a gate; never empty, whatever a server said."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Keep a text without what a terminal would not show at its ends."""
        return super().__new__(cls, text.strip() or "no reason was given")


@dataclass(frozen=True)
class SmokeCheck:
    """A request to each service through the API server's service proxy."""

    port: str
    """Number or name of the Service's port; `https:8443` for TLS."""
    path: str = "/"

    def url(self, target: Target) -> str:
        """Path of the request; the Service is named after the service."""
        scheme, _, port = self.port.rpartition(":")
        service = f"{scheme}:{target.service}:{port}" if scheme else f"{target.service}:{port}"
        return f"/api/v1/namespaces/{target.namespace}/services/{service}/proxy/{self.path.lstrip('/')}"


def undelivered(
    config: StackConfig, cluster: KubernetesClient, registry: Registry, digest: str, namespaces: Collection[str]
) -> dict[str, str]:
    """Return the namespaces that are not bound or do not hold the seeded content, and what each lacks."""
    found = read_inventory(config, cluster)
    seeded = {item.name: digest if item.name == registry.name else None for item in config.registries}
    rows = coverage(config, found, concerned_namespaces(config, found.namespaces), seeded)
    return {
        row.namespace: "; ".join(row.faults)
        for row in rows
        if row.registry == registry.name and row.namespace in namespaces and row.faults
    }


def failing_pods(cluster: KubernetesClient, registry: Registry, namespaces: Sequence[str]) -> dict[str, str]:
    """Return the Pods that lack the reference or cannot pull, as `namespace/name`, and which of the two."""
    problems: dict[str, str] = {}
    for pod in (pod for namespace in namespaces for pod in list_pods(cluster, namespace)):
        place = f"{pod.namespace}/{pod.name}"
        if pod.failure and pod.fails_on(registry.hosts):
            problems[place] = f"{pod.failure}: {', '.join(pod.failed_images)}"
        elif pod.lacks(registry):
            problems[place] = f"does not name {registry.name} in imagePullSecrets; no controller recreates it"
    return problems


def pull_events(cluster: KubernetesClient, namespaces: Sequence[str], since: datetime) -> dict[str, str]:
    """Return the kubelet's complaints about images of Pods that exist, since a moment, by Pod as `namespace/name`.

    The kubelet repeats what it says of a Pod until that is gone, so a restart that healed a wave leaves events behind.

    Args:
        cluster: the cluster, as an operator.
        since: by the clock of the API server.
    """
    query = {"fieldSelector": "involvedObject.kind=Pod,type=Warning"}
    events = [
        event for namespace in namespaces for event in cluster.items(f"/api/v1/namespaces/{namespace}/events", query)
    ]
    existing = _uids(cluster, namespaces)
    return {
        f"{event['involvedObject']['namespace']}/{event['involvedObject']['name']}": redact(str(event["message"]))
        for event in events
        if event.get("reason") in PULL_REASONS
        and "image" in str(event.get("message", "")).lower()
        and (moment := event_time(event))
        and moment >= since
        and event["involvedObject"].get("uid") in existing
    }


def failed_smoke_checks(
    cluster: KubernetesClient, smoke: SmokeCheck | None, targets: Sequence[Target]
) -> dict[str, str]:
    """Request each service's path and return those that do not answer with success, with what came back."""
    problems: dict[str, str] = {}
    for target in targets if smoke else ():
        url = cast("SmokeCheck", smoke).url(target)
        status, reason = cluster.probe(url)
        if not 200 <= status < 400:
            problems[target.namespace] = f"{url} answers {status} {redact(reason)}".rstrip()
    return problems


def event_time(event: Mapping[str, Any]) -> datetime | None:
    """Return when an event was last seen; None when it does not say."""
    latest = last_seen(event)
    return datetime.fromisoformat(latest) if latest else None


def _uids(cluster: KubernetesClient, namespaces: Sequence[str]) -> frozenset[str]:
    """Return the Pods that exist and are not being deleted; a StatefulSet gives the name of one to the next."""
    return frozenset(
        item["metadata"]["uid"]
        for namespace in namespaces
        for item in cluster.items(f"/api/v1/namespaces/{namespace}/pods", metadata_only=True)
        if not is_leaving(item)
    )
