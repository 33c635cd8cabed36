"""Acting as the right one, on the right thing: who refuses is named, and a fix restores what is declared."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from local.controlplane.api import RequestRefused
from local.controlplane.waiting import NotYet, until
from pullsecrets.kube.client import KubernetesApiError
from pullsecrets.kube.refusal import Refuser
from pullsecrets.tenancy import binding
from tests.e2e.stack import Stack, account, namespace, secret
from tests.ops.test_doctor_platform import OWN_POLICY, egress_closed, environment, look, until_healthy

pytestmark = pytest.mark.controlplane

APP = "ops-app"
LABEL = {"ops.platform/app": "true"}
TENANT = "ops-auth-dev"
NEW = "ops-refused"
DEADLINE = 120
ADMISSION = "/apis/admissionregistration.k8s.io/v1"


@contextmanager
def company_policy(stack: Stack, name: str) -> Iterator[None]:
    """A policy of the company that lets nobody change ServiceAccounts of one namespace."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["serviceaccounts"]}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": TENANT}}
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule], "namespaceSelector": selector},
            "validations": [{"expression": "false", "message": "ask the platform team", "reason": "Invalid"}],
        },
    }
    bound = {"policyName": name, "validationActions": ["Deny"]}
    objects = {
        f"{ADMISSION}/validatingadmissionpolicies": policy,
        f"{ADMISSION}/validatingadmissionpolicybindings": {
            **policy,
            "kind": "ValidatingAdmissionPolicyBinding",
            "spec": bound,
        },
    }
    for path, item in objects.items():
        stack.admin.call("POST", path, item)
    try:
        yield
    finally:
        for path in reversed(objects):
            stack.admin.call("DELETE", f"{path}/{name}")


def test_a_policy_that_refuses_is_named_at_once_and_no_conflict(stack: Stack) -> None:
    client = stack.client(stack.plane.kubeconfig("admin"))
    with company_policy(stack, "company"):

        def refused() -> tuple[KubernetesApiError, int]:
            for act in (binding.bind, binding.unbind):
                before = client.requests
                try:
                    act(client, TENANT, ["default"], ["not-there"])
                except KubernetesApiError as error:
                    return error, client.requests - before
            raise NotYet("the policy does not judge yet")

        error, requests = until(refused, DEADLINE, "the policy refuses", every=0.5)
    until(lambda: taken_back(stack), DEADLINE, "the policy is gone", every=0.5)
    assert (error.status, error.refusal and error.refusal.refuser) == (422, Refuser.POLICY)
    assert "admission policy 'company' refuses it, now and later" in str(error)
    assert "ask the platform team" in str(error)
    assert requests <= 3, "it was not tried again and again"


def taken_back(stack: Stack) -> None:
    try:
        stack.patch(account(TENANT), {"imagePullSecrets": [{"name": APP}]})
    except RequestRefused as error:
        raise NotYet(str(error)) from None


@pytest.fixture
def new(stack: Stack) -> Iterator[str]:
    """A namespace that is not labelled yet."""
    stack.make_namespace(NEW)
    yield NEW
    if stack.find(namespace(NEW)):
        stack.patch(namespace(NEW), {"metadata": {"finalizers": None}})
        stack.delete_namespace(NEW)


def test_a_quota_that_refuses_esos_secret_is_named(stack: Stack, new: str) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"secrets": "0"}},
    }
    path = f"/api/v1/namespaces/{new}/resourcequotas"
    stack.admin.call("POST", path, quota)
    # What the quota controller would count, which does not run here.
    stack.patch(f"{path}/none/status", {"status": {"hard": {"secrets": "0"}, "used": {"secrets": "0"}}})
    stack.patch(namespace(new), {"metadata": {"labels": LABEL}})

    def told() -> tuple[str, ...]:
        found = [item for item in look(stack).all_diagnoses() if new in item.namespaces]
        causes = [cause for item in found if item.check == "external-secret-failing" for cause in item.causes]
        if not causes:
            raise NotYet(str([item.check for item in found]))
        return tuple(causes)

    assert "ResourceQuota 'none' refuses what ESO writes" in until(told, DEADLINE, "ESO failed", every=0.5)[0]


def test_a_namespace_that_anothers_finalizer_holds_is_no_healthy_one(stack: Stack, new: str) -> None:
    stack.patch(namespace(new), {"metadata": {"labels": LABEL, "finalizers": ["example.com/backup"]}})
    stack.get(secret(new, APP))
    stack.admin.call("DELETE", namespace(new))

    def told() -> tuple[str, ...]:
        report = look(stack, ahead=timedelta(minutes=2))
        causes = [
            cause
            for item in report.all_diagnoses()
            if item.check == "namespace-stuck-terminating"
            for cause in item.causes
        ]
        if not causes or "others" not in causes[0]:
            raise NotYet(str(causes))
        return tuple(causes)

    assert until(told, DEADLINE, "only the other finalizer is left", every=0.5) == (
        "Finalizers of others hold it: example.com/backup.",
    )


def test_a_secret_that_a_restore_took_the_owner_from_is_taken_over_again(stack: Stack) -> None:
    path = secret(TENANT, APP)
    before = stack.get(path)["metadata"]
    stack.patch(path, {"metadata": {"ownerReferences": None}})
    (orphan,) = stack.audit()["orphans"]
    assert (orphan["namespace"], orphan["fix"]) == (TENANT, f"pull-secrets doctor {TENANT} --fix --stack {stack.name}")
    done = stack.command("doctor", TENANT, "--fix", "--yes", "--json", environment=environment(stack))
    assert done.returncode == 0, done.stdout + done.stderr
    after = stack.get(path)["metadata"]
    assert (after["uid"], after["ownerReferences"]) == (before["uid"], before["ownerReferences"])


def test_who_resets_a_service_account_is_named(stack: Stack) -> None:
    path = account("ops-both", "builder")
    made = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "builder", "labels": {"team": "both"}}}
    if stack.find(path) is None:
        stack.admin.call("POST", path.rpartition("/")[0], made)
    try:
        stack.patch(f"{path}?fieldManager=nightly-job", {"imagePullSecrets": [{"name": "mine"}]})
        done = stack.command("doctor", "ops-both", "--fix", "--yes", environment=environment(stack))
        assert "imagePullSecrets mine, written last by nightly-job at 2" in done.stdout, done.stdout
        assert stack.entries("ops-both", "builder") == ["mine", APP, "ops-web"]
    finally:
        stack.admin.call("DELETE", path)


def test_a_fix_restores_what_is_declared_whatever_this_machines_way_to_vault_is(stack: Stack) -> None:
    declared = stack.get(OWN_POLICY)["spec"]
    aside = {**environment(stack), "VAULT_ADDR": "https://127.0.0.1:1"}
    with egress_closed(stack):
        done = stack.command("doctor", "--fix", "--yes", "--json", environment=aside)
        report = json.loads(done.stdout)
        assert [item["applied"] for item in report["fixes"]] == [True]
        assert stack.get(OWN_POLICY)["spec"] == declared
        # What could not be looked at from here is no cause, and nothing is called healthy.
        assert (done.returncode, report["diagnoses"]) == (1, [])
        reasons: dict[str, Any] = {item["check"]: item["reason"] for item in report["unchecked"]}
        assert "VAULT_ADDR names" in reasons["vault-unreachable"]
    until_healthy(stack)
