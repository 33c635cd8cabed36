"""Coverage and what stands beside it, from a cluster that is a set of lists: rows, unmanaged Secrets, orphans, use."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from pullsecrets.config import StackConfig, parse
from pullsecrets.coverage import audit as auditing
from pullsecrets.coverage.audit import PODS_UNREADABLE, Audit, concerned_namespaces
from pullsecrets.coverage.inventory import read_inventory
from pullsecrets.coverage.strays import guess_origin
from pullsecrets.credential.vault import EntryMetadata, VaultClient
from pullsecrets.kube.client import KubernetesApiError
from pullsecrets.kube.marks import (
    CONTENT_DIGEST_ANNOTATION,
    FINALIZER_PREFIX,
    LAST_APPLIED,
    PULL_SECRET_TYPE,
    VERIFIED_PREFIX,
)
from tests.unit import delivered
from tests.unit.cluster import FakeCluster

DIGEST = "0123456789abcdef"
LABEL = {"test.platform/app": "true"}
STACK = {
    "cluster": {"name": "test"},
    "vault": {"address": "https://vault.example.com:8200", "egress": {"cidrs": ["10.0.0.0/8"]}},
    "registries": [
        {"name": "app", "hosts": ["app.example.com"], "selector": LABEL, "namespaces": ["t-*"]},
        {"name": "web", "hosts": ["web.example.com"], "selector": {"test.platform/web": "true"}, "namespaces": ["t-*"]},
    ],
    "tenants": {"namespaces": [{"name": "t-one", "registries": ["app"]}]},
}
Object = dict[str, Any]


class FakeVault(VaultClient):
    """Every path was seeded with the same credential."""

    def __init__(self, custom: Mapping[str, str] | None = None) -> None:
        self.custom = {"digest": DIGEST, "digest-version": "3", **(custom or {})}

    def read_metadata(self, mount: str, path: str) -> EntryMetadata:  # noqa: ARG002 - the client's signature
        return EntryMetadata(current_version=3, live=True, cas_required=True, max_versions=10, custom=self.custom)


def metadata(namespace: str, name: str, **more: Any) -> Object:
    return {"metadata": {"namespace": namespace, "name": name, "creationTimestamp": "2026-01-01T00:00:00Z", **more}}


def owned(kind: str, name: str) -> Object:
    owner = {"apiVersion": "external-secrets.io/v1", "kind": kind, "name": name, "uid": "1", "controller": True}
    return {"ownerReferences": [owner]}


def add_namespace(cluster: FakeCluster, name: str, labels: Mapping[str, str] | None = None, **more: Any) -> None:
    cluster.add("/api/v1/namespaces", {"metadata": {"name": name, "labels": dict(labels or {}), **more}})


def add_account(cluster: FakeCluster, namespace: str, *entries: str) -> None:
    listed = [{"name": entry} for entry in entries]
    cluster.add("/api/v1/serviceaccounts", {**metadata(namespace, "default"), "imagePullSecrets": listed})


def add_secret(cluster: FakeCluster, namespace: str, name: str, kind: str = PULL_SECRET_TYPE, **more: Any) -> None:
    cluster.add("/api/v1/secrets", {**metadata(namespace, name, **more), "type": kind})


def deliver(cluster: FakeCluster, namespace: str, registry: str = "app", digest: str = DIGEST) -> None:
    cluster.add("/apis/external-secrets.io/v1/externalsecrets", delivered.external_secret(namespace, registry))
    cluster.add("/api/v1/secrets", delivered.secret(namespace, digest, registry))


def add_pod(
    cluster: FakeCluster, namespace: str, name: str, image: str, *references: str, account: str = "", **status: Any
) -> None:
    entries = [{"name": entry} for entry in references]
    spec = {"containers": [{"image": image}], "imagePullSecrets": entries, "serviceAccountName": account}
    cluster.add("/api/v1/pods", {**metadata(namespace, name), "spec": spec, "status": {"phase": "Pending", **status}})


CONFIG = parse(STACK, "test")


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    """One tenant as it should be."""
    cluster = FakeCluster()
    add_namespace(cluster, "t-one", LABEL)
    add_account(cluster, "t-one", "default-dockercfg-abc", "app")
    deliver(cluster, "t-one")
    yield cluster
    assert "/api/v1/secrets" not in cluster.whole, "a Secret's content is never asked for"


def run(cluster: FakeCluster, config: StackConfig = CONFIG) -> Audit:
    return auditing.audit(config, cluster, FakeVault())


def test_a_tenant_as_it_should_be_is_green_and_nothing_stands_beside_it(cluster: FakeCluster) -> None:
    found = run(cluster)
    assert found.green
    assert found.warnings == 0
    assert [row.faults for row in found.rows] == [()]
    app, web = found.totals()
    assert (app.expected, app.selected, app.delivered, app.proved, app.bound, app.green) == (1, 1, 1, 1, 1, 1)
    assert (web.registry, web.expected) == ("web", 0)


def test_a_part_of_it_is_gated_on_by_itself(cluster: FakeCluster) -> None:
    add_namespace(cluster, "t-two", LABEL)
    add_secret(cluster, "t-two", "old-regcred")
    found = run(cluster)
    assert (found.green, found.within(["t-one"]).green, found.within(["t-t*"]).green) == (False, True, False)
    assert [item.namespace for item in found.unmanaged_secrets] == ["t-two"]
    assert found.within(["t-one"]).warnings == 0
    assert found.within(["t-one", "t-t*"]).rows == found.rows
    assert found.within(["nowhere"]).rows == ()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"labelled": False, "ready": False}, "label: not set, or there is no such namespace"),
        ({"ready": False, "reason": "403", "secret": False}, "ExternalSecret: not Ready: 403"),
        ({"ready": False, "reason": ""}, "ExternalSecret: not Ready: it says no reason"),
        ({"secret": False, "typed": False}, "Secret: there is none"),
        ({"typed": False}, "type: not dockerconfigjson"),
        ({"digest": "x"}, f"content: x, seeded {DIGEST}"),
        ({"digest": None}, "content: no digest beside the Secret to compare"),
        ({"seeded_digest": None}, "content: no digest of what was seeded to compare"),
        ({"doubt": "edited"}, f"content: {DIGEST}, as seeded; edited"),
        ({"unbound": ("default", "b")}, "ServiceAccounts: default, b without the entry"),
    ],
)
def test_the_first_gap_of_a_delivery_is_its_fault_and_one_is_enough_for_a_row_not_to_be_green(
    cluster: FakeCluster, change: Object, fault: str
) -> None:
    (row,) = run(cluster).rows
    found = replace(row, **change)
    assert (row.green, found.green, found.faults) == (True, False, (fault,))


@pytest.mark.parametrize(
    ("change", "pulled"),
    [
        ({}, True),
        # The node had it already, only simulates, or the Pod is from before the delivery.
        ({"imagePullPolicy": "IfNotPresent"}, False),
        ({"imageID": ""}, False),
        ({"creationTimestamp": "2025-12-31T00:00:00Z"}, False),
        ({"references": ["another"]}, False),
        ({"image": "elsewhere.example.com/a:1"}, False),
    ],
)
def test_that_pods_can_pull_is_said_after_a_pull_since_the_delivery(
    cluster: FakeCluster, change: Object, pulled: bool
) -> None:
    facts: Object = {
        "imagePullPolicy": "Always",
        "imageID": "sha256:1",
        "creationTimestamp": delivered.LATER,
        "references": ["app"],
        "image": "app.example.com/a:1",
        **change,
    }
    spec = {
        "containers": [{"name": "main", "image": facts["image"], "imagePullPolicy": facts["imagePullPolicy"]}],
        "imagePullSecrets": [{"name": name} for name in facts["references"]],
    }
    status = {"phase": "Running", "containerStatuses": [{"name": "main", "imageID": facts["imageID"], "state": {}}]}
    pod = metadata("t-one", "pod", creationTimestamp=facts["creationTimestamp"])
    cluster.add("/api/v1/pods", {**pod, "spec": spec, "status": status})
    (row,) = run(cluster).rows
    assert (row.green, row.pulled) == (True, f"Pod pod, {delivered.LATER}" if pulled else None)


@pytest.mark.parametrize(
    ("mark", "proved"),
    [
        (f"{DIGEST} {delivered.WRITTEN}", True),
        (f"{DIGEST} {delivered.LATER}", True),
        # Of a delivery before this one, though it was the same content; of another content; by somebody else's hand.
        (f"{DIGEST} 2025-12-31T00:00:00Z", False),
        (f"another {delivered.LATER}", False),
        ("", False),
        (DIGEST, False),
    ],
)
def test_a_run_of_verify_since_the_delivery_says_that_pods_can_pull(
    cluster: FakeCluster, mark: str, proved: bool
) -> None:
    cluster.lists["/api/v1/namespaces"][0]["metadata"]["annotations"] = {f"{VERIFIED_PREFIX}app": mark}
    (row,) = run(cluster).rows
    assert row.pulled == (f"pull-secrets verify, {mark.partition(' ')[2]}" if proved else None)


def test_a_thousand_namespaces_cost_few_requests(cluster: FakeCluster) -> None:
    for number in range(1000):
        name = f"t-many-{number}"
        add_namespace(cluster, name, LABEL)
        add_account(cluster, name, "app")
        deliver(cluster, name)
        for pod in range(3):
            add_pod(cluster, name, f"pod-{pod}", "app.example.com/x", "app")
    found = run(cluster)
    assert len(found.rows) == 1001
    assert found.green
    assert found.requests <= 20


def test_hand_made_secrets_and_old_names_are_of_other_origin(cluster: FakeCluster) -> None:
    add_secret(cluster, "t-one", "regcred", managedFields=[{"manager": "kubectl-create", "operation": "Update"}])
    add_secret(cluster, "elsewhere", "app", annotations={LAST_APPLIED: '{"data": "canary"}'})
    add_secret(cluster, "elsewhere", "web", "Opaque")
    add_secret(cluster, "elsewhere", "unrelated")
    add_account(cluster, "elsewhere", "app")
    add_pod(cluster, "t-one", "old", "app.example.com/x", "regcred")
    found = run(cluster)
    app, web, old = found.unmanaged_secrets
    assert (app.namespace, app.name, app.registry, app.typed, app.exposed) == ("elsewhere", "app", "app", True, True)
    assert (app.origin, app.service_accounts, app.pods) == ("kubectl apply", ("default",), 0)
    assert (web.name, web.typed, web.registry) == ("web", False, "web")
    assert (old.name, old.origin, old.pods, old.registry, old.exposed) == ("regcred", "kubectl create", 1, None, False)
    assert not found.orphans, "a Secret of that name is what the ServiceAccount's entry is for"
    assert "canary" not in repr(read_inventory(CONFIG, cluster))


def test_a_secret_of_somebody_elses_external_secret_is_of_other_origin(cluster: FakeCluster) -> None:
    cluster.add("/apis/external-secrets.io/v1/externalsecrets", metadata("t-two", "app"))
    add_namespace(cluster, "t-two", LABEL)
    add_secret(cluster, "t-two", "app", **owned("ExternalSecret", "app"))
    (other,) = run(cluster).unmanaged_secrets
    assert (other.namespace, other.origin) == ("t-two", "ExternalSecret app")


def test_what_was_left_in_a_namespace_that_left_is_orphaned(cluster: FakeCluster) -> None:
    add_namespace(cluster, "left", finalizers=[f"{FINALIZER_PREFIX}app", "others/finalizer"])
    add_account(cluster, "left", "others", "web")
    deliver(cluster, "left")
    found = run(cluster)
    assert [(item.kind, item.registry, item.name) for item in found.orphans] == [
        ("ExternalSecret", "app", "app"),
        ("Secret", "app", "app"),
        ("finalizer", "app", f"{FINALIZER_PREFIX}app"),
        ("ServiceAccount entry", "web", "default"),
    ]
    assert {item.namespace for item in found.orphans} == {"left"}
    assert not found.unmanaged_secrets
    assert found.green, "what was left keeps no tenant from pulling"


def test_a_copy_of_ours_without_an_owner_is_orphaned_even_in_a_tenant(cluster: FakeCluster) -> None:
    add_secret(cluster, "t-one", "web", annotations={CONTENT_DIGEST_ANNOTATION: DIGEST})
    (orphan,) = run(cluster).orphans
    assert (orphan.kind, orphan.namespace, orphan.registry) == ("Secret", "t-one", "web")
    assert orphan.fix == "kubectl delete secret web --namespace t-one"


def test_a_tenants_secret_that_a_restore_took_the_owner_from_is_never_to_be_deleted(cluster: FakeCluster) -> None:
    secrets = [item for item in cluster.lists["/api/v1/secrets"] if item["metadata"]["namespace"] == "t-one"]
    for item in secrets:
        item["metadata"]["ownerReferences"] = []
    orphans = run(cluster).orphans
    assert [(item.namespace, item.fix) for item in orphans] == [("t-one", "pull-secrets doctor t-one --fix")]
    assert "ESO takes the Secret over again" in orphans[0].reason


def test_pods_that_pull_without_opting_in_are_found_and_finished_ones_are_not(cluster: FakeCluster) -> None:
    waiting: Object = {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}
    add_pod(cluster, "sandbox", "b", "app.example.com/x", "mine", **waiting)
    add_pod(cluster, "sandbox", "a", "app.example.com/y")
    add_pod(cluster, "sandbox", "done", "web.example.com/x", phase="Succeeded")
    add_pod(cluster, "sandbox", "public", "docker.io/library/busybox")
    add_pod(cluster, "t-one", "tenant", "app.example.com/x", "app")
    add_pod(cluster, "kube-system", "platform", "app.example.com/x")
    (use,) = run(cluster).undeclared_uses
    assert (use.namespace, use.registry, use.pods, use.failing) == ("sandbox", "app", 2, 1)
    assert (use.example, use.secrets) == ("a", ("mine",))


def test_the_daily_validation_does_not_report_itself(cluster: FakeCluster) -> None:
    config = parse({**STACK, "monitoring": {"namespace": "watch", "imagePullSecret": "app"}}, "test")
    add_pod(
        cluster, "watch", "pull-secrets-test-audit-1", "app.example.com/x", "app", account="pull-secrets-test-audit"
    )
    add_pod(cluster, "watch", "binder", "app.example.com/x", "app", account="pull-secrets-test-bind")
    add_secret(cluster, "watch", "app")
    assert run(cluster, config).warnings == 0
    add_pod(cluster, "watch", "other", "app.example.com/x", "app")
    add_pod(cluster, "elsewhere", "same", "app.example.com/x", account="pull-secrets-test-audit")
    add_secret(cluster, "watch", "web")
    found = run(cluster, config)
    assert [(use.namespace, use.example) for use in found.undeclared_uses] == [
        ("elsewhere", "same"),
        ("watch", "other"),
    ]
    assert [(other.namespace, other.name) for other in found.unmanaged_secrets] == [("watch", "web")]


def test_without_the_right_to_list_pods_the_audit_says_that_it_is_not_complete(cluster: FakeCluster) -> None:
    cluster.refuse["GET", "/api/v1/pods"] = (403, "not for you")
    add_secret(cluster, "t-one", "regcred")
    found = run(cluster)
    assert found.notes == (PODS_UNREADABLE,)
    assert found.green
    assert found.warnings == 2
    assert found.unmanaged_secrets[0].pods is None


def test_another_refusal_is_not_taken_for_nothing_found(cluster: FakeCluster) -> None:
    cluster.refuse["GET", "/api/v1/secrets"] = (403, "not for you")
    with pytest.raises(KubernetesApiError):
        run(cluster)


def test_what_stands_in_esos_namespace_for_a_relayed_registry_is_ours(cluster: FakeCluster) -> None:
    relayed = {**STACK["registries"][0], "delivery": "fanout"}  # type: ignore[index]
    config = parse({**STACK, "registries": [relayed, STACK["registries"][1]]}, "test")  # type: ignore[index]
    cluster.add("/apis/external-secrets.io/v1/externalsecrets", metadata("external-secrets", "app"))
    add_secret(cluster, "external-secrets", "app", **owned("ExternalSecret", "app"))
    found = run(cluster, config)
    assert not found.unmanaged_secrets
    assert not found.orphans


def test_a_sealed_credential_is_proved_by_what_was_unsealed_and_needs_no_vault() -> None:
    sealed = {"source": "sealedSecret", "delivery": "fanout", "sealedFile": "sealed/app.yaml"}
    registry = {**STACK["registries"][0], **sealed}  # type: ignore[index]
    config = parse({"cluster": STACK["cluster"], "registries": [registry], "tenants": STACK["tenants"]}, "test")
    cluster = FakeCluster()
    add_namespace(cluster, "t-one", LABEL)
    add_account(cluster, "t-one", "app")
    deliver(cluster, "t-one")
    noted = {CONTENT_DIGEST_ANNOTATION: DIGEST, "apps.platform/expires-at": "2026-12-24T00:00:00Z"}
    add_secret(cluster, "external-secrets", "app", annotations=noted)
    found = auditing.audit(config, cluster, None)
    assert found.green
    assert found.warnings == 0
    (credential,) = found.credentials
    assert (credential.source, credential.version, credential.digest) == ("sealedSecret", None, DIGEST)
    assert credential.expires_at == datetime(2026, 12, 24, tzinfo=UTC)


def test_facts_of_a_credential_come_from_its_metadata(cluster: FakeCluster) -> None:
    custom = {"seeded-at": "2026-03-01T10:00:00+00:00", "expires-at": "2026-12-24T00:00:00Z"}
    app, _ = auditing.audit(CONFIG, cluster, FakeVault(custom)).credentials
    assert (app.version, app.digest) == (3, DIGEST)
    assert app.seeded_at == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert app.expires_at == datetime(2026, 12, 24, tzinfo=UTC)


def test_an_expiry_that_is_no_time_is_not_known(cluster: FakeCluster) -> None:
    assert auditing.audit(CONFIG, cluster, FakeVault({"expires-at": "soon"})).credentials[0].expires_at is None


def test_concerned_are_the_declared_and_the_labelled(cluster: FakeCluster) -> None:
    add_namespace(cluster, "by-label", {"test.platform/web": "true", "x": "y"})
    assert concerned_namespaces(CONFIG, read_inventory(CONFIG, cluster).namespaces) == {
        "app": {"t-one"},
        "web": {"by-label"},
    }


def test_a_labelled_namespace_that_is_being_deleted_is_expected_to_have_nothing(cluster: FakeCluster) -> None:
    leaving = {"deletionTimestamp": "2026-05-01T00:00:00Z", "finalizers": [f"{FINALIZER_PREFIX}app"]}
    add_namespace(cluster, "t-leaving", LABEL, **leaving)
    add_account(cluster, "t-leaving", "app")
    found = run(cluster)
    assert found.green
    assert [row.namespace for row in found.rows] == ["t-one"]
    assert found.warnings == 0, "while it carries the label, nothing in it is left over"


def test_a_declared_namespace_that_is_being_deleted_is_still_expected_to_have_all() -> None:
    cluster = FakeCluster()
    add_namespace(cluster, "t-one", LABEL, deletionTimestamp="2026-05-01T00:00:00Z")
    assert [row.namespace for row in run(cluster).rows] == ["t-one"]


@pytest.mark.parametrize(
    ("facts", "origin"),
    [
        (owned("ExternalSecret", "own"), "ExternalSecret own"),
        ({"annotations": {"reflector.v1.k8s.emberstack.com/reflects": "a/b"}}, "Reflector, copied from a/b"),
        ({"annotations": {"replicator.v1.mittwald.de/replicated-at": "now"}}, "kubernetes-replicator"),
        ({"annotations": {"app.kubernetes.io/managed-by": "imagepullsecret-patcher"}}, "imagepullsecret-patcher"),
        ({"annotations": {"meta.helm.sh/release-name": "shop"}}, "Helm release shop"),
        ({"labels": {"app.kubernetes.io/managed-by": "Helm"}}, "Helm"),
        ({"annotations": {LAST_APPLIED: ""}}, "kubectl apply"),
        ({"managedFields": [{"manager": "Mozilla"}]}, "a web console"),
        ({"managedFields": [{"manager": "some-tool"}]}, "field manager some-tool"),
        ({}, "unknown"),
    ],
)
def test_the_origin_is_guessed_from_owner_notes_and_managers(facts: Object, origin: str) -> None:
    assert guess_origin({"metadata": facts}) == origin
