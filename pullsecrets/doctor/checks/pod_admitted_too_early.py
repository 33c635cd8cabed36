"""A Pod was made before its ServiceAccount listed the pull Secret, and can never get the reference.

A Pod's `imagePullSecrets` are copied at admission and immutable from then on; only making the Pod anew helps. It may
name what its ServiceAccount listed then and no longer lists, as after `adopt`: whether a list is the workload's own is
read in its Pod template. The safe fix evicts only Pods that cannot pull, of which no container runs, and which a
ReplicaSet, StatefulSet or DaemonSet makes again: nothing is interrupted and nothing is lost. Running Pods, Pods of Jobs
(an eviction counts as a failed try) and Pods that nothing makes again are left to their owners.
"""

from collections.abc import Iterator, Sequence

from pullsecrets.config import Registry
from pullsecrets.coverage.audit import Coverage
from pullsecrets.doctor.model import Check, Finding, Remedy
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import (
    entry_is_appended,
    fix_command,
    has_own_list,
    pod_evidence,
    pods_in,
    remake,
    rows,
    severity_of,
)
from pullsecrets.errors import ConflictError
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.text import listed
from pullsecrets.workloads.evict import BLOCKED, evict_pod
from pullsecrets.workloads.pods import PodPull, list_pods

NAME = "pod-admitted-too-early"

REPLACED_BY = ("ReplicaSet", "StatefulSet", "DaemonSet")
"""Controllers that make a Pod again whatever became of it, and count nothing."""


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the Pods without the reference that they would be given now."""
    for row in rows(snapshot):
        pods = _too_early(snapshot, row)
        if pods:
            yield _finding(snapshot, row, pods)


def _too_early(snapshot: Snapshot, row: Coverage) -> list[PodPull]:
    registry = snapshot.config.registry(row.registry)
    accounts = snapshot.accounts.get(row.namespace, {})
    appended = entry_is_appended(snapshot, registry)
    return [
        pod
        for pod in pods_in(snapshot, row.namespace)
        if pod.lacks(registry)
        and (
            appended
            or (registry.name in accounts.get(pod.service_account, ()) and not has_own_list(snapshot, pod, registry))
        )
    ]


def _finding(snapshot: Snapshot, row: Coverage, pods: Sequence[PodPull]) -> Finding:
    registry = snapshot.config.registry(row.registry)
    failed = [pod for pod in pods if pod.fails_on(registry.hosts)]
    stuck = [pod for pod in failed if _is_safe_to_evict(pod, registry)]
    return Finding(
        check=NAME,
        severity=severity_of(failed),
        symptom=f"Pods in {row.namespace} do not refer to Secret {row.registry}, while Pods made now would.",
        cause="They were admitted before the entry was there, and a Pod's imagePullSecrets never change afterwards.",
        evidence=(
            *pod_evidence(pods),
            f"oldest of them made {min(pod.created for pod in pods)}; the entry is there by now",
            *_untold(snapshot, registry, pods),
        ),
        fix=(*((fix_command(snapshot, row.namespace),) if stuck else ()), *dict.fromkeys(map(remake, pods))),
        prevention="Run `pulumi up` before a tenant's first deployment, so that its Pods find the entry.",
        namespace=row.namespace,
        registry=row.registry,
        remedy=_remedy(row.namespace, registry, stuck) if stuck else None,
    )


def _untold(snapshot: Snapshot, registry: Registry, pods: Sequence[PodPull]) -> tuple[str, ...]:
    """Return one line that says whose templates could not be read; none where all could."""
    if entry_is_appended(snapshot, registry):
        return ()
    owners = dict.fromkeys(pod.owner or "" for pod in pods if has_own_list(snapshot, pod, registry) is None)
    told = "Pod templates not readable, so that they may bring a list of their own as well"
    return (f"{told}: {listed(owners)}",) if owners else ()


def _is_safe_to_evict(pod: PodPull, registry: Registry) -> bool:
    kind = (pod.owner or "").partition("/")[0]
    return pod.lacks(registry) and pod.fails_on(registry.hosts) and pod.idle and kind in REPLACED_BY


def _remedy(namespace: str, registry: Registry, pods: Sequence[PodPull]) -> Remedy:
    names = sorted(pod.name for pod in pods)

    def apply(client: KubernetesClient) -> None:
        # Looked at again: a StatefulSet's new Pod has the old one's name.
        now = [pod.name for pod in list_pods(client, namespace) if _is_safe_to_evict(pod, registry)]
        refused = [message for name in names if name in now and (message := _evict(client, namespace, name))]
        if refused:
            raise ConflictError(f"eviction in namespace {namespace!r}: {'; '.join(refused)}; run the rollout restart")

    return Remedy(
        f"evict Pods of {namespace} that cannot pull and do not run, to be made anew: {', '.join(names)}", apply
    )


def _evict(client: KubernetesClient, namespace: str, name: str) -> str | None:
    """Evict a Pod; return why a PodDisruptionBudget refuses, None when it is done."""
    error = evict_pod(client, namespace, name)
    if error is None:
        return None
    if error.status == BLOCKED:
        return f"{name}: {error.server_message}"
    raise error


CHECK = Check(NAME, "Pods carry the reference that their ServiceAccount lists", find)
