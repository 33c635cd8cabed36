"""What nodes do beside a namespace's Secret is told apart from what the Secret does."""

from typing import Any

import pytest

from pullsecrets.doctor.checks.node import host_opened_by_node, pod_runs_from_cache, registry_mirrored
from pullsecrets.doctor.checks.pod import ADVICE, pod_cannot_pull
from pullsecrets.doctor.diagnosis import diagnose
from pullsecrets.doctor.model import Check, Finding
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.kube.pull_failure import Cause
from tests.unit.doctor.tenants import APP, HOST, NOW, TENANTS, World, healthy, stack_config
from tests.unit.workloads.test_pull_failure import MESSAGES

OUTSIDE = "kube-system"
NODES = "/api/v1/nodes"
ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
CONFIG = "/apis/config.openshift.io"
DIGESTS, TAGS = f"{CONFIG}/v1/imagedigestmirrorsets", f"{CONFIG}/v1/imagetagmirrorsets"
SOURCES = "/apis/operator.openshift.io/v1alpha1/imagecontentsourcepolicies"
PROVIDER = f"{CONFIG}/v1alpha1/criocredentialproviderconfigs"


def running(world: World, policy: str, **change: Any) -> None:
    """A Pod outside the tenants that has an image of the registry."""
    pod = world.add_pod(OUTSIDE, "guest", **change)
    pod["spec"]["nodeName"] = "node-1"
    pod["spec"]["containers"][0]["imagePullPolicy"] = policy
    pod["status"]["containerStatuses"][0]["imageID"] = "sha256:1"


def snapshot(world: World, version: str = "v1.34.2", **lists: list[dict[str, Any]]) -> Snapshot:
    cluster = world.cluster()
    node = {"metadata": {"name": "node-1"}, "status": {"nodeInfo": {"kubeletVersion": version}}}
    role = {
        "metadata": {"name": "pull-tokens"},
        "rules": [{"verbs": ["request-serviceaccounts-token-audience"], "resources": ["registry.example.com"]}],
    }
    cluster.lists = {**cluster.lists, NODES: [node], ROLES: [role], **lists}
    return Snapshot(stack_config(), "test", cluster, world.vault(), now=NOW)


def found(check: Check, seen: Snapshot) -> list[Finding]:
    return list(check.find(seen))


@pytest.mark.parametrize(
    ("version", "told"),
    [("v1.34.2", "From Kubernetes 1.35 on"), ("v1.35.0", "Its kubelet verifies"), ("v2.0.0", "Its kubelet verifies")],
)
def test_pods_without_a_reference_that_run_from_the_cache_are_told_before_the_upgrade(
    world: World, version: str, told: str
) -> None:
    running(world, "IfNotPresent")
    (finding,) = found(pod_runs_from_cache, snapshot(world, version))
    assert (finding.namespace, finding.registry) == (OUTSIDE, APP)
    assert told in finding.cause
    assert f"kubelets: node-1 {version}" in finding.evidence


@pytest.mark.parametrize(
    ("policy", "change"),
    [
        ("IfNotPresent", {"references": [APP]}),
        ("IfNotPresent", {"references": ["of-the-team"]}),
        ("IfNotPresent", {"image": "registry.k8s.io/coredns:1"}),
        ("IfNotPresent", {"fails": "ErrImagePull"}),
        ("Always", {}),
    ],
)
def test_pods_that_may_have_a_login_or_have_no_image_are_not(world: World, policy: str, change: dict[str, Any]) -> None:
    world.secrets["theirs"] = {
        "metadata": {"namespace": OUTSIDE, "name": "of-the-team", "annotations": {}},
        "type": "kubernetes.io/dockerconfigjson",
    }
    running(world, policy, **change)
    assert not found(pod_runs_from_cache, snapshot(world))


def test_a_reference_to_a_secret_that_is_not_there_opens_nothing(world: World) -> None:
    running(world, "IfNotPresent", references=["gone"])
    assert found(pod_runs_from_cache, snapshot(world))


def test_what_is_pulled_without_any_secret_is_opened_by_the_node(world: World) -> None:
    running(world, "Always")
    seen = snapshot(world)
    (finding,) = found(host_opened_by_node, seen)
    assert finding.namespace == OUTSIDE
    assert any("ClusterRole pull-tokens" in line and "registry.example.com" in line for line in finding.evidence)
    assert not found(pod_runs_from_cache, seen)


def test_a_healthy_cluster_costs_no_request_for_nodes_and_roles() -> None:
    seen = snapshot(healthy())
    assert diagnose(seen, (pod_runs_from_cache, host_opened_by_node, registry_mirrored)).diagnoses == ()
    assert not {NODES, ROLES, DIGESTS, PROVIDER} & set(seen.cluster.listed)  # type: ignore[attr-defined]


def mirror_set(key: str, source: str, policy: str = "NeverContactSource") -> dict[str, Any]:
    entry = {"source": source, "mirrors": ["mirror.example.com/app"], "mirrorSourcePolicy": policy}
    return {"metadata": {"name": "mirrors"}, "spec": {key: [entry]}}


def openshift(world: World, *, sets: dict[str, list[dict[str, Any]]], patterns: list[str]) -> Snapshot:
    provider = [{"metadata": {"name": "cluster"}, "spec": {"matchImages": patterns}}] if patterns else []
    seen = snapshot(world, **{DIGESTS: [], TAGS: [], SOURCES: [], PROVIDER: provider, **sets})
    cluster = seen.config.cluster.model_copy(update={"platform": "openshift"})
    config = seen.config.model_copy(update={"cluster": cluster})
    return Snapshot(config, "test", seen.cluster, world.vault(), now=NOW)


@pytest.mark.parametrize(
    ("path", "key", "source", "covered"),
    [
        (DIGESTS, "imageDigestMirrors", HOST, True),
        (TAGS, "imageTagMirrors", f"{HOST}/team", True),
        (SOURCES, "repositoryDigestMirrors", "*.registry.example.com", True),
        (DIGESTS, "imageDigestMirrors", "registry.example.com", False),
        (DIGESTS, "imageDigestMirrors", "*.example.org", False),
    ],
)
def test_mirrors_of_a_registry_are_told_with_whose_login_opens_them(
    path: str, key: str, source: str, covered: bool
) -> None:
    told = found(registry_mirrored, openshift(healthy(), sets={path: [mirror_set(key, source)]}, patterns=[]))
    assert bool(told) is covered
    assert all("openshift-config/pull-secret" in item.cause and "never asked" in item.cause for item in told)


@pytest.mark.parametrize(("pattern", "opened"), [(HOST, True), ("*.*.example.com", True), ("*.example.com", False)])
def test_where_crio_reads_the_namespaces_secrets_mirrors_are_opened_by_them(pattern: str, opened: bool) -> None:
    sets = {DIGESTS: [mirror_set("imageDigestMirrors", HOST)]}
    assert bool(found(registry_mirrored, openshift(healthy(), sets=sets, patterns=[pattern]))) is not opened


REFUSED = (
    'Failed to pull image "{image}": initializing source docker://{image}: (Mirrors also failed: '
    "[mirror.example.com/app: reading manifest 1: unauthorized: authentication required]): {image}: "
    "registry {host} is blocked in /etc/containers/registries.conf"
)


@pytest.mark.parametrize("patterns", [[], [HOST]])
def test_a_pull_that_fails_at_a_mirror_is_no_matter_of_the_seeded_login(world: World, patterns: list[str]) -> None:
    world.add_pod(TENANTS[0], "blocked", fails="ErrImagePull")
    message = REFUSED.format(image=f"{HOST}/team/auth:1", host=HOST)
    world.add_event("Pod", TENANTS[0], "blocked", "Failed", message)
    sets = {DIGESTS: [mirror_set("imageDigestMirrors", HOST)]}
    (finding,) = found(pod_cannot_pull, openshift(world, sets=sets, patterns=patterns))
    assert "login refused" in finding.cause
    assert "openshift-config/pull-secret" in finding.cause
    assert ("or what the namespace's Secrets hold" in finding.cause) is bool(patterns)
    assert "not by Secret app" in finding.cause
    assert not any("seed" in line for line in finding.fix)
    assert any("imagedigestmirrorsets/mirrors" in line for line in finding.evidence)


@pytest.mark.parametrize("event", [True, False], ids=["an event", "the Pod's status alone"])
@pytest.mark.parametrize(("message", "cause"), MESSAGES)
def test_what_the_kubelet_says_is_diagnosed_by_name(world: World, message: str, cause: Cause, event: bool) -> None:
    world.add_pod(TENANTS[0], "failing", fails="ImagePullBackOff", says="" if event else message)
    if event:
        world.add_event("Pod", TENANTS[0], "failing", "Failed", message)
    (finding,) = found(pod_cannot_pull, snapshot(world))
    advice = ADVICE[cause]
    assert finding.cause == advice.cause.format(host=HOST)
    assert finding.prevention == advice.prevention
    assert any(line.startswith(advice.command.partition("{")[0]) for line in finding.fix)
