"""Before the first `pulumi up`: what the cluster lacks, what is others', missing rights, and what admission refuses."""

from collections.abc import Mapping
from typing import Any

import pytest

from pullsecrets.config import StackConfig, parse
from pullsecrets.doctor.checks import all_checks, checks_of
from pullsecrets.doctor.checks.before import (
    cluster_unsuitable,
    labeler_unlisted,
    name_taken,
    object_refused,
    right_missing,
)
from pullsecrets.doctor.model import Check, Finding, Phase, Severity
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.errors import UnreachableError
from pullsecrets.kube.objects import path_of
from pullsecrets.manifests.roles import Groups, deployment_roles, rights_of
from pullsecrets.manifests.stack import stack_objects
from tests.components.program import stack_file
from tests.unit.cluster import FakeCluster
from tests.unit.manifests.test_audit_job import monitored, sealed

PATCH = "PATCH"
KINDS = [{"kind": kind} for kind in ("ValidatingAdmissionPolicy", "MutatingAdmissionPolicy")]


def config(**changes: Any) -> StackConfig:
    return parse({**stack_file("dev"), **changes}, "dev")


class Cluster(FakeCluster):
    """Answers reviews and dry runs, and serves what it was given."""

    def __init__(self, *objects: tuple[str, dict[str, Any]], denied: str = "nothing") -> None:
        super().__init__(*objects)
        self.denied = denied
        self.dry_runs: list[str] = []
        self.reviewed: list[dict[str, str]] = []

    def request(
        self, method: str, path: str, query: Mapping[str, str] | None = None, *, body: Any = None, **_: Any
    ) -> dict[str, Any]:
        if path.endswith("selfsubjectaccessreviews"):
            attributes = body["spec"]["resourceAttributes"]
            self.reviewed.append(attributes)
            return {"status": {"allowed": self.denied not in (attributes["verb"], attributes["resource"])}}
        if path.endswith("selfsubjectreviews"):
            return {"status": {"userInfo": {"username": "jane", "groups": ["system:authenticated"]}}}
        if method == PATCH and (method, path) not in self.refuse:
            assert query == {
                "fieldManager": "pull-secrets",
                "force": "true",
                "dryRun": "All",
                "fieldValidation": "Strict",
            }
            self.dry_runs.append(path)
            return body
        return super().request(method, path, query, body=body)


def found(check: Check, cluster: FakeCluster, declared: StackConfig | None = None) -> list[Finding]:
    return list(check.find(Snapshot(declared or config(), "dev", cluster)))


def test_what_the_cluster_does_not_serve_is_named_with_its_version() -> None:
    guarded = config(binding="admission")
    assert not found(
        cluster_unsuitable,
        Cluster(("/apis/admissionregistration.k8s.io/v1", {"resources": KINDS, "metadata": {}})),
        guarded,
    )
    unsuitable = found(cluster_unsuitable, Cluster(), guarded)
    assert any("MutatingAdmissionPolicy" in item.cause for item in unsuitable)
    assert {item.evidence for item in unsuitable} == {("GET /version: v1.36.3",)}


def test_a_guard_that_would_deny_the_run_itself_is_found() -> None:
    labelers = {"users": [], "groups": ["platform"]}
    (denied,) = found(labeler_unlisted, Cluster(), config(guard={"mode": "deny", "labelers": labelers}))
    assert "found neither user 'jane'" in denied.cause
    assert not found(
        labeler_unlisted, Cluster(), config(guard={"mode": "deny", "labelers": {**labelers, "users": ["jane"]}})
    )


def test_an_object_of_others_is_found() -> None:
    declared = config()
    eso = ("/api/v1/namespaces/external-secrets", {"metadata": {"name": "external-secrets"}})
    path = next(path_of(item) for item in stack_objects(declared, "dev") if item["kind"] == "ClusterExternalSecret")
    cluster = Cluster(eso, (path, {"metadata": {"name": "app", "annotations": {}}}))
    snapshot = Snapshot(declared, "dev", cluster)
    snapshot.once("vault", lambda: None)
    assert any(f"{path} exists and was not made by this program" in item.cause for item in name_taken.find(snapshot))


def test_each_right_of_both_roles_is_reviewed() -> None:
    cluster = Cluster()
    assert not found(right_missing, cluster)
    rights = list(rights_of(deployment_roles(config(), Groups())))
    assert len(cluster.reviewed) == len(rights) > 30
    asked = {(item["verb"], item["group"], item["resource"], item["namespace"]) for item in cluster.reviewed}
    assert {
        ("create", "external-secrets.io", "clustersecretstores", ""),
        ("create", "external-secrets.io", "clusterexternalsecrets", ""),
        ("patch", "", "serviceaccounts", ""),
        ("create", "networking.k8s.io", "networkpolicies", "external-secrets"),
    } <= asked


@pytest.mark.parametrize(
    "declared", [config(), config(binding="admission", guard={"mode": "warn"}), monitored(), sealed()]
)
def test_what_a_stack_declares_may_be_created_by_who_has_the_rights_that_are_reviewed(declared: StackConfig) -> None:
    """The reviewed rights are those of the one list of objects: each can be created, where it stands."""
    creatable = {
        (right.group, right.resource, right.namespace)
        for right in rights_of(deployment_roles(declared, Groups()))
        if right.verb == "create"
    }
    for item in stack_objects(declared, "dev"):
        parts = path_of(item).split("/")
        group = "" if parts[1] == "api" else parts[2]
        namespace = item["metadata"].get("namespace", "")
        assert {(group, parts[-2], namespace), (group, parts[-2], "")} & creatable, path_of(item)


@pytest.mark.parametrize(("denied", "roles"), [("clustersecretstores", 2), ("namespaces", 1), ("nothing", 0)])
def test_missing_rights_are_told_by_role(denied: str, roles: int) -> None:
    missing = found(right_missing, Cluster(denied=denied))
    assert len(missing) == roles
    assert all(denied in item.evidence[0] and item.severity is Severity.CLUSTER for item in missing)


def test_each_object_is_sent_as_a_dry_run_and_nothing_else_is() -> None:
    cluster = Cluster()
    assert not found(object_refused, cluster)
    assert sorted(cluster.dry_runs) == sorted(path_of(item) for item in stack_objects(config(), "dev"))
    assert cluster.sent == []


WEBHOOK = 'admission webhook "policy.example.com" denied the request: needs an owner'


@pytest.mark.parametrize(
    ("status", "message", "severity"),
    [
        (403, WEBHOOK, Severity.CLUSTER),
        (422, "ClusterSecretStore is invalid: spec.x: unknown field", Severity.CLUSTER),
        (400, 'admission webhook "old.example.com" does not support dry run', Severity.WARNING),
        (403, 'clustersecretstores is forbidden: User "jane" cannot patch resource "x"', None),
        (404, "the server could not find the requested resource", None),
    ],
)
def test_what_admission_refuses_is_told_and_what_other_checks_tell_is_not(
    status: int, message: str, severity: Severity | None
) -> None:
    cluster = Cluster()
    store = next(path_of(item) for item in stack_objects(config(), "dev") if item["kind"] == "ClusterSecretStore")
    cluster.refuse[PATCH, store] = (status, message)
    refused = found(object_refused, cluster)
    assert [item.severity for item in refused] == ([severity] if severity else [])
    assert all(message in item.cause for item in refused)


def test_a_tenants_namespace_that_is_refused_concerns_that_tenant() -> None:
    cluster = Cluster()
    tenant = config().resolve_tenants()[0].name
    cluster.refuse[PATCH, f"/api/v1/namespaces/{tenant}"] = (403, WEBHOOK)
    (refused,) = found(object_refused, cluster)
    assert (refused.namespace, refused.severity) == (tenant, Severity.TENANT)
    assert "admission webhook 'policy.example.com'" in refused.cause


def test_a_server_that_does_not_answer_is_no_refusal() -> None:
    class Gone(Cluster):
        def request(self, *_: Any, **__: Any) -> dict[str, Any]:
            raise UnreachableError("no answer")

    for check in (cluster_unsuitable, right_missing, object_refused):
        with pytest.raises(UnreachableError):
            found(check, Gone(), config(binding="admission"))


def test_checks_before_and_afterwards_are_told_apart() -> None:
    before, running = ({check.name for check in checks_of(phase)} for phase in (Phase.BEFORE, Phase.RUNNING))
    assert before | running == {check.name for check in all_checks()}
    assert {
        "eso-absent",
        "eso-outdated",
        "vault-sealed",
        "vault-unreachable",
        "vault-path-unpopulated",
    } <= before & running
    assert {"right-missing", "object-refused"} <= before - running
