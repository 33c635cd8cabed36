"""Each fault of a tenant namespace is diagnosed by its check and by no other, and a healthy cluster by none."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets.credential.vault import EntryMetadata, VaultClient
from pullsecrets.credential.vault_entry import SEEDED_AT_KEY, SEEDED_HOSTS_KEY, VERSION_KEY
from pullsecrets.doctor.checks import all_checks
from pullsecrets.doctor.diagnosis import diagnose
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import ago as told
from pullsecrets.doctor.tenancy import parse_time, workload
from pullsecrets.errors import ConflictError, UnreachableError
from pullsecrets.kube.marks import MANAGED_LABEL
from pullsecrets.manifests import guard
from pullsecrets.workloads.pods import list_pods
from tests.node.messages import seen
from tests.unit import delivered
from tests.unit.cluster import FakeCluster
from tests.unit.doctor.tenants import (
    APP,
    BUILDER,
    LABEL,
    NOW,
    REJECTED,
    World,
    ago,
    healthy,
    pull_secret,
    ready,
    stack_config,
)

NAMES = (
    "content-stale",
    "content-unproved",
    "credential-lacks-host",
    "external-secret-failing",
    "external-secret-missing",
    "finalizer-left-behind",
    "image-host-not-in-credential",
    "namespace-missing",
    "namespace-not-labelled",
    "namespace-stuck-terminating",
    "platform-namespace-labelled",
    "pod-admission-missing",
    "pod-admitted-too-early",
    "pod-cannot-pull",
    "pod-with-own-list",
    "secret-foreign",
    "secret-missing",
    "secret-not-kept",
    "secret-wrong-type",
    "service-account-unbound",
)
CHECKS: tuple[Check, ...] = tuple(check for check in all_checks() if check.name in NAMES)

A, B = "team-a", "team-b"
BACK_OFF = "ImagePullBackOff"

Fault = Callable[[World], None]


def found(world: World, only: str | None = None) -> list[Finding]:
    """The causes that the checks on tenants find, without what follows from them."""
    report = diagnose(world.snapshot(only), CHECKS)
    assert report.unchecked == ()
    return [finding for diagnosis in report.diagnoses for finding in diagnosis.findings]


def the_one(world: World) -> Finding:
    (finding,) = found(world)
    return finding


def undeliver(world: World, namespace: str) -> None:
    """What ESO does when the label goes."""
    world.namespaces[namespace]["metadata"]["labels"] = {}
    del world.external_secrets[namespace], world.secrets[namespace]


def delete(world: World, namespace: str, since: timedelta) -> None:
    world.namespaces[namespace]["metadata"]["deletionTimestamp"] = ago(since)
    world.pods = [pod for pod in world.pods if pod["metadata"]["namespace"] != namespace]


def missing(world: World) -> None:
    undeliver(world, A)
    delete(world, A, timedelta(0))
    del world.namespaces[A], world.accounts[A, "default"]


def unlabelled(world: World) -> None:
    undeliver(world, A)


def unlabelled_with_somebodys_own(world: World) -> None:
    undeliver(world, A)
    world.secrets[A] = pull_secret(A, None, None)


def unlabelled_with_an_opaque_one(world: World) -> None:
    undeliver(world, A)
    world.secrets[A] = {**pull_secret(A, None, None), "type": "Opaque"}


def wrong_value(world: World) -> None:
    undeliver(world, A)
    world.namespaces[A]["metadata"]["labels"] = dict.fromkeys(LABEL, "false")


def not_opted_in(world: World) -> None:
    world.add_namespace("team-new")
    world.add_pod("team-new", fails="ErrImagePull")


def outside_patterns(world: World) -> None:
    world.add_namespace("other")
    world.add_pod("other", fails=BACK_OFF)


def stuck(world: World) -> None:
    undeliver(world, "team-label")
    delete(world, "team-label", timedelta(seconds=3))


def stuck_while_eso_is_down(world: World) -> None:
    delete(world, "team-label", timedelta(hours=1))


def stuck_on_a_fanout_of_others(world: World) -> None:
    world.add_namespace("gone")
    world.namespaces["gone"]["metadata"]["finalizers"] = ["externalsecrets.external-secrets.io/ces-other"]
    delete(world, "gone", timedelta(hours=1))


def held_by_others(world: World) -> None:
    world.namespaces[A]["metadata"]["finalizers"] = ["example.com/backup"]
    delete(world, A, timedelta(hours=1))


def restored(world: World) -> None:
    """As a backup's restore leaves it: what ESO wrote, without the owner."""
    world.secrets[A]["metadata"]["ownerReferences"] = []


def left_behind(world: World) -> None:
    undeliver(world, "team-label")


def platform_labelled(world: World) -> None:
    world.namespaces["kube-system"]["metadata"]["labels"] = LABEL
    world.deliver("kube-system")


def labelled_outside_patterns(world: World) -> None:
    world.add_namespace("other", LABEL)


def default_unbound(world: World) -> None:
    world.add_account(A, "default", "default-dockercfg-1")


def declared_unbound(world: World) -> None:
    world.add_account(B, BUILDER)
    world.pods.clear()
    world.add_pod(B, account=BUILDER, fails=BACK_OFF)


def undeclared_used(world: World) -> None:
    world.add_account(A, "operator", "operator-dockercfg-1")
    world.add_pod(A, "operator-1", account="operator", fails=BACK_OFF)


def policy_gone(world: World) -> None:
    world.binding = "admission"


def too_early(world: World) -> None:
    world.add_pod(A, "auth-5d9-old", references=[])


def too_early_with_the_entries_of_the_time(world: World) -> None:
    world.add_account(A, "default", "default-dockercfg-1", APP)
    world.add_pod(A, "auth-5d9-old", references=["default-dockercfg-1"], fails=BACK_OFF)


def own_list(world: World) -> None:
    add_with_own_list(world)


def add_with_own_list(world: World, **change: Any) -> None:
    brings = {"owner": ("ReplicaSet", "own-5d9"), "references": ["regcred"], "own": ["regcred"], "fails": BACK_OFF}
    world.add_pod(A, "own-5d9-x", **{**brings, **change})


def listed_otherwise_since(world: World) -> None:
    """What `adopt` leaves: the ServiceAccount lists ours where it listed the hand-made Secret."""
    world.add_account(A, "default", "default-dockercfg-1", APP)
    world.add_pod(A, "auth-5d9-old", references=["default-dockercfg-1", "regcred"])


def refused(world: World) -> None:
    world.add_pod(A, "auth-5d9-new", fails=BACK_OFF)


def immutable(world: World) -> None:
    world.secrets[A]["metadata"]["managedFields"].append(delivered.written("kubectl-patch", immutable={}))
    world.external_secrets[A]["status"]["conditions"] = [ready("False", "could not update secret, target is immutable")]


def unlabelled_secret(world: World) -> None:
    del world.secrets[A]["metadata"]["labels"][MANAGED_LABEL]


def edited_after_eso(world: World) -> None:
    world.secrets[A]["metadata"]["managedFields"].append(
        delivered.written("kubectl-edit", ago(timedelta(0)), data=delivered.DATA)
    )


def owned_by_another(world: World) -> None:
    world.secrets[A] = pull_secret(A, ("SealedSecret", APP), None)
    world.external_secrets[A]["status"]["conditions"] = [ready("False", "could not update secret")]
    message = f'unable to mutate secret app: Object {A}/app is already owned by another SealedSecret controller "app"'
    world.add_event("ExternalSecret", A, APP, "UpdateFailed", message)


def made_by_hand(world: World) -> None:
    world.secrets[A] = pull_secret(A, None, None)


def opaque(world: World) -> None:
    world.secrets[A] = {**pull_secret(A, None, None), "type": "Opaque"}
    world.external_secrets[A]["status"]["conditions"] = [ready("False", "could not update secret")]


def dockercfg(world: World) -> None:
    opaque(world)
    world.secrets[A]["type"] = "kubernetes.io/dockercfg"


def secret_deleted(world: World) -> None:
    del world.secrets[A]


def stale(world: World) -> None:
    world.secrets[A] = pull_secret(A, ("ExternalSecret", APP), "0000000000000000")
    world.custom[SEEDED_AT_KEY] = ago(timedelta(minutes=5))


def unproved(world: World) -> None:
    world.secrets[A] = pull_secret(A, ("ExternalSecret", APP), None)


def written_by_hand(world: World) -> None:
    world.custom[VERSION_KEY] = "2"


def rejected_host(world: World) -> None:
    world.add_pod(A, "auth-5d9-new", image=f"{REJECTED}/team/auth:1")


def other_name(world: World) -> None:
    world.add_pod(A, "auth-5d9-new", image="app.mirror.example.com/team/auth:1", fails=BACK_OFF)


def host_added(world: World) -> None:
    world.custom[SEEDED_HOSTS_KEY] = "old.registry.example.com"


def failing(world: World) -> None:
    world.external_secrets[A]["status"]["conditions"] = [ready("False", "could not get secret data from provider")]
    world.add_event("ExternalSecret", A, APP, "UpdateFailed", "cannot read secret data from Vault: Code: 403")


def not_looked_at(world: World) -> None:
    world.external_secrets[A]["status"] = {}
    del world.secrets[A]


def no_external_secret(world: World) -> None:
    del world.external_secrets[A], world.secrets[A]


def external_secret_of_others(world: World) -> None:
    world.external_secrets[A]["metadata"]["ownerReferences"] = []
    world.failed.append({"namespace": A, "reason": "external secret already exists in namespace"})


FAULTS: list[tuple[Fault, str, str | None]] = [
    (missing, "namespace-missing", A),
    (unlabelled, "namespace-not-labelled", A),
    (unlabelled_with_somebodys_own, "namespace-not-labelled", A),
    (unlabelled_with_an_opaque_one, "namespace-not-labelled", A),
    (wrong_value, "namespace-not-labelled", A),
    (not_opted_in, "namespace-not-labelled", "team-new"),
    (outside_patterns, "namespace-not-labelled", "other"),
    (stuck, "namespace-stuck-terminating", "team-label"),
    (stuck_while_eso_is_down, "namespace-stuck-terminating", "team-label"),
    (stuck_on_a_fanout_of_others, "namespace-stuck-terminating", "gone"),
    (held_by_others, "namespace-stuck-terminating", A),
    (left_behind, "finalizer-left-behind", "team-label"),
    (platform_labelled, "platform-namespace-labelled", "kube-system"),
    (labelled_outside_patterns, "platform-namespace-labelled", "other"),
    (default_unbound, "service-account-unbound", A),
    (declared_unbound, "service-account-unbound", B),
    (undeclared_used, "service-account-unbound", A),
    (policy_gone, "pod-admission-missing", None),
    (too_early, "pod-admitted-too-early", A),
    (too_early_with_the_entries_of_the_time, "pod-admitted-too-early", A),
    (listed_otherwise_since, "pod-admitted-too-early", A),
    (own_list, "pod-with-own-list", A),
    (refused, "pod-cannot-pull", A),
    (immutable, "secret-not-kept", A),
    (unlabelled_secret, "secret-not-kept", A),
    (edited_after_eso, "secret-not-kept", A),
    (owned_by_another, "secret-foreign", A),
    (made_by_hand, "secret-foreign", A),
    (restored, "secret-foreign", A),
    (opaque, "secret-wrong-type", A),
    (dockercfg, "secret-wrong-type", A),
    (secret_deleted, "secret-missing", A),
    (stale, "content-stale", A),
    (unproved, "content-unproved", A),
    (written_by_hand, "content-unproved", None),
    (rejected_host, "image-host-not-in-credential", A),
    (other_name, "image-host-not-in-credential", A),
    (host_added, "credential-lacks-host", None),
    (failing, "external-secret-failing", A),
    (not_looked_at, "external-secret-failing", A),
    (no_external_secret, "external-secret-missing", A),
    (external_secret_of_others, "external-secret-missing", A),
]

REPAIRED = {
    *(unlabelled, wrong_value, stuck, left_behind, default_unbound, declared_unbound, undeclared_used),
    *(too_early_with_the_entries_of_the_time, unlabelled_secret, edited_after_eso, restored, secret_deleted),
    *(stale, failing),
}
"""What is put right on request; of all else something might be lost, or a person has to decide."""
WARNED_OF = {
    *(unlabelled_with_somebodys_own, left_behind, platform_labelled, labelled_outside_patterns, too_early),
    *(listed_otherwise_since, immutable, unlabelled_secret, edited_after_eso, made_by_hand, restored, dockercfg),
    *(stale, unproved, written_by_hand, rejected_host),
}
"""What harms no Pod that runs."""


def test_every_check_on_tenants_is_there_and_has_a_fault_here() -> None:
    assert {check.name for check in CHECKS} == set(NAMES) == {name for _, name, _ in FAULTS}


@pytest.mark.parametrize("binding", ["serviceAccounts", "admission"])
def test_a_healthy_cluster_has_no_finding(binding: str) -> None:
    assert found(bound(binding)) == []


def bound(binding: str) -> World:
    world = healthy(binding)
    if binding == "admission":
        config = stack_config(binding)
        policy = guard.PodAdmissionSpec.of(config, config.registries[0]).name
        world.policies.append({"metadata": {"name": policy}})
    return world


@given(
    pods=st.lists(
        st.tuples(
            st.sampled_from([A, B, "team-label"]),
            st.sampled_from(["docker.io/nginx", "registry.k8s.io/pause:3", "app.registry.example.com/team/x:2"]),
            st.booleans(),
        ),
        max_size=6,
    ),
    others=st.lists(st.sampled_from(["one", "kube-public", "team-without"]), unique=True),
    labels=st.dictionaries(st.sampled_from(["team", "env"]), st.text(max_size=3)),
)
def test_whatever_else_runs_there_a_healthy_cluster_has_no_finding(
    pods: list[tuple[str, str, bool]], others: list[str], labels: dict[str, str]
) -> None:
    world = healthy()
    for name in others:
        world.add_namespace(name, labels)
        # Their own images and logins are no business of this stack, also when they fail.
        world.add_pod(name, image="docker.io/private/thing", references=["theirs"], fails=BACK_OFF)
    for index, (namespace, image, more) in enumerate(pods):
        world.add_pod(namespace, f"pod-{index}", image=image, references=[APP, "more"] if more else [APP])
    assert found(world) == []


@pytest.mark.parametrize(("fault", "check", "namespace"), FAULTS, ids=lambda value: getattr(value, "__name__", None))
def test_each_fault_is_found_by_its_check_alone(world: World, fault: Fault, check: str, namespace: str | None) -> None:
    fault(world)
    findings = found(world)
    assert [(item.check, item.namespace) for item in findings] == [(check, namespace)]
    assert all((item.symptom, item.cause, item.evidence, item.fix, item.prevention) for item in findings)
    assert (findings[0].remedy is not None) == (fault in REPAIRED)
    assert (findings[0].severity is Severity.WARNING) == (fault in WARNED_OF)
    # Asked about another namespace nothing is said of this one; asked about this one the same is said.
    assert [item for item in found(world, "team-x") if item.namespace] == []
    if namespace:
        assert found(world, namespace) == findings


@given(
    st.sets(st.sampled_from([unlabelled, platform_labelled, left_behind, declared_unbound, not_opted_in]), min_size=2)
)
def test_faults_in_different_namespaces_are_all_found(faults: set[Fault]) -> None:
    world = healthy()
    expected = {(check, namespace) for fault, check, namespace in FAULTS if fault in faults}
    # The one that puts other Pods there goes first.
    for fault in sorted(faults, key=lambda item: item is not declared_unbound):
        fault(world)
    assert {(item.check, item.namespace) for item in found(world)} == expected


def broken(fault: Fault) -> Finding:
    world = healthy()
    fault(world)
    return the_one(world)


def test_a_namespace_that_eso_has_left_is_freed_though_eso_is_down(world: World) -> None:
    stuck_while_eso_is_down(world)
    del world.external_secrets["team-label"]
    assert the_one(world).remedy is not None


ADOPT = f"pull-secrets adopt {A} --registry {APP} --stack test"


def test_a_secret_of_other_origin_is_adopted_and_never_labelled_over_or_deleted() -> None:
    for fault in (unlabelled_with_somebodys_own, unlabelled_with_an_opaque_one, made_by_hand, opaque):
        assert broken(fault).fix[-1] == ADOPT
    assert "there is no Secret" not in broken(unlabelled_with_somebodys_own).symptom
    assert "without an owner" in " ".join(broken(unlabelled_with_somebodys_own).evidence)


def test_what_keeps_a_secret_of_other_origin_is_removed_before_it_is_adopted(world: World) -> None:
    undeliver(world, A)
    world.secrets[A] = pull_secret(A, ("SealedSecret", APP), None)
    finding = the_one(world)
    assert "remove SealedSecret app first" in finding.fix[0]
    assert finding.fix[1:] == (ADOPT,)
    assert finding.remedy is None


def test_a_namespace_with_somebodys_own_secret_is_adopted_before_it_is_declared(world: World) -> None:
    not_opted_in(world)
    world.secrets["team-new"] = pull_secret("team-new", None, None)
    fix = the_one(world).fix
    assert fix[0] == ADOPT.replace(A, "team-new")
    assert "adopt: true" in fix[1]
    assert "kubectl label" not in " ".join(fix)


def test_a_secret_of_the_older_type_serves_until_it_is_adopted_with_a_gap(world: World) -> None:
    dockercfg(world)
    finding = the_one(world)
    assert "cannot pull" not in finding.symptom
    assert "kubernetes.io/dockercfg" in finding.cause
    assert finding.fix[-1] == f"{ADOPT} --accept-gap"
    world.add_pod(A, "auth-5d9-new", fails=BACK_OFF)
    assert the_one(world).severity == Severity.TENANT
    undeliver(world, A)
    dockercfg_left = {**pull_secret(A, None, None), "type": "kubernetes.io/dockercfg"}
    world.secrets[A] = dockercfg_left
    assert the_one(world).fix == (f"{ADOPT} --accept-gap",)


def test_a_secret_of_another_type_that_something_keeps_goes_with_it(world: World) -> None:
    opaque(world)
    world.secrets[A] = {**pull_secret(A, ("SealedSecret", APP), None), "type": "Opaque"}
    assert f"kubectl -n {A} delete sealedsecret {APP}" in the_one(world).fix[-1]
    world.secrets[A] = {**pull_secret(A, ("ExternalSecret", APP), None), "type": "Opaque"}
    assert f"kubectl delete -n {A} secret {APP}" in the_one(world).fix[-1]


def test_types_and_templates_are_asked_for_only_where_something_is_in_doubt(world: World) -> None:
    asked = listed_by(world)
    assert not [path for path in asked if path.startswith("/apis/apps/") or path.endswith(("jobs", "controllers"))]
    opaque(world)
    assert listed_by(world).count("/api/v1/secrets") == asked.count("/api/v1/secrets") + 1
    listed_otherwise_since(world)
    add_with_own_list(world)
    assert [path for path in listed_by(world) if path.startswith("/apis/apps/")] == ["/apis/apps/v1/replicasets"]


def listed_by(world: World) -> list[str]:
    cluster = world.cluster()
    assert diagnose(Snapshot(stack_config(), "test", cluster, world.vault(), now=NOW), CHECKS).unchecked == ()
    return cluster.listed


def test_after_an_adoption_older_pods_are_rolled_and_their_workload_stays_as_it_is() -> None:
    finding = broken(listed_otherwise_since)
    assert finding.fix == (f"kubectl -n {A} rollout restart deployment/auth",)


def test_a_list_of_its_own_is_found_though_the_service_account_has_all_its_names(world: World) -> None:
    world.add_account(A, "default", "regcred", APP)
    add_with_own_list(world)
    finding = the_one(world)
    assert finding.check == "pod-with-own-list"
    assert f"kubectl -n {A} patch deployment/own" in finding.fix[0]


def test_a_workload_that_names_the_secret_by_now_needs_only_new_pods(world: World) -> None:
    add_with_own_list(world, owner=("StatefulSet", "db"), own=["regcred", APP])
    finding = the_one(world)
    assert finding.check == "pod-admitted-too-early"
    assert f"kubectl -n {A} rollout restart statefulset/db" in finding.fix


@pytest.mark.parametrize("owner", ["ReplicaSet", "StatefulSet", "DaemonSet", "Job", "ReplicationController"])
def test_whoever_makes_pods_is_asked_what_its_template_brings(world: World, owner: str) -> None:
    add_with_own_list(world, owner=(owner, "own-1"))
    assert the_one(world).check == "pod-with-own-list"


def test_a_bare_pod_is_judged_by_names_that_its_service_account_does_not_list(world: World) -> None:
    world.add_pod(A, "bare", references=["regcred"], owner=None)
    assert the_one(world).check == "pod-with-own-list"


def test_where_templates_may_not_be_read_the_workload_is_rolled_and_not_patched(world: World) -> None:
    own_list(world)
    cluster = forbidding(world, "replicasets")
    report = diagnose(Snapshot(stack_config(), "test", cluster, world.vault(), now=NOW), CHECKS)
    (finding,) = report.findings()
    assert report.unchecked == ()
    assert finding.check == "pod-admitted-too-early"
    assert f"kubectl -n {A} rollout restart deployment/own" in finding.fix
    assert "ReplicaSet/own-5d9" in finding.evidence[-1]


@pytest.mark.parametrize(
    ("owner", "command"),
    [
        (("ReplicaSet", "auth-5d9"), f"kubectl -n {A} rollout restart deployment/auth"),
        (("DaemonSet", "agent"), f"kubectl -n {A} rollout restart daemonset/agent"),
        (("Job", "migrate-2"), f"kubectl -n {A} delete pod old   # counts as a failed try of its Job"),
        (("ReplicationController", "dc-1"), f"oc -n {A} rollout latest dc/dc"),
        (("ReplicationController", "web"), f"# Pod {A}/old: ReplicationController web created it"),
        (("Node", "node1"), f"# Pod {A}/old: a static Pod of a node reads no ServiceAccount"),
        (("TaskRun", "build"), f"# Pod {A}/old: TaskRun build created it"),
        (None, f"kubectl -n {A} delete pod old   # nothing recreates it"),
    ],
)
def test_a_pod_is_recreated_by_a_command_that_its_owner_knows(
    world: World, owner: tuple[str, str] | None, command: str
) -> None:
    world.add_pod(A, "old", references=[], owner=owner)
    (fix,) = the_one(world).fix
    assert fix.startswith(command)


@pytest.mark.parametrize("image", [{}, {"image": f"{REJECTED}/team/auth:1"}])
@pytest.mark.parametrize("owner", ["Node", "TaskRun"])
def test_nobody_is_told_to_edit_what_no_command_reaches(world: World, owner: str, image: dict[str, str]) -> None:
    world.add_pod(A, "old", owner=(owner, "one"), references=["regcred"], **image)
    assert [line for line in the_one(world).fix if not line.startswith("#")] == []


def label_just_gone(world: World) -> None:
    world.namespaces["team-label"]["metadata"]["labels"] = {}


def in_normal_deletion(world: World) -> None:
    delete(world, "team-label", timedelta(seconds=5))


def external_secret_going(world: World) -> None:
    label_just_gone(world)
    in_normal_deletion(world)


def deleted_a_moment_ago(world: World) -> None:
    held_by_others(world)
    delete(world, A, timedelta(seconds=5))


def host_alike_that_pulls(world: World) -> None:
    world.add_pod(A, image="app.mirror.example.com/team/auth:1")


def new_external_secret(world: World) -> None:
    not_looked_at(world)
    world.external_secrets[A]["metadata"]["creationTimestamp"] = ago(timedelta(seconds=10))


@pytest.mark.parametrize(
    "change",
    [
        *(label_just_gone, in_normal_deletion, external_secret_going),
        *(deleted_a_moment_ago, host_alike_that_pulls, new_external_secret),
    ],
)
def test_what_takes_its_time_is_no_fault(world: World, change: Fault) -> None:
    change(world)
    assert found(world) == []


def test_an_own_list_is_not_blamed_on_the_service_account(world: World) -> None:
    world.add_account(A, "operator")
    add_with_own_list(world, account="operator")
    assert the_one(world).check == "pod-with-own-list"


def test_nobody_is_told_to_label_a_namespace_where_the_label_may_not_stand() -> None:
    assert "kubectl label" in " ".join(broken(not_opted_in).fix)
    assert "kubectl label" not in " ".join(broken(outside_patterns).fix)


def test_a_relayed_credential_may_be_refreshed_before_the_relay_is(world: World) -> None:
    world.delivery = "fanout"
    stale(world)
    world.custom[SEEDED_AT_KEY] = ago(timedelta(minutes=30))
    finding = the_one(world)
    assert "interval has not passed" in finding.cause
    assert finding.remedy


@pytest.mark.parametrize(
    ("seeded", "refreshed", "cause", "repaired"),
    [
        (timedelta(minutes=5), timedelta(minutes=20), "not refreshed since the seeding; the refresh interval", True),
        (timedelta(hours=3), timedelta(hours=4), "should have refreshed", True),
        (timedelta(hours=3), None, "should have refreshed", True),
        (timedelta(hours=3), timedelta(minutes=5), "delivered something else", False),
    ],
)
def test_why_content_is_stale(
    world: World, seeded: timedelta, refreshed: timedelta | None, cause: str, repaired: bool
) -> None:
    stale(world)
    world.custom[SEEDED_AT_KEY] = ago(seeded)
    world.external_secrets[A]["status"]["refreshTime"] = ago(refreshed) if refreshed else ""
    finding = the_one(world)
    assert cause in finding.cause
    assert (finding.remedy is not None) == repaired


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ('using cluster store "v" is not allowed from namespace "a": denied by spec.condition', "does not admit"),
        ("Error making API request. Code: 403. Errors: * permission denied", "role, policy"),
        ("Error making API request. Code: 503. Errors: * Vault is sealed", "sealed"),
        ("error processing spec.data[0] (key: x), err: Secret does not exist", "empty"),
        ('cannot find secret data for key: "dockerconfigjson"', "no such property"),
        ("dial tcp 10.0.0.1:8200: i/o timeout", "does not reach"),
        ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "certificate"),
        ('ClusterSecretStore "vault" is not ready', "not ready"),
        ('Secret "app" is invalid: type: Invalid value: "x": field is immutable', "another type"),
        ("something new", "unknown reason"),
    ],
)
def test_what_esos_messages_mean(world: World, message: str, cause: str) -> None:
    failing(world)
    world.events.clear()
    world.add_event("ExternalSecret", A, APP, "UpdateFailed", message)
    finding = the_one(world)
    assert cause in finding.cause
    assert any(message in line for line in finding.evidence)
    assert "{" not in finding.fix[0].replace("{.metadata", "")


@pytest.mark.parametrize(
    ("message", "cause", "fix"),
    [
        ("failed to authorize: unexpected status: 401 Unauthorized", "refuses the seeded login", "--verify-login"),
        ("manifest unknown", "does not have the image", "describe pod"),
        ("dial tcp: lookup app.registry.example.com: no such host", "does not reach", "crictl pull"),
        ("", "no event shows", "describe pod"),
        (seen("login refused"), "refuses the seeded login", "--verify-login"),
        (seen("no token"), "refuses the seeded login", "--verify-login"),
        (seen("no credentials"), "No login was sent", "imagePullSecrets"),
        (seen("no such image"), "does not have the image", "describe pod"),
        (seen("too many requests"), "limits pulls", "describe pod"),
        (seen("unavailable"), "cannot serve now", "crictl pull"),
        (seen("certificate expired"), "does not trust the certificate", "openssl s_client"),
        (seen("plain HTTP"), "speaks plain HTTP, and the node TLS", "crictl pull"),
        (seen("undecodable Secret in the list"), "cannot be decoded", "imagePullSecrets"),
        (
            "HEAD request to https://registry:14010/v2/a/manifests/1: 503 Service Unavailable",
            "cannot serve now",
            "crictl pull",
        ),
    ],
)
def test_the_kubelets_message_tells_why_a_pull_fails(world: World, message: str, cause: str, fix: str) -> None:
    refused(world)
    if message:
        world.add_event("Pod", A, "auth-5d9-new", "Failed", f"Failed to pull image: {message}")
        world.add_event("Pod", A, "auth-5d9-new", "Failed", "Error: ImagePullBackOff")
    finding = the_one(world)
    assert cause in finding.cause
    assert fix in finding.fix[0]
    assert message in " ".join(finding.evidence)
    assert "Error: ImagePullBackOff" not in " ".join(finding.evidence)


def test_a_credential_in_an_event_is_not_shown(world: World) -> None:
    refused(world)
    message = "Failed to pull image: GET https://bot:canary-1234@app.registry.example.com/v2/: 401"
    world.add_event("Pod", A, "auth-5d9-new", "Failed", message)
    assert "canary-1234" not in str(the_one(world))


@pytest.mark.parametrize(("message", "again"), [("Vault is sealed", True), ("field is immutable", False)])
def test_a_sync_is_forced_only_where_trying_again_may_help(world: World, message: str, again: bool) -> None:
    failing(world)
    world.events.clear()
    world.add_event("ExternalSecret", A, APP, "UpdateFailed", message)
    assert (the_one(world).remedy is not None) == again


def test_the_controllers_reason_is_told_for_a_namespace_that_failed(world: World) -> None:
    no_external_secret(world)
    world.failed.append({"namespace": A, "reason": "admission webhook refused"})
    assert "admission webhook refused" in the_one(world).cause


def forbidding(world: World, *kinds: str) -> FakeCluster:
    """The cluster to somebody who may not list some kinds."""
    cluster = world.cluster()
    cluster.refuse = {("GET", kind): (403, "no") for kind in kinds}
    return cluster


def test_who_may_not_list_pods_is_told_what_was_not_checked_and_the_rest_is(world: World) -> None:
    unlabelled(world)
    snapshot = Snapshot(stack_config(), "test", forbidding(world, "pods"), world.vault(), now=NOW)
    report = diagnose(snapshot, CHECKS)
    assert [item.check for item in report.diagnoses] == ["namespace-not-labelled"]
    assert {item.check for item in report.unchecked} == {
        "image-host-not-in-credential",
        "pod-admitted-too-early",
        "pod-cannot-pull",
        "pod-with-own-list",
    }


def test_who_may_not_read_events_gets_the_diagnosis_without_them(world: World) -> None:
    refused(world)
    failing(world)
    snapshot = Snapshot(stack_config(), "test", forbidding(world, "events"), world.vault(), now=NOW)
    report = diagnose(snapshot, CHECKS)
    assert report.unchecked == ()
    assert {item.check for item in report.diagnoses} == {"external-secret-failing"}


class SilentVault(VaultClient):
    """Does not answer."""

    def __init__(self) -> None:
        pass

    def read_metadata(self, mount: str, path: str) -> EntryMetadata | None:
        raise UnreachableError(f"Vault does not answer for {mount}/{path}")


def test_without_vault_content_is_not_checked_and_the_rest_is(world: World) -> None:
    stale(world)
    unlabelled(world)
    silent = Snapshot(stack_config(), "test", world.cluster(), SilentVault(), now=NOW)
    # ESO's own login is no way round it either.
    (store,) = silent.config.vault_stores
    with pytest.raises(UnreachableError):
        silent.once(f"store_access/{store.name}", unreachable)
    report = diagnose(silent, CHECKS)
    assert [item.check for item in report.diagnoses] == ["namespace-not-labelled"]
    unchecked = {item.check for item in report.unchecked}
    assert unchecked == {"content-stale", "content-unproved", "credential-lacks-host", "pod-cannot-pull"}


def unreachable() -> NoReturn:
    raise UnreachableError("Vault does not answer")


EVICTED = ("ReplicaSet", "StatefulSet", "DaemonSet")


@pytest.mark.parametrize("owner", [*EVICTED, "Job", "ReplicationController", None])
@pytest.mark.parametrize("also_runs", [False, True])
def test_only_pods_that_do_nothing_and_come_back_are_evicted(world: World, owner: str | None, also_runs: bool) -> None:
    pod = world.add_pod(A, "old", references=[], fails=BACK_OFF, owner=(owner, "x-1") if owner else None)
    if also_runs:
        pod["status"]["containerStatuses"].append({"name": "sidecar", "state": {"running": {}}})
    remedy = the_one(world).remedy
    assert (remedy is not None) == (owner in EVICTED and not also_runs)
    if remedy:
        cluster = world.cluster()
        remedy.apply(cluster)
        assert cluster.sent == [("POST", f"/api/v1/namespaces/{A}/pods/old/eviction")]


def test_a_pod_that_came_back_under_its_name_is_left_alone(world: World) -> None:
    pod = world.add_pod(A, "db-0", references=[], fails=BACK_OFF, owner=("StatefulSet", "db"))
    remedy = the_one(world).remedy
    assert remedy is not None
    pod["spec"]["imagePullSecrets"] = [{"name": APP}]
    cluster = world.cluster()
    remedy.apply(cluster)
    assert cluster.sent == []


def test_a_disruption_budget_is_respected_and_told(world: World) -> None:
    world.add_pod(A, "old", references=[], fails=BACK_OFF)
    remedy = the_one(world).remedy
    assert remedy is not None
    cluster = world.cluster()
    cluster.refuse["POST", "eviction"] = (429, "the budget web needs 2 healthy pods")
    with pytest.raises(ConflictError, match="the budget web needs 2 healthy pods"):
        remedy.apply(cluster)


def test_one_force_sync_serves_every_stale_namespace(world: World) -> None:
    for namespace in (A, B):
        world.secrets[namespace] = pull_secret(namespace, ("ExternalSecret", APP), "0000000000000000")
    world.custom[SEEDED_AT_KEY] = ago(timedelta(minutes=5))
    report = diagnose(world.snapshot(), CHECKS)
    assert {item.namespace for item in report.findings()} == {A, B}
    assert len(report.remedies()) == 1


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (("ReplicaSet", "auth-5d9"), "deployment/auth"),
        (("StatefulSet", "db"), "statefulset/db"),
        (("Job", "migrate-2"), "job/migrate-2"),
        (("ReplicationController", "dc-12"), "dc/dc"),
        (("ReplicationController", "web"), None),
        (("Node", "node1"), None),
        (("TaskRun", "build"), None),
        (None, None),
    ],
)
def test_a_pod_is_named_by_its_workload(world: World, owner: tuple[str, str] | None, name: str | None) -> None:
    world.pods.clear()
    world.add_pod(A, owner=owner)
    (pod,) = list_pods(world.cluster())
    assert workload(pod) == name


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=400)))
def test_a_duration_is_told_to_its_largest_unit(duration: timedelta) -> None:
    count, unit = told(duration).split()
    size = {"s": 1, "min": 60, "h": 3600, "days": 86400}[unit]
    assert 0 <= duration.total_seconds() - int(count) * size < size
    assert int(count) >= 2 or unit == "s"


def test_times_of_servers_and_of_seed_are_read() -> None:
    written = [
        "2026-03-01T12:00:00Z",
        "2026-03-01T12:00:00.000000000Z",
        "2026-03-01T12:00:00+00:00",
        "2026-03-01T12:00",
    ]
    assert len({parse_time(text) for text in written}) == 1
    assert parse_time("") is parse_time("yesterday") is None


class TestNamed:
    """What the cluster knows of the culprit is said, and never more than a line of it."""

    def test_who_holds_a_namespace_in_deletion(self) -> None:
        finding = broken(held_by_others)
        assert finding.cause == "Finalizers of others hold it: example.com/backup."
        assert finding.remedy is None

    def test_who_wrote_a_service_accounts_list(self, world: World) -> None:
        default_unbound(world)
        fields = {"f:imagePullSecrets": {".": {}}}
        world.accounts[A, "default"]["metadata"]["managedFields"] = [
            {"manager": "argocd-controller", "time": "2026-03-01T11:00:00Z", "fieldsV1": fields},
            {"manager": "pull-secrets", "time": "2026-03-01T10:00:00Z", "fieldsV1": fields},
            {"manager": "kube-controller-manager", "time": "2026-03-01T11:30:00Z", "fieldsV1": {"f:metadata": {}}},
        ]
        (line,) = (line for line in the_one(world).evidence if line.startswith("ServiceAccount"))
        assert line.endswith("written last by argocd-controller at 2026-03-01T11:00:00Z")

    def test_three_hundred_entries_are_a_few_and_a_number(self, world: World) -> None:
        world.add_account(A, "default", *(f"entry-{number}" for number in range(300)))
        (line,) = (line for line in the_one(world).evidence if line.startswith("ServiceAccount"))
        assert "entry-4 and 295 more" in line
        assert "entry-5," not in line

    def test_a_restored_secret_is_taken_over_again_and_not_adopted(self) -> None:
        finding = broken(restored)
        assert "without its owner, as a restore leaves it" in finding.cause
        assert not any("adopt" in command or "delete" in command for command in finding.fix)

    @pytest.mark.parametrize(
        ("event", "cause", "command"),
        [
            (
                (
                    'could not create secret: secrets "app" is forbidden: exceeded quota: small, requested: secrets=1, '
                    "used: secrets=4, limited: secrets=4"
                ),
                "ResourceQuota 'small' refuses what ESO writes: requested: secrets=1",
                "kubectl -n team-a describe resourcequota small",
            ),
            (
                'could not update secret: admission webhook "validate.kyverno.svc-fail" denied the request: label team',
                "admission webhook 'validate.kyverno.svc-fail' refuses what ESO writes: label team.",
                "grep -n validate.kyverno.svc-fail",
            ),
            (
                "ValidatingAdmissionPolicy 'company' with binding 'all' denied request: no pull Secrets here",
                "admission policy 'company' refuses what ESO writes: no pull Secrets here.",
                "kubectl get validatingadmissionpolicies company -o yaml",
            ),
            (
                'failed calling webhook "v.example.com": failed to call webhook: connection refused',
                "admission webhook that does not answer 'v.example.com' refuses",
                "# restore its service",
            ),
            (
                (
                    'secrets is forbidden: User "system:serviceaccount:eso:eso" cannot create resource "secrets" in '
                    'API group "" in the namespace "team-a"'
                ),
                "RBAC 'system:serviceaccount:eso:eso' refuses",
                "kubectl auth can-i create secrets -n team-a --as system:serviceaccount:eso:eso",
            ),
        ],
    )
    def test_who_refuses_what_eso_writes(self, world: World, event: str, cause: str, command: str) -> None:
        world.external_secrets[A]["status"]["conditions"] = [ready("False", "could not update secret")]
        world.add_event("ExternalSecret", A, APP, "UpdateFailed", event)
        finding = the_one(world)
        assert cause in finding.cause
        assert command in finding.fix[0]
