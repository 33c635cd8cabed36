"""A rollout on simulated nodes: gated, stopped at the first failure, resumed, rolled back; and through Argo CD."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from local.controlplane.api import KubernetesApi, RequestRefused
from local.controlplane.waiting import NotYet, until
from pullsecrets.rollout.argocd import GROUP
from pullsecrets.workloads.restart import RESTARTED_AT_ANNOTATION
from tests.e2e.stack import Stack, namespace
from tests.ops import workloads

pytestmark = pytest.mark.controlplane

IMAGE = "app.registry.example.com/team/{}:1"
CANARY, REST = {"name": "canary", "services": ["auth"]}, {"name": "rest", "services": ["user", "order"]}
WAVES = {"rollout": {"waves": [CANARY, REST]}}
SERVICES = ("auth", "user", "order")


def deployment(service: str, service_account: str | None = None) -> dict[str, Any]:
    return workloads.deployment(
        f"ops-{service}-dev", service, IMAGE.format(service), replicas=2, service_account=service_account
    )


@pytest.fixture
def services(stack: Stack) -> Iterator[Stack]:
    """A Deployment of each service, and the waves in the stack file."""
    workloads.create(stack.admin, *(deployment(service) for service in SERVICES))
    for service in SERVICES:
        workloads.until_ready(stack.admin, deployment(service), 2)
    stack.configure(WAVES)
    yield stack
    stack.configure()
    workloads.delete(stack.admin, *(deployment(service) for service in SERVICES))
    for service in SERVICES:
        mark = {"metadata": {"annotations": {"rollout.apps.platform/ops-app": None}}}
        stack.patch(namespace(f"ops-{service}-dev"), mark)


def rollout(stack: Stack, *options: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code, and the report of each wave."""
    token = stack.seeder_token
    environment = {"KUBECONFIG": str(stack.operator), "VAULT_TOKEN": token}
    done = stack.command("rollout", "ops-app", "--json", "--yes", *options, environment=environment)
    assert done.returncode in {0, 1}, done.stderr
    return done.returncode, {wave["wave"]: wave for wave in json.loads(done.stdout)["waves"]}


def restarted_at(stack: Stack, service: str) -> str | None:
    found = stack.get(f"/apis/apps/v1/namespaces/ops-{service}-dev/deployments/{service}")
    return found["spec"]["template"]["metadata"].get("annotations", {}).get(RESTARTED_AT_ANNOTATION)


def test_waves_stop_at_the_first_failure_go_on_where_they_stopped_and_are_rolled_back(services: Stack) -> None:
    stack = services
    # A ServiceAccount that nobody bound: its Pods come up without the reference and cannot pull.
    workloads.create(stack.admin, deployment("user", "unbound"))
    stack.admin.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "unbound", "namespace": "ops-user-dev"}}
    )
    code, waves = rollout(stack, "--timeout", "8")
    assert code == 1
    assert waves["canary"]["state"] == "done"
    assert waves["canary"]["passed"] == ["Secret proved", "workloads", "Pods", "image-pull events"]
    assert (waves["rest"]["state"], waves["rest"]["failed_gate"]) == ("failed", "workloads")
    assert "deployment/user in ops-user-dev" in waves["rest"]["problems"]
    canary = restarted_at(stack, "auth")
    assert canary

    workloads.create(stack.admin, deployment("user", "default"))
    code, waves = rollout(stack, "--timeout", "60")
    assert (code, waves["canary"]["state"], waves["rest"]["state"]) == (0, "done before", "done")
    assert restarted_at(stack, "auth") == canary, "a wave that was proved good is not restarted again"

    code, waves = rollout(stack, "--abort", "--wave", "rest")
    assert (code, waves["rest"]["state"]) == (0, "rolled back")
    assert restarted_at(stack, "order") is None
    workloads.until_ready(stack.admin, deployment("order"), 2)
    assert [wave["state"] for wave in rollout(stack)[1].values()] == ["done before", "done"]


def test_a_service_in_no_wave_is_refused_and_named(services: Stack) -> None:
    services.configure({"rollout": {"waves": [{"name": "canary", "services": ["auth", "user"]}]}})
    done = services.command("rollout", "ops-app", "--yes", environment={"KUBECONFIG": str(services.operator)})
    assert done.returncode == 2
    assert "no wave for order (1 of 3 services)" in done.stderr


def test_a_pause_ends_after_one_wave_and_a_failed_smoke_check_stops_the_next(services: Stack) -> None:
    code, waves = rollout(services, "--pause")
    assert (code, waves["canary"]["state"], waves["rest"]["state"]) == (0, "done", "waiting")
    code, waves = rollout(services, "--wave", "rest", "--smoke-port", "8001", "--timeout", "3")
    assert (code, waves["rest"]["failed_gate"]) == (1, "smoke check")
    assert "services/user:8001/proxy/health" in waves["rest"]["problems"]["ops-user-dev"]


DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/applications.argoproj.io"
APPLICATIONS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "applications.argoproj.io"},
    "spec": {
        "group": "argoproj.io",
        "names": {"kind": "Application", "plural": "applications"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


@contextmanager
def application_controller(admin: KubernetesApi, outcomes: dict[str, str]) -> Iterator[None]:
    """Does with Applications what Argo CD's controller does, as far as their objects show it."""
    over = threading.Event()
    moments = iter(range(1, 1000))

    def work() -> None:
        while not over.wait(0.2):
            for item in admin.call("GET", f"{GROUP}/namespaces/argocd/applications")["items"]:
                if "operation" in item:
                    reconcile(item)

    def reconcile(item: dict[str, Any]) -> None:
        name, moment = item["metadata"]["name"], f"2026-01-01T00:00:{next(moments):02}Z"
        revision = item["operation"]["sync"].get("revision", "head")
        phase, history = outcomes.get(name, "Succeeded"), item["status"]["history"]
        if phase == "Succeeded":
            history = [*history, {"revision": revision}]
        operation = {"phase": phase, "finishedAt": moment, "message": "hook failed"}
        sync = {"status": "Synced" if revision == "head" else "OutOfSync"}
        status = {"operationState": operation, "sync": sync, "health": {"status": "Healthy"}, "history": history}
        path = f"{GROUP}/namespaces/argocd/applications/{name}"
        admin.call("PATCH", path, {"operation": None, "status": status}, "application/merge-patch+json")

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join()


@pytest.fixture
def argocd(services: Stack) -> Iterator[Stack]:
    """Applications of the services, named after their namespaces."""
    admin = services.admin
    admin.apply_raw(DEFINITION, json.dumps(APPLICATIONS).encode())
    admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "argocd"}})
    items: list[dict[str, Any]] = [
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Application",
            "metadata": {"name": f"ops-{service}-dev", "namespace": "argocd"},
            "spec": {"source": {"path": f"apps/{service}"}},
            "status": {"history": [{"revision": "first"}]},
        }
        for service in SERVICES
    ]

    def apply_all() -> None:
        try:
            for item in items:
                path = f"{GROUP}/namespaces/argocd/applications/{item['metadata']['name']}"
                admin.apply_raw(path, json.dumps(item).encode())
        except RequestRefused as error:
            raise NotYet(str(error)) from error

    until(apply_all, 30, "Applications served")
    yield services
    admin.call("DELETE", DEFINITION)
    services.delete_namespace("argocd")


def revisions(stack: Stack, service: str) -> list[str]:
    found = stack.get(f"{GROUP}/namespaces/argocd/applications/ops-{service}-dev")
    return [entry["revision"] for entry in found["status"]["history"]]


def test_applications_are_synced_awaited_and_rolled_back(argocd: Stack) -> None:
    outcomes = {"ops-order-dev": "Failed"}
    with application_controller(argocd.admin, outcomes):
        code, waves = rollout(argocd, "--via", "argocd", "--timeout", "20")
        assert (code, waves["canary"]["state"]) == (1, "done")
        assert waves["rest"]["problems"] == {"ops-order-dev": "sync failed: hook failed"}
        outcomes.clear()
        code, waves = rollout(argocd, "--via", "argocd", "--abort")
        assert (code, waves["rest"]["state"]) == (0, "rolled back")
        assert revisions(argocd, "user") == ["first", "head", "first"]
        assert revisions(argocd, "order") == ["first", "first"], "a sync that failed is no entry of the history"
        code, waves = rollout(argocd, "--via", "argocd")
        assert [wave["state"] for wave in waves.values()] == ["done before", "done"]
