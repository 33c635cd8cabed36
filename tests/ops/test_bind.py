"""`pull-secrets bind --watch` on the real API server, with a binder's rights alone: ServiceAccounts that come late."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from local.controlplane.waiting import NotYet, until
from pullsecrets.kube.client import KubernetesApiError
from pullsecrets.kube.objects import path_of
from pullsecrets.manifests.rbac import binder_roles
from tests.e2e.stack import DEADLINE, Stack, account

pytestmark = pytest.mark.controlplane

TENANT, LATE = "ops-both", "builder"
WANTED = ["ops-app", "ops-web"]
OTHERS = "default-dockercfg-xyz"


@pytest.fixture(scope="module")
def binder(stack: Stack) -> Iterator[Path]:
    """Who may do what `bind` needs, and nothing else."""
    roles = binder_roles("ops-binders", ["default", LATE])
    for role in roles:
        stack.admin.apply(role)
    yield stack.plane.kubeconfig_for("binder", ["ops-binders"])
    for role in roles:
        stack.admin.call("DELETE", path_of(role))


@contextmanager
def watching(stack: Stack, kubeconfig: Path) -> Iterator[None]:
    words = ["bind", "--stack", stack.name, "--directory", str(stack.workspace.root), "--watch"]
    environment = {**stack.workspace.environment, "KUBECONFIG": str(kubeconfig)}
    process = subprocess.Popen([sys.executable, "-m", "pullsecrets", *words], env=environment)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def bound(stack: Stack, name: str, entries: list[str]) -> None:
    found = stack.entries(TENANT, name)
    if found != entries:
        raise NotYet(f"{name} lists {found}")


def test_a_service_account_that_comes_late_or_lost_its_entries_is_bound_without_a_run(
    stack: Stack, binder: Path
) -> None:
    late = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": LATE, "namespace": TENANT}}
    before = stack.entries(TENANT)
    with watching(stack, binder):
        try:
            # As OpenShift makes one.
            stack.admin.apply({**late, "imagePullSecrets": [{"name": OTHERS}]})
            until(lambda: bound(stack, LATE, [OTHERS, *WANTED]), DEADLINE, "the late ServiceAccount bound")
            stack.patch(account(TENANT), {"imagePullSecrets": [{"name": OTHERS}]})
            until(lambda: bound(stack, "default", [OTHERS, *WANTED]), DEADLINE, "the entries back")
        finally:
            stack.admin.call("DELETE", account(TENANT, LATE))
            stack.patch(account(TENANT), {"imagePullSecrets": [{"name": name} for name in before]})


def test_once_it_says_what_was_missing(stack: Stack, binder: Path) -> None:
    stack.patch(account(TENANT), {"imagePullSecrets": [{"name": "ops-app"}]})
    done = stack.command("bind", environment={"KUBECONFIG": str(binder)})
    assert f"appended to ServiceAccount {TENANT}/default" in done.stdout, done.stderr
    assert "1 of 5 declared ServiceAccounts lacked an entry" in done.stdout
    assert stack.entries(TENANT) == WANTED


def test_a_binder_reads_no_secret_and_changes_no_other_service_account(stack: Stack, binder: Path) -> None:
    client = stack.client(binder)
    other = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "other", "namespace": TENANT}}
    stack.admin.apply(other)
    try:
        for attempt in (
            lambda: client.get(f"/api/v1/namespaces/{TENANT}/secrets"),
            lambda: client.merge_patch(path_of(other), {"imagePullSecrets": []}),
        ):
            with pytest.raises(KubernetesApiError, match="forbidden"):
                attempt()
    finally:
        stack.admin.call("DELETE", path_of(other))
