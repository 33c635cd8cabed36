"""`doctor` on a control plane whose tenants have many faults at once: each is named, the safe ones are repaired."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from local.controlplane.waiting import NotYet, until
from pullsecrets.kube.marks import FINALIZER_PREFIX
from tests.e2e.stack import OTHERS_ENTRY, Stack, account, namespace, secret
from tests.ops import workloads

pytestmark = pytest.mark.controlplane

APP, WEB = "ops-app", "ops-web"
LABEL = {"ops.platform/app": "true"}
IMAGE = "app.registry.example.com/team/auth:1"
REJECTED = "registry.example.com/team/auth:1"
FINALIZER = f"{FINALIZER_PREFIX}{APP}"
UNLABELLED, UNBOUND, EARLY, BOTH = "ops-auth-dev", "ops-user-dev", "ops-order-dev", "ops-both"
TYPED, FOREIGN, STUCK, LEFT, PLATFORM = "ops-typed", "ops-foreign", "ops-stuck", "ops-left", "kube-public"
DEADLINE = 30

TOO_EARLY = workloads.deployment(EARLY, "early", IMAGE)
OWN_LIST = workloads.deployment(BOTH, "own", IMAGE, pull_secrets=["regcred"])
WRONG_HOST = workloads.pod(BOTH, "wrong-host", REJECTED)
REFUSED = workloads.pod(BOTH, "refused", IMAGE)
NOT_DECLARED = workloads.pod(BOTH, "operated", IMAGE, service_account="operator")

SAFE = {
    ("namespace-not-labelled", UNLABELLED),
    ("service-account-unbound", UNBOUND),
    ("service-account-unbound", BOTH),
    ("pod-admitted-too-early", EARLY),
    ("namespace-stuck-terminating", STUCK),
    ("finalizer-left-behind", LEFT),
    ("content-stale", BOTH),
}
FOR_PEOPLE = {
    ("secret-wrong-type", TYPED),
    ("secret-foreign", FOREIGN),
    ("platform-namespace-labelled", PLATFORM),
    ("pod-with-own-list", BOTH),
    ("image-host-not-in-credential", BOTH),
    ("pod-cannot-pull", BOTH),
}
UNCOVERED = ("ops-typed", "ops-foreign", "kube-public", "ops-left")


@pytest.fixture
def faults(stack: Stack) -> Iterator[Stack]:
    """Every fault at once, in different namespaces; afterwards the cluster as it was."""
    try:
        break_tenants(stack)
        yield stack
    finally:
        restore(stack)


def break_tenants(stack: Stack) -> None:
    for name in (STUCK, LEFT):
        stack.make_namespace(name, LABEL)
        stack.get(external_secret(name))
    stack.patch(namespace(PLATFORM), {"metadata": {"labels": LABEL}})
    take_secret(stack, TYPED, "Opaque", {"password": "YQ=="}, owned=False)
    take_secret(stack, FOREIGN, "kubernetes.io/dockerconfigjson", {".dockerconfigjson": "e30="}, owned=True)
    pods_that_fail(stack)
    unbound(stack, EARLY)
    workloads.create(stack.admin, TOO_EARLY)
    workloads.until_pull_fails(stack.admin, TOO_EARLY)
    stack.patch(account(EARLY), {"imagePullSecrets": [{"name": OTHERS_ENTRY}, {"name": APP}]})
    unbound(stack, UNBOUND)
    for name in (UNLABELLED, STUCK, LEFT):
        stack.patch(namespace(name), {"metadata": {"labels": dict.fromkeys(LABEL)}})
        stack.gone(external_secret(name))
    stack.admin.call("DELETE", namespace(STUCK))
    assert stack.seed(WEB, stack.credential(WEB, stack.passwords[WEB] + "-2"), "--yes").returncode == 0
    for name in (TYPED, FOREIGN):
        until(lambda name=name: fails(stack, name), DEADLINE, f"ExternalSecret of {name} fails")


def restore(stack: Stack) -> None:
    stack.patch(namespace(PLATFORM), {"metadata": {"labels": dict.fromkeys(LABEL)}})
    stack.patch(namespace(UNLABELLED), {"metadata": {"labels": LABEL}})
    for path in (*map(namespace, (TYPED, FOREIGN, LEFT, STUCK)), account(BOTH, "operator")):
        if stack.find(path):
            stack.admin.call("DELETE", path)
    for name in (EARLY, UNBOUND):
        stack.patch(account(name), {"imagePullSecrets": [{"name": APP}]})
    workloads.delete(stack.admin, TOO_EARLY, OWN_LIST, WRONG_HOST, REFUSED, NOT_DECLARED)
    stack.seed_all()
    stack.gone(secret(PLATFORM, APP))
    for name in (PLATFORM, STUCK, LEFT):
        if stack.find(namespace(name)):
            stack.patch(namespace(name), {"metadata": {"finalizers": None}})
    for name in (TYPED, FOREIGN, LEFT, STUCK):
        stack.gone(namespace(name))


def pods_that_fail(stack: Stack) -> None:
    """One with a list of its own, one as a ServiceAccount that nobody declared, and two that registries refuse."""
    stack.admin.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": BOTH, "name": "operator"}}
    )
    workloads.create(stack.admin, OWN_LIST, NOT_DECLARED)
    workloads.until_pull_fails(stack.admin, NOT_DECLARED)
    for pod in (WRONG_HOST, REFUSED):
        # No simulated node takes them, so that they stay as they are told to be here.
        workloads.create(stack.admin, {**pod, "spec": {**pod["spec"], "schedulerName": "nobody"}})
        waiting = {"name": "main", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
        status = {"containerStatuses": [{**waiting, "image": "", "imageID": "", "ready": False, "restartCount": 0}]}
        path = f"/api/v1/namespaces/{BOTH}/pods/{pod['metadata']['name']}"
        stack.patch(f"{path}/status", {"status": status})
    stack.admin.call("POST", f"/api/v1/namespaces/{BOTH}/events", kubelets_event(stack))


def kubelets_event(stack: Stack) -> dict[str, Any]:
    pod = stack.get(f"/api/v1/namespaces/{BOTH}/pods/refused")
    about = {"apiVersion": "v1", "kind": "Pod", "namespace": BOTH, "name": "refused", "uid": pod["metadata"]["uid"]}
    return {
        "metadata": {"namespace": BOTH, "generateName": "refused."},
        "involvedObject": about,
        "type": "Warning",
        "reason": "Failed",
        "message": f'Failed to pull image "{IMAGE}": failed to authorize: unexpected status: 401 Unauthorized',
        "lastTimestamp": pod["metadata"]["creationTimestamp"],
    }


def take_secret(stack: Stack, name: str, kind: str, data: dict[str, str], *, owned: bool) -> None:
    """A Secret of the registry's name that is there before ESO comes."""
    stack.make_namespace(name)
    metadata: dict[str, Any] = {"namespace": name, "name": APP}
    if owned:
        owner = stack.get(f"/api/v1/namespaces/{name}/configmaps/kube-root-ca.crt")
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "kube-root-ca.crt"}
        metadata["ownerReferences"] = [{**reference, "uid": owner["metadata"]["uid"], "controller": True}]
    stack.admin.call("POST", f"/api/v1/namespaces/{name}/secrets", {"metadata": metadata, "type": kind, "data": data})
    stack.patch(account(name), {"imagePullSecrets": [{"name": APP}]})
    stack.patch(namespace(name), {"metadata": {"labels": LABEL}})


def unbound(stack: Stack, name: str) -> None:
    stack.patch(account(name), {"imagePullSecrets": [{"name": OTHERS_ENTRY}]})


def external_secret(name: str) -> str:
    return f"/apis/external-secrets.io/v1/namespaces/{name}/externalsecrets/{APP}"


def fails(stack: Stack, name: str) -> None:
    conditions = (stack.get(external_secret(name)).get("status") or {}).get("conditions") or []
    if not any(item["type"] == "Ready" and item["status"] == "False" for item in conditions):
        raise NotYet(str(conditions))


def doctor(stack: Stack, *options: str) -> dict[str, Any]:
    done = stack.command("doctor", *options, "--json", environment={"KUBECONFIG": str(stack.operator)})
    assert done.returncode in {0, 1}, done.stderr
    report = json.loads(done.stdout)
    assert report["unchecked"] == []
    return report


def named(report: dict[str, Any]) -> set[tuple[str, str]]:
    """Check and namespace of each cause about a namespace."""
    return {(item["check"], place) for item in report["diagnoses"] for place in item["namespaces"]}


def entry(report: dict[str, Any], check: str) -> dict[str, Any]:
    return next(item for item in report["diagnoses"] if item["check"] == check)


def uncovered(stack: Stack) -> dict[str, str]:
    """Namespaces that the audit does not find green, with why; those left to people apart."""
    rows = stack.audit()["rows"]
    return {row["namespace"]: row["reason"] for row in rows if not row["green"] and row["namespace"] not in UNCOVERED}


def test_each_fault_is_named_and_the_safe_ones_are_repaired(faults: Stack) -> None:
    report = doctor(faults, "--fix", "--dry-run")
    assert named(report) == SAFE | FOR_PEOPLE
    assert "refuses the seeded login" in entry(report, "pod-cannot-pull")["causes"][0]
    assert "401 Unauthorized" in " ".join(entry(report, "pod-cannot-pull")["evidence"])
    for check, owner in (("secret-foreign", "ConfigMap kube-root-ca.crt"), ("secret-wrong-type", "without an owner")):
        found = entry(report, check)
        assert owner in " ".join(found["evidence"])
        assert [item["check"] for item in found["consequences"]] == ["external-secret-failing"]
    assert len(report["safe_fixes"]) == len(SAFE)

    left = doctor(faults, "--fix", "--yes")
    # The same ones: the dry run changed nothing.
    assert [item["description"] for item in left["fixes"] if item["applied"]] == report["safe_fixes"]
    # Its ServiceAccount is bound by now, but the Pod keeps what it was admitted with, and nothing recreates it.
    assert named(left) == FOR_PEOPLE | {("pod-admitted-too-early", BOTH)}
    assert uncovered(faults) == {}
    assert faults.entries(UNBOUND) == [OTHERS_ENTRY, APP]
    # Nothing holds it any more; the API server may still be at it.
    faults.gone(namespace(STUCK))
    assert FINALIZER not in (faults.get(namespace(LEFT))["metadata"].get("finalizers") or [])
    workloads.until_ready(faults.admin, TOO_EARLY)
