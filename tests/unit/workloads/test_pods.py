"""What a Pod says of its pulls, and the host of an image reference."""

from typing import Any

import pytest

from pullsecrets.config import Registry
from pullsecrets.kube.client import KubernetesApiError
from pullsecrets.workloads.pods import list_pods, list_templates
from tests.unit.cluster import FakeCluster

HOST = "registry.example.com"
REGISTRY = Registry.model_validate(
    {
        "name": "app",
        "hosts": [HOST],
        "path": "a/b",
        "selector": {"example.com/app": "true"},
        "namespaces": ["team-*"],
    }
)


def pod(**change: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "main", "image": f"{HOST}/team/auth:1"}], **change.pop("spec", {})}
    metadata = {"namespace": "team-a", "name": "auth-1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": {**metadata, **change.pop("metadata", {})}, "spec": spec, **change}


def read(item: dict[str, Any]) -> Any:
    (found,) = list_pods(FakeCluster(lists={"/api/v1/pods": [item]}))
    return found


def test_a_pod_without_the_reference_lacks_it() -> None:
    assert read(pod()).lacks(REGISTRY)
    assert not read(pod(spec={"imagePullSecrets": [{"name": "other"}, {"name": "app"}]})).lacks(REGISTRY)


def test_a_pod_that_pulls_from_elsewhere_lacks_nothing() -> None:
    assert not read(pod(spec={"containers": [{"name": "main", "image": "nginx:1"}]})).lacks(REGISTRY)


@pytest.mark.parametrize("kind", ["initContainers", "containers", "ephemeralContainers"])
def test_images_of_each_kind_of_container_count(kind: str) -> None:
    containers = {"containers": [{"name": "main", "image": "nginx:1"}], kind: [{"name": "x", "image": f"{HOST}/x"}]}
    assert read(pod(spec=containers)).uses(REGISTRY)


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff"])
def test_a_container_that_waits_for_its_image_is_a_failure(reason: str) -> None:
    waiting = {"containerStatuses": [{"state": {"running": {}}}, {"state": {"waiting": {"reason": reason}}}]}
    assert read(pod(status=waiting)).failure == reason


def test_a_container_that_waits_for_something_else_is_none() -> None:
    waiting = {"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}
    assert read(pod(status=waiting)).failure is None


def test_only_the_image_that_cannot_be_pulled_counts_as_failed() -> None:
    containers = [{"name": "main", "image": f"{HOST}/team/auth:1"}, {"name": "sidecar", "image": "nginx:1"}]
    # The status may spell the image otherwise than the specification.
    statuses = [
        {"name": "main", "image": "sha256:0", "state": {"running": {}}},
        {"name": "sidecar", "image": "docker.io/library/nginx:1", "state": {"waiting": {"reason": "ErrImagePull"}}},
    ]
    found = read(pod(spec={"containers": containers}, status={"containerStatuses": statuses}))
    assert found.failed_images == ("nginx:1",)
    assert not found.fails_on(REGISTRY.hosts)
    assert found.fails_on(["docker.io"])


@pytest.mark.parametrize("kind", ["initContainerStatuses", "containerStatuses"])
def test_a_pod_is_idle_while_none_of_its_containers_runs(kind: str) -> None:
    waiting = {"name": "main", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
    assert read(pod(status={kind: [waiting]})).idle
    assert not read(pod(status={kind: [waiting, {"name": "sidecar", "state": {"running": {}}}]})).idle


def test_the_controller_is_the_owner_and_no_other_reference_is() -> None:
    owners = [{"kind": "Node", "name": "n"}, {"kind": "ReplicaSet", "name": "auth-5d9", "controller": True}]
    assert read(pod(metadata={"ownerReferences": owners})).owner == "ReplicaSet/auth-5d9"
    assert read(pod(metadata={"ownerReferences": owners[:1]})).owner is None


def test_finished_and_leaving_pods_are_passed_over() -> None:
    leaving = pod(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    items = [pod(status={"phase": "Succeeded"}), pod(status={"phase": "Failed"}), leaving]
    assert list_pods(FakeCluster(lists={"/api/v1/pods": items})) == []


def refusing(status: int) -> FakeCluster:
    """A cluster that lists no ReplicaSets."""
    cluster = FakeCluster()
    cluster.refuse["GET", "replicasets"] = (status, "message")
    return cluster


def test_a_template_that_is_not_there_names_nothing() -> None:
    metadata = {"namespace": "team-a", "name": "web"}
    found = FakeCluster(lists={"/api/v1/replicationcontrollers": [{"metadata": metadata, "spec": {"replicas": 0}}]})
    assert list_templates(found, "ReplicationController") == {("team-a", "web"): ()}
    assert list_templates(found, "TaskRun") == {}


@pytest.mark.parametrize("status", [403, 404])
def test_templates_that_may_not_be_read_or_are_not_served_are_unknown(status: int) -> None:
    assert list_templates(refusing(status), "ReplicaSet") == {}


def test_a_server_that_fails_is_not_taken_for_one_that_forbids() -> None:
    with pytest.raises(KubernetesApiError):
        list_templates(refusing(500), "ReplicaSet")
