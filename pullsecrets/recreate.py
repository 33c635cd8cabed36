"""Pods that were admitted without a registry's reference: which ones making anew would help, and their eviction."""

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pullsecrets.admission import ADMISSION
from pullsecrets.binding import entries_of
from pullsecrets.config import Registry, StackConfig
from pullsecrets.kube import KubernetesApiError, KubernetesClient
from pullsecrets.pods import PodPull, list_pods

POLL_SECONDS = 1.0
_BLOCKED = 429
"""What the API server answers when a PodDisruptionBudget forbids an eviction."""


@dataclass(frozen=True)
class LackingPods:
    """Pods that pull from a registry without its Secret; their list was fixed when they were admitted."""

    evictable: tuple[PodPull, ...]
    """Something makes them again, and the new ones will have the reference."""
    others: Mapping[str, str]
    """Each other Pod as `namespace/name`, and why making it anew is not ours or would not help."""


def find_lacking(
    cluster: KubernetesClient, config: StackConfig, registry: Registry, namespaces: Collection[str]
) -> LackingPods:
    """Return the Pods of some namespaces that lack a registry's reference."""
    pods = [pod for pod in list_pods(cluster) if pod.namespace in namespaces and pod.lacks(registry)]
    accounts = _accounts(cluster) if pods else {}
    obstacles = {pod: _obstacle(pod, accounts, config, registry) for pod in pods}
    return LackingPods(
        evictable=tuple(pod for pod, obstacle in obstacles.items() if obstacle is None),
        others={f"{pod.namespace}/{pod.name}": obstacle for pod, obstacle in obstacles.items() if obstacle},
    )


def evict(cluster: KubernetesClient, pods: Iterable[PodPull], timeout: float) -> dict[str, str]:
    """Evict Pods so that their controllers make them again, as fast as PodDisruptionBudgets allow.

    Returns:
        Those that a budget kept until the time was over, as `namespace/name`, and what the server said.
    """
    deadline = time.monotonic() + timeout
    left = list(pods)
    while True:
        refusals = {pod: _evict(cluster, pod) for pod in left}
        left = [pod for pod, refusal in refusals.items() if refusal]
        if not left or time.monotonic() >= deadline:
            return {f"{pod.namespace}/{pod.name}": refusals[pod] for pod in left}
        time.sleep(POLL_SECONDS)


def _evict(cluster: KubernetesClient, pod: PodPull) -> str:
    """Evict one Pod; return why a budget forbids it, or nothing."""
    body: dict[str, Any] = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"namespace": pod.namespace, "name": pod.name},
    }
    try:
        cluster.request("POST", f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/eviction", body=body)
    except KubernetesApiError as error:
        if error.status == _BLOCKED:
            return error.server_message
        # Gone by itself.
        if error.status != 404:
            raise
    return ""


def _obstacle(
    pod: PodPull, accounts: Mapping[tuple[str, str], list[str]], config: StackConfig, registry: Registry
) -> str | None:
    if pod.owner is None:
        return "nothing would make it again: delete and apply it by hand"
    if pod.owner.startswith("Node/"):
        return "a static Pod of a node reads no ServiceAccount: name the Secret in its manifest"
    if config.binding == ADMISSION:
        return None
    entries = accounts.get((pod.namespace, pod.service_account), [])
    if registry.name not in entries:
        return f"its ServiceAccount {pod.service_account!r} lacks the entry: run `pulumi up` first"
    if set(pod.references) - set(entries):
        return f"{pod.owner} brings its own imagePullSecrets: add {registry.name!r} there, or bind by admission"
    return None


def _accounts(cluster: KubernetesClient) -> dict[tuple[str, str], list[str]]:
    items = cluster.items("/api/v1/serviceaccounts")
    return {(item["metadata"]["namespace"], item["metadata"]["name"]): entries_of(item) for item in items}
