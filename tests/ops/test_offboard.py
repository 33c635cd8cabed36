"""Offboarding on the real control plane: nothing left behind, nothing that hangs, and nobody else's things touched."""

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from local.controlplane import ControlPlane
from local.controlplane.api import RequestRefused
from local.controlplane.rbac import OFFBOARDERS, OPERATORS
from local.controlplane.waiting import NotYet, until
from pullsecrets.kube.marks import FINALIZER_PREFIX
from pullsecrets.kube.objects import path_of
from pullsecrets.manifests import guard
from pullsecrets.tenancy import offboard
from tests.e2e.stack import OTHERS_ENTRY, Stack, account, namespace, secret
from tests.ops.conftest import OPS
from tests.ops.workloads import create, delete, deployment

pytestmark = pytest.mark.controlplane

LABELS = {"ops.platform/app": "true"}
IMAGE = "app.registry.example.com/team/app:1"
FINALIZER = f"{FINALIZER_PREFIX}ops-app"


@pytest.fixture
def by_hand(stack: Stack) -> Iterator[str]:
    """A namespace that a person labelled and bound, with an entry of OpenShift's own."""
    name = "ops-by-hand"
    onboard(stack, name)
    yield name
    free(stack, name)


class Killed(Exception):  # noqa: N818 - what happens to the process
    """The process ends here."""


def onboard(stack: Stack, name: str) -> None:
    """Label and bind a namespace, and wait for ESO to deliver."""
    stack.make_namespace(name, LABELS)
    stack.patch(namespace(name), {"metadata": {"labels": LABELS}})
    stack.patch(account(name), {"imagePullSecrets": [{"name": OTHERS_ENTRY}, {"name": "ops-app"}]})
    stack.get(secret(name, "ops-app"))


def free(stack: Stack, name: str) -> None:
    """Delete a namespace whatever a failed test left on it."""
    if stack.find(namespace(name)):
        stack.patch(namespace(name), {"metadata": {"finalizers": None}})
        stack.delete_namespace(name)


def finalizers(stack: Stack, name: str) -> list[str]:
    return stack.get(namespace(name))["metadata"].get("finalizers", [])


def run(stack: Stack, *arguments: str, kubeconfig: Path | None = None) -> tuple[int, str]:
    done = stack.command("offboard", *arguments, environment={"KUBECONFIG": str(kubeconfig or stack.operator)})
    return done.returncode, done.stdout + done.stderr


def make_terminating(stack: Stack, name: str) -> None:
    """What happens to a namespace that was unlabelled by hand and is then deleted (ESO issue 6677)."""
    stack.patch(namespace(name), {"metadata": {"labels": {"ops.platform/app": None}}})
    stack.gone(secret(name, "ops-app"))
    stack.admin.call("DELETE", namespace(name))


def test_a_namespace_leaves_without_a_trace_once_nothing_pulls(stack: Stack, by_hand: str) -> None:
    app = deployment(by_hand, "app", IMAGE)
    create(stack.admin, app)
    code, printed = run(stack, by_hand, "--yes")
    assert code == 1
    assert "Deployment app" in printed
    assert "nothing was changed" in printed
    assert stack.entries(by_hand) == [OTHERS_ENTRY, "ops-app"]
    delete(stack.admin, app)

    code, printed = run(stack, by_hand, "--dry-run")
    assert (code, "dry run: nothing was changed" in printed) == (0, True)
    assert stack.find(secret(by_hand, "ops-app"))

    code, printed = run(stack, by_hand, "--yes", "--json")
    assert code == 0, printed
    assert json.loads(printed)["outcome"] == "done"
    assert stack.entries(by_hand) == [OTHERS_ENTRY]
    assert stack.find(secret(by_hand, "ops-app")) is None
    assert "ops.platform/app" not in stack.get(namespace(by_hand))["metadata"]["labels"]
    assert finalizers(stack, by_hand) == []
    assert run(stack, by_hand, "--yes") == (0, f"namespace         {by_hand}\nnothing to do\n")
    stack.delete_namespace(by_hand)


def test_killed_after_any_step_it_is_finished_by_running_it_again(stack: Stack, by_hand: str) -> None:
    cluster, config = stack.client(stack.operator), stack.config()

    for last in ("entries taken out", "labels taken off", "ExternalSecret and Secret are gone", "finalizers released"):
        onboard(stack, by_hand)

        def kill(step: str, last: str = last) -> None:
            if step.startswith(last):
                raise Killed

        with pytest.raises(Killed):
            offboard.carry_out(config, cluster, offboard.plan(config, cluster, by_hand), 60, kill)
        offboard.carry_out(config, cluster, offboard.plan(config, cluster, by_hand), 60, lambda _: None)
        assert offboard.plan(config, cluster, by_hand).nothing_to_do
        assert finalizers(stack, by_hand) == []
        assert stack.entries(by_hand) == [OTHERS_ENTRY]


def test_a_stuck_namespace_is_freed_of_esos_finalizer_and_of_no_other(stack: Stack, by_hand: str) -> None:
    theirs = "example.com/theirs"
    stack.patch(namespace(by_hand), {"metadata": {"finalizers": [*finalizers(stack, by_hand), theirs]}})
    make_terminating(stack, by_hand)
    code, printed = run(stack, by_hand, "--yes", "--timeout", "5")
    assert code == 1
    assert f"finalizers released: {FINALIZER}" in printed
    assert f"finalizer {theirs} belongs to another controller and was left" in printed
    assert finalizers(stack, by_hand) == [theirs]
    stack.patch(namespace(by_hand), {"metadata": {"finalizers": None}})
    stack.gone(namespace(by_hand))
    code, printed = run(stack, by_hand, "--yes")
    assert code == 0
    assert f"namespace {by_hand} does not exist" in printed


def test_deleting_needs_its_own_role_and_leaves_no_namespace(plane: ControlPlane, stack: Stack, by_hand: str) -> None:
    code, printed = run(stack, by_hand, "--delete", "--yes")
    assert code == 1
    assert "one of the offboarders" in printed
    offboarder = plane.kubeconfig_for("offboarder", [OPERATORS, OFFBOARDERS])
    code, printed = run(stack, by_hand, "--delete", "--yes", kubeconfig=offboarder)
    assert code == 0, printed
    assert "the namespace is gone" in printed
    assert stack.find(namespace(by_hand)) is None


def test_a_declared_tenant_is_reported_with_what_to_remove_from_the_file(stack: Stack) -> None:
    name = "ops-order-dev"
    code, printed = run(stack, name, "--yes")
    assert code == 1
    assert "tenants.matrices[0].services: remove 'order'" in printed
    assert stack.find(secret(name, "ops-app")) is None
    stack.patch(namespace(name), {"metadata": {"labels": LABELS}})
    stack.patch(account(name), {"imagePullSecrets": [{"name": "ops-app"}]})
    stack.get(secret(name, "ops-app"))


def test_a_guard_that_denies_is_named_and_nothing_was_changed(stack: Stack, by_hand: str) -> None:
    declared = guard.GuardSpec.of(stack.config())
    refusing = replace(declared, mode="deny", break_glass_groups=["nobody"], labeler_users=["nobody"])
    name = put_guard(stack, refusing)
    try:
        until(lambda: require_denied(stack, by_hand), 30, "the guard in force")
        code, printed = run(stack, by_hand, "--yes")
        assert code == 1
        assert f"the guard, ValidatingAdmissionPolicy '{name}'" in printed
        assert "guard.labelers" in printed
        assert stack.entries(by_hand) == [OTHERS_ENTRY, "ops-app"]
    finally:
        put_guard(stack, declared)
        until(lambda: require_allowed(stack, by_hand), 30, "the guard as it is declared")


def put_guard(stack: Stack, spec: guard.GuardSpec) -> str:
    """Give the policy on opt-in labels another form; return its name."""
    policy = guard.opt_in_labels(spec)
    for item in (policy, guard.guard_binding(policy, spec)):
        live = stack.get(path_of(item))
        stack.admin.call("PUT", path_of(item), {**live, "spec": item["spec"]})
    return policy["metadata"]["name"]


def probe(stack: Stack, name: str) -> str:
    """What the server says to a dry run that takes the label off."""
    change = {"metadata": {"labels": {"ops.platform/app": None}}}
    path = f"{namespace(name)}?dryRun=All"
    try:
        stack.admin.call("PATCH", path, change, "application/merge-patch+json")
    except RequestRefused as refused:
        return str(refused)
    return ""


def require_denied(stack: Stack, name: str) -> None:
    if not probe(stack, name):
        raise NotYet("it lets the label go")


def require_allowed(stack: Stack, name: str) -> None:
    if said := probe(stack, name):
        raise NotYet(said)


def test_pulumi_removes_a_tenant_that_was_unlabelled_by_hand_without_hanging(stack: Stack) -> None:
    tenants = copy.deepcopy(OPS["tenants"])
    tenants["namespaces"] += [{"name": "ops-leaving", "registries": ["ops-app"]}]
    stack.up({"tenants": tenants})
    stack.get(secret("ops-leaving", "ops-app"))
    stack.patch(namespace("ops-leaving"), {"metadata": {"labels": {"ops.platform/app": None}}})
    assert FINALIZER in finalizers(stack, "ops-leaving")
    stack.up()
    assert stack.find(namespace("ops-leaving")) is None
