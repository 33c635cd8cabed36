"""What the checks of Vault, the store, ESO and the network judge, without servers."""

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets.credential.vault import EntryMetadata, MountSettings, VersionState
from pullsecrets.credential.vault_transport import Answer
from pullsecrets.doctor import egress_rules, vault_server
from pullsecrets.doctor.checks.egress import destinations, egress_denied
from pullsecrets.doctor.checks.eso import (
    V1BETA1,
    Capacity,
    eso_absent,
    eso_duplicated,
    eso_not_running,
    judge_queue,
    old_writer,
    overdue_by,
    refresh_held,
)
from pullsecrets.doctor.checks.eso_version import (
    eso_outdated,
    eso_switched_off,
    eso_token_forbidden,
    eso_untried,
    eso_version_undeclared,
)
from pullsecrets.doctor.checks.store import admits, store_names_other_vault
from pullsecrets.doctor.checks.vault import judge_clocks, vault_token_ending
from pullsecrets.doctor.checks.vault_entry import judge_expiry, vault_drops_versions
from pullsecrets.doctor.egress_rules import Destination
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.store_access import Refusal, login_of, refusal_of
from pullsecrets.doctor.vault_server import Condition, VaultServer, endpoint_of, judge, probe
from pullsecrets.errors import UnreachableError
from pullsecrets.kube.eso import Installation
from pullsecrets.kube.eso_versions import RED_HAT, Version, recommended_flags
from pullsecrets.kube.marks import LAST_APPLIED
from pullsecrets.kube.selectors import selects
from pullsecrets.manifests.builders import EgressSpec, StoreSpec, cluster_secret_store, egress
from tests.unit.cluster import FakeCluster
from tests.unit.doctor.tenants import NOW, FakeVault, stack_config

CONFIG = stack_config()
STORE = CONFIG.vault_stores[0]
STORE_READ = f"store/{STORE.name}"
POLICIES = "/apis/networking.k8s.io/v1/networkpolicies"
LABELS = {"app.kubernetes.io/name": "external-secrets"}
REGISTRY_NAMES = [registry.name for registry in CONFIG.registries]


def snapshot(*policies: dict[str, Any], config: Any = CONFIG, **readings: Any) -> Snapshot:
    """A snapshot of a cluster with these NetworkPolicies that has read these things already."""
    seen = Snapshot(config, "test", FakeCluster(lists={POLICIES: list(policies)}), now=NOW)
    for name, value in readings.items():
        seen.once(name, lambda value=value: value)
    return seen


def found(check: Check, **readings: Any) -> list[Finding]:
    return list(check.find(snapshot(**readings)))


def installation(version: tuple[int, int, int] | None = (0, 20, 4), replicas: int = 1, ready: int = 1, **flags: str):
    named = {name.replace("_", "-"): value for name, value in flags.items()}
    return Installation("external-secrets", "external-secrets", version, replicas, ready, named)


def answer(status: int, error: str = "", **content: Any) -> Answer:
    return Answer(status, {"errors": [error], **content} if error else content, None)


# Vault before a login


@pytest.mark.parametrize(
    ("content", "condition"),
    [
        ({"initialized": True, "sealed": False}, Condition.HEALTHY),
        ({"initialized": True, "sealed": True, "t": 3, "progress": 1}, Condition.SEALED),
        ({"initialized": False, "sealed": True}, Condition.UNINITIALIZED),
        ({"login": "page of a proxy"}, Condition.UNREACHABLE),
    ],
)
def test_the_seal_status_tells_vaults_condition(content: dict[str, Any], condition: Condition) -> None:
    assert judge(answer(200, **content))[0] == condition


def test_vault_is_judged_at_the_address_and_by_the_certificates_of_the_live_store() -> None:
    store = {
        "spec": {"provider": {"vault": {"server": "https://other", "caBundle": base64.b64encode(b"PEM").decode()}}}
    }
    endpoint = endpoint_of(CONFIG, STORE.name, store)
    assert (endpoint.address, endpoint.ca_bundle) == ("https://other", "PEM")
    assert endpoint_of(CONFIG, STORE.name, None).address == CONFIG.vault.address


TUNNEL = "https://127.0.0.1:18200"


def test_a_way_of_this_machines_own_leads_to_vault_and_says_nothing_of_the_clusters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = cluster_secret_store(StoreSpec.of(CONFIG, STORE))
    (tmp_path / "ca.pem").write_text("HERE")
    monkeypatch.setenv("VAULT_CACERT", str(tmp_path / "ca.pem"))
    assert endpoint_of(CONFIG, STORE.name, store).ca_bundle is None, (
        "by the same address it is judged by what ESO trusts"
    )
    monkeypatch.setenv("VAULT_ADDR", TUNNEL)
    assert (endpoint_of(CONFIG, STORE.name, store).address, endpoint_of(CONFIG, STORE.name, store).ca_bundle) == (
        TUNNEL,
        "HERE",
    )
    for condition in Condition:
        monkeypatch.setattr(vault_server, "_ask", lambda found, condition=condition: VaultServer(found, condition))
        if condition in {Condition.UNREACHABLE, Condition.UNTRUSTED}:
            with pytest.raises(UnreachableError, match=f"{TUNNEL} .*VAULT_ADDR names; that says nothing about how"):
                probe(CONFIG, STORE.name, store)
        else:
            assert probe(CONFIG, STORE.name, store).condition == condition


def test_a_store_that_names_another_vault_is_the_cause_of_what_follows() -> None:
    store = cluster_secret_store(StoreSpec.of(CONFIG, STORE))
    assert not found(store_names_other_vault, **{STORE_READ: store})
    assert not found(store_names_other_vault, **{STORE_READ: None})
    store["spec"]["provider"]["vault"]["server"] = TUNNEL
    (other,) = found(store_names_other_vault, **{STORE_READ: store})
    assert f"names {TUNNEL}, and the stack file {CONFIG.vault.address}" in other.cause
    assert other.severity is Severity.CLUSTER
    store["status"] = {"conditions": [{"type": "Ready", "status": "True"}]}
    assert found(store_names_other_vault, **{STORE_READ: store})[0].severity is Severity.WARNING


# The login


@pytest.mark.parametrize(
    ("status", "words", "refusal"),
    [
        (400, 'invalid role name "x"', Refusal.ROLE),
        (403, "service account name not authorized", Refusal.ACCOUNT),
        (403, "namespace not authorized", Refusal.NAMESPACE),
        (403, "invalid audience (aud) claim: audience claim does not match any expected audience", Refusal.AUDIENCE),
        (403, "lookup failed: service account unauthorized", Refusal.REVIEW),
        (404, 'no handler for route "auth/x/login"', Refusal.MOUNT),
        (500, "internal error", Refusal.OTHER),
    ],
)
def test_vaults_words_tell_refusals_apart(status: int, words: str, refusal: Refusal) -> None:
    assert refusal_of(answer(status, words), answer(403, "permission denied")) == refusal


def test_a_mount_that_answers_an_unknown_role_is_there() -> None:
    denied = answer(403, "permission denied")
    assert refusal_of(denied, answer(400, 'invalid role name "y"')) == Refusal.REVIEW
    assert refusal_of(denied, denied) == Refusal.MOUNT


def test_the_login_is_the_live_stores_and_else_the_stacks() -> None:
    store = cluster_secret_store(StoreSpec.of(CONFIG, STORE))
    assert login_of(CONFIG, STORE, store) == login_of(CONFIG, STORE, None)
    store["spec"]["provider"]["vault"]["auth"]["kubernetes"]["role"] = "edited"
    assert login_of(CONFIG, STORE, store).role == "edited"


# ESO


def test_eso_is_absent_or_scaled_down_or_not_ready() -> None:
    assert [item.check for item in found(eso_absent, installations=())] == ["eso-absent"]
    assert not found(eso_absent, installations=(installation(),))
    (zero,) = found(eso_not_running, installations=(installation(replicas=0, ready=0),))
    assert ("scaled to zero" in zero.cause, "--replicas=1" in zero.fix[0]) == (True, True)
    (down,) = found(eso_not_running, installations=(installation(replicas=2, ready=0),))
    assert "no ready Pod of 2" in down.cause
    assert not found(eso_not_running, installations=(installation(),))


def test_two_controllers_are_two_only_where_both_fan_out() -> None:
    scoped = installation(enable_cluster_external_secret_reconciler="false")
    assert found(eso_duplicated, installations=(installation(), installation()))
    assert not found(eso_duplicated, installations=(installation(), scoped))


@pytest.mark.parametrize(
    ("version", "served", "outdated"),
    [
        ((0, 16, 2), ("v1", "v1beta1"), True),
        ((0, 17, 0), ("v1",), False),
        (None, ("v1",), False),
        (None, ("v1beta1",), True),
        ((0, 20, 4), (), False),  # no definitions at all are another check's
    ],
)
def test_eso_is_outdated_by_its_version_or_by_what_is_served(
    version: tuple[int, int, int] | None, served: tuple[str, ...], outdated: bool
) -> None:
    readings = {"installations": (installation(version),), "eso/served": served}
    assert bool(found(eso_outdated, **readings)) is outdated


@pytest.mark.parametrize(
    ("version", "untried"),
    [((2, 9, 7), False), ((2, 10, 0), True), ((3, 0, 0), True), ((0, 20, 4), False), (None, False)],
)
def test_a_minor_version_that_nobody_has_tried_is_told(version: Version | None, untried: bool) -> None:
    assert bool(found(eso_untried, installations=(installation(version),))) is untried


@pytest.mark.parametrize(
    ("flags", "cause", "helm"),
    [
        ({"enable_cluster_store_reconciler": "false"}, "--enable-cluster-store-", "--set processClusterStore=true"),
        (
            {"enable_cluster_external_secret_reconciler": "false"},
            "--enable-cluster-external-secret-reconciler=false",
            "--set processClusterExternalSecret=true",
        ),
        ({"namespace": "team-a"}, "--namespace=team-a", "--set scopedNamespace=,scopedRBAC=false"),
    ],
)
def test_an_operator_without_the_parts_that_a_stack_needs_is_told(flags: dict[str, Any], cause: str, helm: str) -> None:
    (off,) = found(eso_switched_off, installations=(installation(**flags),))
    assert cause in off.cause
    assert helm in off.fix[0]
    assert not found(eso_switched_off, installations=(installation(**flags), installation()))


@pytest.mark.parametrize(
    ("declared", "version", "by", "told"),
    [
        (None, (2, 5, 0), "argocd-controller", True),
        ("2.5.0", (2, 5, 0), "argocd-controller", False),
        (None, (2, 5, 0), "pulumi-kubernetes", False),
        (None, (2, 9, 0), "argocd-controller", False),  # knows the field and adds nothing
        ("2.5.0", (2, 9, 0), "argocd-controller", False),
        ("2.5.0", (0, 20, 4), "argocd-controller", True),
        (None, (0, 20, 4), "argocd-controller", False),
    ],
)
def test_what_argo_cd_applies_has_to_be_spelled_for_the_version(
    declared: str | None, version: Version, by: str, told: bool
) -> None:
    fanout = {"metadata": {"managedFields": [{"manager": by}]}}
    seen = snapshot(installations=(installation(version),), fanouts=dict.fromkeys(REGISTRY_NAMES, fanout))
    seen.config = CONFIG.model_copy(update={"eso": CONFIG.eso.model_copy(update={"version": declared})})
    assert bool(list(eso_version_undeclared.find(seen))) is told


def test_red_hats_operator_has_no_chart_to_change() -> None:
    by_red_hat = CONFIG.model_copy(update={"eso": CONFIG.eso.model_copy(update={"distribution": RED_HAT})})
    old_and_scoped = installation((0, 16, 2), namespace="team-a")
    seen = snapshot(installations=(old_and_scoped,), **{"eso/served": ("v1",)})
    seen.config = by_red_hat
    fixes = {check.name: " ".join(item.fix) for check in (eso_switched_off, eso_outdated) for item in check.find(seen)}
    assert "patch externalsecretsconfig cluster" in fixes["eso-switched-off"]
    assert "1.1 has ESO 0.20.4" in fixes["eso-outdated"]
    assert "helm" not in str(fixes)


def test_the_right_to_request_tokens_is_told_apart_from_other_faults_of_a_store() -> None:
    store = cluster_secret_store(StoreSpec.of(CONFIG, STORE))
    store["status"] = {"conditions": [{"type": "Ready", "status": "False", "message": "unable to create client"}]}
    told = 'cannot request Kubernetes service account token for service account "external-secrets": forbidden'
    events = "events/ClusterSecretStore/InvalidProviderConfig"
    (item,) = found(eso_token_forbidden, **{STORE_READ: store, events: {("", STORE.name): (told,)}})
    assert item.fix[0].endswith("--resource=serviceaccounts/token --resource-name=external-secrets")
    assert not found(eso_token_forbidden, **{STORE_READ: store, events: {}})


@pytest.mark.parametrize(
    ("spec", "held"),
    [
        ({"refreshInterval": "1h0m0s", "refreshPolicy": "Periodic"}, None),
        ({"refreshPolicy": "OnChange"}, "refreshPolicy: OnChange"),
        ({"refreshPolicy": "CreatedOnce"}, "refreshPolicy: CreatedOnce"),
        ({"refreshInterval": "0s"}, "refreshInterval: 0s"),
        ({"syncWindows": {"kind": "allow", "windows": []}}, "syncWindows: allow"),
    ],
)
def test_a_refresh_that_somebody_stopped_is_told(spec: dict[str, Any], held: str | None) -> None:
    registry = CONFIG.registries[0].name
    live = {name: {"spec": {"externalSecretSpec": spec if name == registry else {}}} for name in REGISTRY_NAMES}
    items = found(refresh_held, fanouts=live)
    assert [item.evidence for item in items] == ([(f"ClusterExternalSecret {registry}: {held}",)] if held else [])


def test_old_manifests_are_seen_by_field_manager_and_by_what_was_applied() -> None:
    managed = {"metadata": {"managedFields": [{"manager": "argocd", "apiVersion": V1BETA1}]}}
    applied = {"metadata": {"annotations": {LAST_APPLIED: '{"apiVersion":"external-secrets.io/v1beta1"}'}}}
    current = {"metadata": {"managedFields": [{"manager": "argocd", "apiVersion": "external-secrets.io/v1"}]}}
    assert old_writer(managed) == "manager argocd"
    assert old_writer(applied) == "last-applied-configuration"
    assert old_writer(current) is None


def external_secret(refreshed: timedelta, ready: str = "True", interval: str = "1h0m0s") -> dict[str, Any]:
    return {
        "spec": {"refreshInterval": interval},
        "status": {"refreshTime": (NOW - refreshed).isoformat(), "conditions": [{"type": "Ready", "status": ready}]},
    }


@pytest.mark.parametrize(
    ("item", "late"),
    [
        (external_secret(timedelta(minutes=65)), False),
        (external_secret(timedelta(hours=2)), True),
        (external_secret(timedelta(hours=2), ready="False"), False),  # it keeps the time of its last success
        (external_secret(timedelta(days=9), interval="0s"), False),  # it is not to be refreshed
        ({"spec": {}}, False),
    ],
)
def test_a_refresh_is_overdue_only_where_eso_should_have_made_it(item: dict[str, Any], late: bool) -> None:
    assert bool(overdue_by(item, NOW)) is late


# The queue


def test_the_recommended_flags_are_what_was_measured() -> None:
    # Measured: 1,503 namespaces in 86 s with 5 workers at the default rate.
    assert 75 <= Capacity({"concurrent": "5"}).round(1503).total_seconds() <= 100
    # Measured: 1,000 namespaces in 105 s by default, on one machine; a network adds to it.
    assert 105 <= Capacity({}).round(1000).total_seconds() <= 160
    recommended = Capacity(recommended_flags((0, 20, 4)))
    assert recommended.round(1503) < timedelta(seconds=25)


@given(st.integers(0, 100_000), st.integers(1, 100), st.integers(1, 1000))
def test_more_workers_and_a_higher_rate_never_make_a_round_longer(count: int, concurrent: int, qps: int) -> None:
    def taken(workers: int, rate: int) -> timedelta:
        return Capacity({"concurrent": str(workers), "client-qps": str(rate)}).round(count)

    assert taken(concurrent + 1, qps) <= taken(concurrent, qps)
    assert taken(concurrent, qps + 1) <= taken(concurrent, qps)


@pytest.mark.parametrize(
    ("count", "refresh", "severity"),
    [
        (100, timedelta(hours=1), None),
        (1500, timedelta(hours=1), Severity.WARNING),
        (100, timedelta(seconds=20), Severity.WARNING),
        (1500, timedelta(minutes=2), Severity.TENANT),
    ],
)
def test_a_queue_is_too_long_by_the_wait_and_by_the_interval(
    count: int, refresh: timedelta, severity: Severity | None
) -> None:
    assert judge_queue({}, count, refresh) == severity


# Clocks and expiry


@pytest.mark.parametrize(
    ("api", "vault", "severity"),
    [(5, -5, None), (60, 60, Severity.WARNING), (0, 100, Severity.WARNING), (-100, 100, Severity.CLUSTER)],
)
def test_clocks_that_differ_stop_logins_only_between_the_servers(
    api: int, vault: int, severity: Severity | None
) -> None:
    offsets = {"the API server": timedelta(seconds=api), "Vault": timedelta(seconds=vault)}
    assert [item.severity for item in judge_clocks(snapshot(), offsets)] == ([severity] if severity else [])


@pytest.mark.parametrize(
    ("left", "severity"),
    [
        (None, None),
        (20, None),
        (14, Severity.WARNING),
        (1, Severity.WARNING),
        (0, Severity.CLUSTER),
        (-9, Severity.CLUSTER),
    ],
)
def test_an_expiry_is_told_two_weeks_ahead(left: int | None, severity: Severity | None) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert judge_expiry(None if left is None else now + timedelta(days=left), now) == severity


# The store's conditions


@pytest.mark.parametrize(
    ("conditions", "admitted"),
    [
        ([], True),
        ([{"namespaces": ["team-a"]}], True),
        ([{"namespaceRegexes": ["^team-.*$"]}], True),
        ([{"namespaceSelector": {"matchLabels": {"example.com/app": "true"}}}], True),
        ([{"namespaceSelector": {}}], True),
        ([{"namespaces": ["other"]}, {"namespaceSelector": {"matchLabels": {"x": "y"}}}], False),
    ],
)
def test_a_store_admits_by_any_of_its_conditions(conditions: list[dict[str, Any]], admitted: bool) -> None:
    store = {"spec": {"conditions": conditions}}
    assert admits(store, "team-a", {"example.com/app": "true"}) is admitted


@pytest.mark.parametrize(
    ("expression", "selected"),
    [
        ({"key": "a", "operator": "In", "values": ["1", "2"]}, True),
        ({"key": "a", "operator": "NotIn", "values": ["1"]}, False),
        ({"key": "b", "operator": "NotIn", "values": ["1"]}, True),
        ({"key": "a", "operator": "Exists"}, True),
        ({"key": "a", "operator": "DoesNotExist"}, False),
        ({"key": "b", "operator": "In", "values": ["1"]}, False),
    ],
)
def test_selectors_judge_as_the_api_server_does(expression: dict[str, Any], selected: bool) -> None:
    assert selects({"matchExpressions": [expression]}, {"a": "1"}) is selected


# Egress


def policy(egress: list[dict[str, Any]] | None, selector: dict[str, Any] | None = None) -> dict[str, Any]:
    spec = {"podSelector": selector or {}, "policyTypes": ["Egress"]}
    return {
        "metadata": {"name": "some", "namespace": "external-secrets"},
        "spec": spec if egress is None else {**spec, "egress": egress},
    }


DENY_ALL = policy(None)
NEEDED = tuple(destinations(CONFIG))


class TestRestoredPolicy:
    """The fix of a closed way out restores what the stack file declares, and nothing else."""

    def found(self, store: dict[str, Any] | None, live: dict[str, Any]) -> Finding:
        (closed,) = egress_denied.find(snapshot(live, **{STORE_READ: store, "eso/pod-labels": LABELS}))
        return closed

    def edited(self) -> dict[str, Any]:
        live = egress(EgressSpec.of(CONFIG))
        live["spec"]["egress"][0]["ports"][0]["port"] = 18200
        return live

    def test_it_is_shown_with_what_it_replaces(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VAULT_ADDR", TUNNEL)
        closed = self.found(cluster_secret_store(StoreSpec.of(CONFIG, STORE)), self.edited())
        assert closed.remedy is not None
        declared, _, replaced = closed.remedy.description.partition(", in place of ")
        assert "permits 10.0.0.0/8 TCP 8200; anywhere UDP 53, TCP 53, UDP 5353, TCP 5353; anywhere TCP 6443" in declared
        assert "10.0.0.0/8 TCP 18200; " in replaced

    def test_there_is_none_while_the_store_names_another_vault(self) -> None:
        store = cluster_secret_store(StoreSpec.of(CONFIG, STORE))
        store["spec"]["provider"]["vault"]["server"] = TUNNEL
        closed = self.found(store, self.edited())
        assert closed.remedy is None
        assert not any("--fix" in command for command in closed.fix)

    def test_there_is_none_where_the_stack_leaves_egress_to_others(self) -> None:
        left = CONFIG.vault.model_copy(update={"egress": None})
        config = CONFIG.model_copy(update={"vault_section": left})
        seen = snapshot(DENY_ALL, config=config, **{STORE_READ: None, "eso/pod-labels": LABELS})
        (closed,) = egress_denied.find(seen)
        assert closed.remedy is None
        assert "the stack file declares no NetworkPolicy (vault.egress)" in closed.evidence
        assert not any("pulumi up" in command for command in closed.fix)


@pytest.mark.parametrize(
    ("rules", "line"),
    [
        ([], "nothing"),
        ([{}], "anywhere on any port"),
        (
            [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}],
            "10.0.0.0/8 except 10.1.0.0/16",
        ),
        ([{"to": [{"namespaceSelector": {"matchLabels": {"a": "b"}}, "podSelector": {}}]}], "pods {} in namespaces"),
        ([{"ports": [{"protocol": "UDP", "port": 1, "endPort": 9}, {}]}], "anywhere UDP 1-9, TCP any"),
    ],
)
def test_rules_are_told_in_one_line(rules: list[dict[str, Any]], line: str) -> None:
    assert egress_rules.described(rules).startswith(line)


def test_without_a_policy_everything_is_permitted() -> None:
    assert not egress_rules.denied([], LABELS, NEEDED)
    ingress = {"metadata": {"name": "in"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": []}}
    elsewhere = policy(None, {"matchLabels": {"app": "other"}})
    assert not egress_rules.denied([ingress, elsewhere], LABELS, NEEDED)


def test_the_stacks_own_policy_permits_what_deny_all_takes() -> None:
    assert egress_rules.denied([DENY_ALL], LABELS, NEEDED) == list(NEEDED)
    own = egress(EgressSpec.of(CONFIG))
    assert not egress_rules.denied([DENY_ALL, own], LABELS, NEEDED)


@pytest.mark.parametrize("rule", range(3))
def test_each_rule_of_it_is_needed(rule: int) -> None:
    own = egress(EgressSpec.of(CONFIG))
    del own["spec"]["egress"][rule]
    lost = {item.name for item in egress_rules.denied([own], LABELS, NEEDED)}
    assert lost == {("Vault", "DNS", "the API server")[rule]}


def test_openshift_needs_dns_behind_the_service_too() -> None:
    on_openshift = CONFIG.model_copy(update={"cluster": CONFIG.cluster.model_copy(update={"platform": "openshift"})})
    assert {item.port for item in destinations(on_openshift) if item.name == "DNS"} == {53, 5353}


VAULT = Destination("Vault", "TCP", 8200, ("10.1.0.0/16",))
INSIDE = Destination("Vault", "TCP", 8200, (), {"kubernetes.io/metadata.name": "vault"})


@pytest.mark.parametrize(
    ("rule", "wanted", "permitted"),
    [
        ({}, VAULT, True),
        ({"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}, VAULT, True),
        ({"to": [{"ipBlock": {"cidr": "10.1.0.0/24"}}]}, VAULT, False),
        ({"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.2.0/24"]}}]}, VAULT, False),
        ({"to": [{"namespaceSelector": {}}]}, VAULT, False),
        ({"ports": [{"protocol": "TCP", "port": 443}]}, VAULT, False),
        ({"ports": [{"protocol": "UDP", "port": 8200}]}, VAULT, False),
        ({"ports": [{"protocol": "TCP", "port": 8000, "endPort": 9000}]}, VAULT, True),
        ({"ports": [{"protocol": "TCP"}]}, VAULT, True),
        ({"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "vault"}}}]}, INSIDE, True),
        ({"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "web"}}}]}, INSIDE, False),
        ({"to": [{"podSelector": {}}]}, INSIDE, False),
    ],
)
def test_rules_permit_by_port_and_peer(rule: dict[str, Any], wanted: Destination, permitted: bool) -> None:
    assert (not egress_rules.denied([policy([rule])], LABELS, [wanted])) is permitted


def test_policies_add_up() -> None:
    ports = [
        policy([{"ports": [{"protocol": "UDP", "port": 53}]}]),
        policy([{"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}]),
    ]
    wanted = [VAULT, Destination("DNS", "UDP", 53)]
    assert not egress_rules.denied(ports, LABELS, wanted)


WRITTEN = EntryMetadata(3, True, True, 10, {}, (VersionState(3, "2026-01-01T00:00:00Z", "2099-01-01T00:00:00Z"),))


@pytest.mark.parametrize(
    ("metadata", "mount", "cause"),
    [
        (replace(WRITTEN, delete_version_after="720h0m0s"), None, "deletes each version 720h0m0s (path)"),
        (WRITTEN, MountSettings(0, "1h0m0s"), "deletes each version 1h0m0s (mount)"),
        (replace(WRITTEN, max_versions=1), MountSettings(1, "0s"), "keeps one version"),
        # The larger of the two counts, a mount may switch deletion off, and Vault keeps ten where nothing is set.
        (replace(WRITTEN, max_versions=1), MountSettings(5, "0s"), None),
        (replace(WRITTEN, delete_version_after="1h0m0s"), MountSettings(0, "-1s"), None),
        (replace(WRITTEN, max_versions=0), None, None),
    ],
)
def test_what_vault_drops_later_is_known_before(
    metadata: EntryMetadata, mount: MountSettings | None, cause: str | None
) -> None:
    vault = FakeVault(metadata)
    vault.mount = mount
    findings = found(vault_drops_versions, vault=vault)
    assert [cause in item.cause for item in findings if cause] == ([True] if cause else [])
    assert len(findings) == (cause is not None)
    if findings and "deletes" in findings[0].cause:
        assert "version 3 is deleted at 2099" in findings[0].evidence[1]


@pytest.mark.parametrize(("seconds", "short"), [(60, True), (3600, False), (None, False)])
def test_a_token_that_a_rotation_would_outlive_is_told(seconds: int | None, short: bool) -> None:
    vault = FakeVault(WRITTEN)
    vault.seconds_left = seconds
    assert bool(found(vault_token_ending, vault=vault)) == short
