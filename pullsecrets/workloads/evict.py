"""Pods that were admitted without a registry's reference: which of them an eviction helps, and their eviction."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from pullsecrets import redaction
from pullsecrets.config import Registry, StackConfig
from pullsecrets.kube.client import KubernetesApiError, KubernetesClient
from pullsecrets.manifests.guard import ADMISSION
from pullsecrets.workloads.pods import (
    STATIC_POD,
    PodPull,
    Templates,
    brings_own_list,
    entries_by_account,
    list_pods,
    list_templates,
)

POLL_SECONDS = 1.0
BLOCKED = 429
"""What the API server answers when a PodDisruptionBudget forbids an eviction."""


@dataclass(frozen=True)
class LackingPods:
    """Pods that pull from a registry without its Secret; their list was fixed when they were admitted."""

    evictable: tuple[PodPull, ...]
    """A controller recreates them, and the new ones will have the reference."""
    others: Mapping[str, str]
    """Each other Pod as `namespace/name`, and why evicting it is not ours or would not help."""


@dataclass(frozen=True)
class Evictions:
    """Pods that were not evicted, as `namespace/name`, and what the server said of each."""

    held: Mapping[str, str]
    """Kept by a PodDisruptionBudget until the time was over."""
    refused: Mapping[str, str]
    """Refused for another reason, such as two budgets for one Pod: waiting would not help."""


def find_lacking(
    cluster: KubernetesClient, config: StackConfig, registry: Registry, namespaces: Collection[str]
) -> LackingPods:
    """Return the Pods of some namespaces that lack a registry's reference."""
    pods = [pod for pod in list_pods(cluster) if pod.namespace in namespaces and pod.lacks(registry)]
    accounts = entries_by_account(cluster.items("/api/v1/serviceaccounts") if pods else ())
    templates = cache(partial(list_templates, cluster))
    obstacles = {pod: _obstacle(pod, accounts, config, registry, templates) for pod in pods}
    return LackingPods(
        evictable=tuple(pod for pod, obstacle in obstacles.items() if obstacle is None),
        others={f"{pod.namespace}/{pod.name}": obstacle for pod, obstacle in obstacles.items() if obstacle},
    )


def evict(cluster: KubernetesClient, pods: Iterable[PodPull], timeout: float) -> Evictions:
    """Evict Pods so that their controllers recreate them, as fast as PodDisruptionBudgets allow.

    One that the API server refuses to evict does not keep the others.

    Args:
        cluster: the cluster, as an operator.
        pods: those of `LackingPods.evictable`.
        timeout: seconds to wait for budgets.

    Returns:
        Those that are not evicted.

    Raises:
        UnreachableError: when the API server does not answer.
    """
    deadline = time.monotonic() + timeout
    left, refused = list(pods), dict[str, str]()
    while True:
        refusals = {pod: error for pod in left if (error := evict_pod(cluster, pod.namespace, pod.name))}
        left = [pod for pod, error in refusals.items() if error.status == BLOCKED]
        refused |= {_name(pod): _cause(error) for pod, error in refusals.items() if error.status != BLOCKED}
        if not left or time.monotonic() >= deadline:
            return Evictions({_name(pod): _cause(refusals[pod]) for pod in left}, refused)
        time.sleep(POLL_SECONDS)


def evict_pod(cluster: KubernetesClient, namespace: str, name: str) -> KubernetesApiError | None:
    """Evict one Pod; return why the server refuses it (`BLOCKED` for a PodDisruptionBudget), or nothing."""
    body: dict[str, Any] = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"namespace": namespace, "name": name},
    }
    try:
        cluster.request("POST", f"/api/v1/namespaces/{namespace}/pods/{name}/eviction", body=body)
    except KubernetesApiError as error:
        # With 404 it is gone by itself.
        return None if error.status == 404 else error
    return None


def _name(pod: PodPull) -> str:
    return f"{pod.namespace}/{pod.name}"


def _cause(error: KubernetesApiError) -> str:
    return redaction.redact(error.server_message or str(error))


def _obstacle(
    pod: PodPull,
    accounts: Mapping[str, Mapping[str, list[str]]],
    config: StackConfig,
    registry: Registry,
    templates: Callable[[str], Templates],
) -> str | None:
    if pod.owner is None:
        return "nothing would recreate it: delete it and apply it again"
    if pod.owner.startswith("Node/"):
        return STATIC_POD
    if config.binding == ADMISSION:
        return None
    entries = accounts.get(pod.namespace, {}).get(pod.service_account, [])
    if registry.name not in entries:
        return f"its ServiceAccount {pod.service_account!r} lacks the entry: run `pulumi up` first"
    return _own_list(pod, registry, brings_own_list(pod, registry, entries, templates))


def _own_list(pod: PodPull, registry: Registry, own: bool | None) -> str | None:
    if own is None:
        return (
            f"the Pod template of {pod.owner} cannot be read, so the new Pod may have the same list: restart it "
            "by hand (`kubectl rollout restart`, or `oc rollout latest` for a DeploymentConfig)"
        )
    if own:
        return f"{pod.owner} has its own imagePullSecrets: add {registry.name!r} there, or bind by admission"
    return None
