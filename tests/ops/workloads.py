"""Workloads on the simulated nodes: builders, and waits for what becomes of their Pods.

A Pod without a pull Secret whose image comes from a host that is not public (`app.registry.example.com`) cannot pull;
one that names any Secret can (see local/controlplane/stages/).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from local.controlplane.api import KubernetesApi, RequestRefused, path_of
from local.controlplane.waiting import NotYet, until

DEADLINE = 30
PULL_FAILURES = {"ErrImagePull", "ImagePullBackOff"}


def deployment(
    namespace: str,
    name: str,
    image: str,
    replicas: int = 1,
    pull_secrets: Sequence[str] | None = None,
    service_account: str | None = None,
) -> dict[str, Any]:
    """A Deployment whose Pods are labelled `app: <name>`; without `pull_secrets` admission copies the account's."""
    return _workload("Deployment", namespace, name, _pod_spec(image, pull_secrets, service_account), replicas=replicas)


def stateful_set(
    namespace: str, name: str, image: str, replicas: int = 1, pull_secrets: Sequence[str] | None = None
) -> dict[str, Any]:
    """A StatefulSet, as `deployment`."""
    spec = _pod_spec(image, pull_secrets, None)
    return _workload("StatefulSet", namespace, name, spec, replicas=replicas, serviceName=name)


def pod(
    namespace: str,
    name: str,
    image: str,
    pull_secrets: Sequence[str] | None = None,
    service_account: str | None = None,
) -> dict[str, Any]:
    """A Pod that nothing would make again, labelled `app: <name>`."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": {"app": name}},
        "spec": _pod_spec(image, pull_secrets, service_account),
    }


def disruption_budget(namespace: str, name: str, min_available: int | str = 1) -> dict[str, Any]:
    """A PodDisruptionBudget for the Pods labelled `app: <name>`."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"minAvailable": min_available, "selector": {"matchLabels": {"app": name}}},
    }


def create(admin: KubernetesApi, *objects: Mapping[str, Any]) -> None:
    """Apply objects."""
    for item in objects:
        admin.apply(item)


def delete(admin: KubernetesApi, *objects: Mapping[str, Any]) -> None:
    """Delete those of the objects that are there, with what they own, and wait until their Pods are gone."""
    for item in objects:
        try:
            admin.call("DELETE", path_of(item), {"propagationPolicy": "Background"})
        except RequestRefused as refused:
            if refused.status != 404:
                raise
    for item in objects:
        if item["kind"] != "PodDisruptionBudget":
            until(lambda item=item: _require_gone(admin, item), DEADLINE, f"Pods of {path_of(item)} gone")


def until_pods(
    admin: KubernetesApi,
    workload: Mapping[str, Any],
    holds: Callable[[list[dict[str, Any]]], bool],
    what: str,
    deadline: float = DEADLINE,
) -> list[dict[str, Any]]:
    """Wait until something holds for all Pods of a workload; return them.

    Args:
        admin: the API server.
        workload: an object of this module.
        holds: tells it of the list of Pods.
        what: it in words, for the error.
        deadline: seconds.
    """
    namespace, name = workload["metadata"]["namespace"], workload["metadata"]["name"]

    def check() -> list[dict[str, Any]]:
        found = pods_of(admin, workload)
        if not holds(found):
            raise NotYet(", ".join(f"{item['metadata']['name']} {state(item)}" for item in found) or "no Pods")
        return found

    return until(check, deadline, f"Pods of {namespace}/{name} {what}")


def until_ready(admin: KubernetesApi, workload: Mapping[str, Any], count: int = 1) -> list[dict[str, Any]]:
    """Wait until so many Pods of a workload are there, all of them Ready; return them."""
    return until_pods(
        admin, workload, lambda pods: len(pods) == count and all(state(item) == "Ready" for item in pods), "Ready"
    )


def until_pull_fails(admin: KubernetesApi, workload: Mapping[str, Any], count: int = 1) -> list[dict[str, Any]]:
    """Wait until so many Pods of a workload are there, none of which can pull its image; return them."""
    return until_pods(
        admin,
        workload,
        lambda pods: len(pods) == count and all(state(item) in PULL_FAILURES for item in pods),
        "that cannot pull",
    )


def pods_of(admin: KubernetesApi, workload: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The Pods of a workload, without those that are being deleted."""
    return [item for item in _list(admin, workload) if not item["metadata"].get("deletionTimestamp")]


def state(item: Mapping[str, Any]) -> str:
    """What `kubectl get pods` would say of a Pod: why a container waits, else Ready, else the phase."""
    status = item.get("status") or {}
    for container in status.get("containerStatuses") or ():
        reason = (container["state"].get("waiting") or {}).get("reason")
        if reason:
            return str(reason)
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())
    return "Ready" if ready else str(status.get("phase"))


def _list(admin: KubernetesApi, workload: Mapping[str, Any]) -> list[dict[str, Any]]:
    namespace, name = workload["metadata"]["namespace"], workload["metadata"]["name"]
    return admin.call("GET", f"/api/v1/namespaces/{namespace}/pods?labelSelector=app%3D{name}")["items"]


def _require_gone(admin: KubernetesApi, workload: Mapping[str, Any]) -> None:
    left = [item["metadata"]["name"] for item in _list(admin, workload)]
    if left:
        raise NotYet(f"still there: {', '.join(left)}")


def _workload(kind: str, namespace: str, name: str, pod_spec: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": dict(pod_spec)}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {**spec, "selector": {"matchLabels": labels}, "template": template},
    }


def _pod_spec(image: str, pull_secrets: Sequence[str] | None, service_account: str | None) -> dict[str, Any]:
    # A namespace is deleted faster the less grace its Pods ask for, simulated or not.
    spec: dict[str, Any] = {"containers": [{"name": "main", "image": image}], "terminationGracePeriodSeconds": 1}
    if pull_secrets is not None:
        spec["imagePullSecrets"] = [{"name": name} for name in pull_secrets]
    if service_account is not None:
        spec["serviceAccountName"] = service_account
    return spec
