"""Who else in `kube-system` may write Secrets is found by RBAC, and only where the guard would let it through."""

from typing import Any

import pytest

from pullsecrets.config import parse
from pullsecrets.doctor.checks.namespace import RBAC, guarded_namespace_writers, may_write
from pullsecrets.doctor.model import Finding
from pullsecrets.doctor.snapshot import Snapshot
from tests.unit.cluster import FakeCluster
from tests.unit.config.test_config import GOOD

IN_NAMESPACE = f"{RBAC}/namespaces/kube-system"
WRITES = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "update"]}
SEALED = "system:serviceaccount:kube-system:sealed-secrets"


def role(kind: str, name: str, rule: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    where = RBAC if kind == "ClusterRole" else IN_NAMESPACE
    return f"{where}/{kind.lower()}s/{name}", {"metadata": {"name": name}, "rules": [rule]}


def binding(kind: str, name: str, to: tuple[str, str], *subjects: dict[str, str]) -> tuple[str, dict[str, Any]]:
    where = RBAC if kind == "ClusterRoleBinding" else IN_NAMESPACE
    reference = {"kind": to[0], "name": to[1]}
    item = {"metadata": {"name": name}, "roleRef": reference, "subjects": list(subjects)}
    return f"{where}/{kind.lower()}s/{name}", item


def account(name: str, namespace: str = "kube-system") -> dict[str, str]:
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


CLUSTER = FakeCluster(
    role("ClusterRole", "unsealer", WRITES),
    role("ClusterRole", "reader", {**WRITES, "verbs": ["get", "list", "watch"]}),
    role("ClusterRole", "system:controller:token-cleaner", WRITES),
    role("Role", "agent", {**WRITES, "resourceNames": ["global-pull-secret"]}),
    role("Role", "elsewhere", {**WRITES, "resourceNames": ["agent-state"]}),
    binding("ClusterRoleBinding", "unseal", ("ClusterRole", "unsealer"), account("sealed-secrets")),
    binding("ClusterRoleBinding", "read", ("ClusterRole", "reader"), account("reader")),
    binding(
        "ClusterRoleBinding", "system:token-cleaner", ("ClusterRole", "system:controller:token-cleaner"), account("t")
    ),
    binding("RoleBinding", "agent", ("Role", "agent"), account("agent"), {"kind": "User", "name": "jane"}),
    binding("RoleBinding", "elsewhere", ("Role", "elsewhere"), account("state")),
    binding("RoleBinding", "visitor", ("ClusterRole", "unsealer"), account("visitor", "team-a")),
    binding("RoleBinding", "twin", ("Role", "unsealer"), account("twin")),
)


def found(guard: dict[str, Any]) -> list[Finding]:
    return list(guarded_namespace_writers.find(Snapshot(parse({**GOOD, "guard": guard}, "test"), "test", CLUSTER)))


def test_accounts_that_may_write_a_guarded_secret_are_named_with_their_binding() -> None:
    agent, sealed = found({})
    assert "kube-system/agent may write Secrets" in agent.cause
    assert "RoleBinding agent" in agent.evidence[0]
    assert "kube-system/sealed-secrets may write Secrets" in sealed.cause
    assert "ClusterRoleBinding unseal" in sealed.evidence[0]


def test_whom_the_stack_names_is_no_finding() -> None:
    (agent,) = found({"writers": {"users": [SEALED]}})
    assert "kube-system/agent" in agent.cause


def test_a_guard_that_denies_needs_nobodys_attention() -> None:
    assert found({"mode": "deny", "labelers": {"users": ["pulumi"]}}) == []
    assert len(found({"mode": "off"})) == 2


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"verbs": ["*"]}, True),
        ({"resources": ["*"], "apiGroups": ["*"]}, True),
        ({"verbs": ["get", "list"]}, False),
        ({"apiGroups": ["apps"]}, False),
        ({"resources": ["configmaps"]}, False),
        ({"resourceNames": ["original-pull-secret"]}, True),
        ({"resourceNames": ["mine"]}, False),
    ],
)
def test_a_rule_is_judged_by_what_it_permits_on_guarded_secrets(change: dict[str, Any], expected: bool) -> None:
    assert may_write({**WRITES, **change}) is expected
