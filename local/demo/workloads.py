"""The sample repository's workloads in the cluster: built, applied as Argo CD would, and the state of their Pods."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from local.controlplane.api import KubernetesApi, RequestRefused, path_of
from local.controlplane.waiting import NotYet, until
from local.demo.steps import UnexpectedError
from pullsecrets.config.gitops import Build, GitOps
from pullsecrets.gitops.builds import build_all
from pullsecrets.gitops.kustomize import find_builder
from pullsecrets.gitops.repository import Root, load
from pullsecrets.kube.objects import holds, is_leaving
from pullsecrets.kube.podspec import DEPLOYMENT, JOB, POD
from pullsecrets.kube.pull_failure import PULL_FAILURES

APPLIED = ("ServiceAccount", "Deployment", "Job")
"""In this order: a Pod whose ServiceAccount does not exist is refused. Nothing here would use a Service or wait for a
CronJob."""
DEADLINE = 300
_SIDE_BY_SIDE = 8
_NOT_FOUND = 404
_IMMUTABLE = 422


@dataclass(frozen=True)
class Applied:
    """What was applied and what was left out, by kind."""

    applied: Mapping[str, int]
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class Pods:
    """The Pods of some namespaces once nothing is on its way any more."""

    total: int
    failing: Mapping[str, str]
    """Those that cannot pull, as `namespace/name`, and why."""


def build(repository: Path, services: Sequence[str], environment: str) -> list[dict[str, Any]]:
    """Build the overlay of each service with kubectl's kustomize; return the objects.

    Raises:
        UnexpectedError: one does not build.
    """
    roots = [Root(PurePosixPath("apps", service, "overlays", environment)) for service in services]
    built = build_all(load(repository, GitOps()), roots, find_builder(Build()))
    broken = [f"{root}: {found.failure}" for root, found in built.items() if found.failure]
    if broken:
        raise UnexpectedError("; ".join(broken))
    return [dict(made.item) for found in built.values() for made in found.objects]


def apply(api: KubernetesApi, objects: Sequence[Mapping[str, Any]]) -> Applied:
    """Apply workloads server-side, kind after kind."""
    counted = Counter(item["kind"] for item in objects)
    for kind in APPLIED:
        with ThreadPoolExecutor(max_workers=_SIDE_BY_SIDE) as pool:
            list(pool.map(lambda item: _apply(api, item), (item for item in objects if item["kind"] == kind)))
    return Applied(
        {kind: counted[kind] for kind in APPLIED if counted[kind]},
        {kind: count for kind, count in sorted(counted.items()) if kind not in APPLIED},
    )


def delete_deployments(api: KubernetesApi, places: Sequence[tuple[str, str]]) -> None:
    """Delete those of the Deployments, each a namespace and a name, that are there, and wait until their Pods are gone.

    Their Pods are found by the label `app`, which the sample's templates give them.
    """
    for namespace, name in places:
        path = f"{DEPLOYMENT.collection(namespace)}/{name}"
        try:
            api.call("DELETE", path, {"propagationPolicy": "Background"})
        except RequestRefused as refused:
            if refused.status != _NOT_FOUND:
                raise
    until(lambda: _require_no_pods(api, places), DEADLINE, "Pods of deleted Deployments gone")


def until_settled(api: KubernetesApi, namespaces: Collection[str]) -> Pods:
    """Wait until every Pod of the namespaces is Ready, has succeeded, or cannot pull; return them."""
    return until(lambda: settled(api, frozenset(namespaces)), DEADLINE, "Pods settled", every=0.5)


def settled(api: KubernetesApi, namespaces: frozenset[str]) -> Pods:
    """Return the Pods of namespaces.

    Raises:
        NotYet: one is on its way, or a controller has not seen its workload's last change.
    """
    # Most looks end here; those that do not have to look again, once all that is new is known to be there.
    _require_still(api, namespaces)
    for kind in (DEPLOYMENT, JOB):
        for item in _within(api, kind.collection(), namespaces):
            if not _seen_by_controller(item):
                raise NotYet(f"{item['metadata']['namespace']}/{item['metadata']['name']} has no new Pods yet")
    states = _require_still(api, namespaces)
    failing = {place: found for place, found in states.items() if found in PULL_FAILURES}
    return Pods(len(states), failing)


def _require_still(api: KubernetesApi, namespaces: frozenset[str]) -> dict[str, str]:
    """Return the state of each Pod, none of which is on its way."""
    states = {
        f"{item['metadata']['namespace']}/{item['metadata']['name']}": state(item)
        for item in _within(api, POD.collection(), namespaces)
    }
    moving = {place: found for place, found in states.items() if found not in {"Ready", "Succeeded", *PULL_FAILURES}}
    if moving or "ErrImagePull" in states.values():
        raise NotYet(", ".join(f"{place} {found}" for place, found in (moving or states).items()))
    return states


def _apply(api: KubernetesApi, item: Mapping[str, Any]) -> None:
    try:
        api.apply(item)
    except RequestRefused as refused:
        if item["kind"] != "Job" or refused.status != _IMMUTABLE:
            raise
        # A Job's Pods cannot be changed: Argo CD makes it anew too, with its sync option Replace.
        api.call("DELETE", path_of(item), {"propagationPolicy": "Background"})
        until(lambda: _apply_anew(api, item), DEADLINE, f"Job {item['metadata']['name']} recreated")


def _apply_anew(api: KubernetesApi, item: Mapping[str, Any]) -> None:
    try:
        api.apply(item)
    except RequestRefused as refused:
        raise NotYet(str(refused)) from refused


def _require_no_pods(api: KubernetesApi, places: Sequence[tuple[str, str]]) -> None:
    for namespace, name in places:
        if api.call("GET", f"/api/v1/namespaces/{namespace}/pods?labelSelector=app%3D{name}")["items"]:
            raise NotYet(f"{namespace}/{name} has some")


def _within(api: KubernetesApi, path: str, namespaces: frozenset[str]) -> list[dict[str, Any]]:
    items = api.call("GET", path)["items"]
    return [item for item in items if item["metadata"]["namespace"] in namespaces and not is_leaving(item)]


def _seen_by_controller(item: Mapping[str, Any]) -> bool:
    status = item.get("status") or {}
    if "parallelism" in item["spec"]:
        return bool(status.get("active") or status.get("succeeded") or status.get("failed"))
    seen = status.get("observedGeneration", 0) >= item["metadata"]["generation"]
    return seen and status.get("updatedReplicas", 0) >= item["spec"]["replicas"]


def state(pod: Mapping[str, Any]) -> str:
    """Return what `kubectl get pods` says of a Pod: why a container waits, else Ready, else its phase."""
    status = pod.get("status") or {}
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        if reason := (container["state"].get("waiting") or {}).get("reason"):
            return str(reason)
    return "Ready" if holds(pod, "Ready") else str(status.get("phase"))
