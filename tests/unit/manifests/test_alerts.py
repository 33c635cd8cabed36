"""The Prometheus rules, judged by the real promtool on series as the exporters write them."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from local import toolchain
from pullsecrets.config import parse
from pullsecrets.manifests.alerts import prometheus_rule, rule_file
from pullsecrets.manifests.monitoring import MonitoringSpec, RegistryWatch

SPEC = MonitoringSpec(
    name="pull-secrets-test",
    namespace="external-secrets",
    cluster="test",
    registries=[RegistryWatch("app", ["app.example.com"], ["apps-*", "shop"], "1h")],
    stores=["vault"],
    coverage_target=1.0,
    expiry_notice="336h",
    rule_labels={},
    dashboard_labels={"grafana_dashboard": "1"},
    dashboard_folder=None,
    stack="test",
    files={},
    image="registry.example.com/pull-secrets:1",
    schedule="0 6 * * *",
    image_pull_secret=None,
    pushgateway="http://pushgateway.example.com:9091",
)
UNPUSHED = replace(SPEC, pushgateway=None)
POD = 'namespace="apps-auth", pod="web-1", container="main", uid="1"'
INFO = f'kube_pod_container_info{{{POD}, image="app.example.com/team/web:1"}}'
READY = 'condition="Ready", status="False"'


@pytest.fixture(scope="module")
def promtool() -> Path:
    toolchain.ensure("promtool")
    return toolchain.binary("promtool")


def waiting(reason: str, pod: str = POD, kind: str = "container") -> str:
    return f'kube_pod_{kind}_status_waiting_reason{{{pod}, reason="{reason}"}}'


def external_secret(metric: str, more: str = READY, namespace: str = 'namespace="apps-auth"') -> str:
    return f'externalsecret_{metric}{{name="app", {namespace}{", " if more else ""}{more}}}'


def in_state(state: str, registry: str = "app") -> str:
    return f'pull_secrets_namespaces{{cluster="test", registry="{registry}", state="{state}"}}'


def cronjob(what: str) -> str:
    return f'kube_cronjob_{what}{{namespace="external-secrets", cronjob="pull-secrets-test-audit"}}'


SUCCESS = 'pull_secrets_audit_success_timestamp_seconds{cluster="test"}'
CREATED, SUCCEEDED, SCHEDULED = (
    cronjob(what) for what in ("created", "status_last_successful_time", "status_last_schedule_time")
)
STALE, FAILING = "PullSecretAuditStale", "PullSecretAuditFailing"
MISSING, SYNC, OVERDUE = "ImagePullSecretMissing", "PullSecretSyncFailing", "PullSecretRefreshOverdue"
STORE = f'clustersecretstore_status_condition{{name="vault", namespace="", {READY}}}'
Case = tuple[str, str, dict[str, str], str, list[str]]
"""What it shows, alert, series by name, minutes to look at it, namespaces (or registries) that fire."""
CASES: list[Case] = [
    ("a Pod in ImagePullBackOff", MISSING, {waiting("ImagePullBackOff"): "1x20", INFO: "1x20"}, "10m", ["apps-auth"]),
    (
        "one that swings between both reasons, neither lasting five minutes",
        MISSING,
        {
            waiting("ErrImagePull"): "1 1 _ _ 1 1 _ _ 1 1 _ _ 1 1 _ _",
            waiting("ImagePullBackOff"): "_ _ 1 1 _ _ 1 1 _ _ 1 1 _ _ 1 1",
            INFO: "1x20",
        },
        "10m",
        ["apps-auth"],
    ),
    (
        "an init container",
        MISSING,
        {
            waiting("ErrImagePull", kind="init_container"): "1x20",
            INFO.replace("kube_pod_container", "kube_pod_init_container"): "1x20",
        },
        "10m",
        ["apps-auth"],
    ),
    (
        "series that say 0, as kube-state-metrics 1 has them",
        MISSING,
        {waiting("ErrImagePull"): "0x20", INFO: "1x20"},
        "10m",
        [],
    ),
    (
        "a Pending Pod beside a Pod that pulled long ago",
        MISSING,
        {
            waiting("ImagePullBackOff"): "0x20",
            'kube_pod_status_phase{namespace="apps-auth", pod="web-2", phase="Pending"}': "1x20",
            INFO: "1x20",
        },
        "10m",
        [],
    ),
    (
        "an image of another registry",
        MISSING,
        {waiting("ImagePullBackOff"): "1x20", INFO.replace("app.example.com", "app-example.com"): "1x20"},
        "10m",
        [],
    ),
    (
        "a namespace of nobody's",
        MISSING,
        {
            waiting("ImagePullBackOff").replace("apps-auth", "my-shop"): "1x20",
            INFO.replace("apps-auth", "my-shop"): "1x20",
        },
        "10m",
        [],
    ),
    ("one that was over in four minutes", MISSING, {waiting("ErrImagePull"): "1x3", INFO: "1x20"}, "4m", []),
    (
        "one that was over in four minutes, looked at later",
        MISSING,
        {waiting("ErrImagePull"): "1x3 _x20", INFO: "1x30"},
        "15m",
        [],
    ),
    ("a store that is not ready", "PullSecretStoreNotReady", {STORE: "1x20"}, "10m", ["vault"]),
    ("a store that nothing is known of", "PullSecretStoreNotReady", {"up": "1x20"}, "10m", ["vault"]),
    ("a store that is ready", "PullSecretStoreNotReady", {STORE: "0x20"}, "10m", []),
    ("a failing ExternalSecret", SYNC, {external_secret("status_condition"): "1x20"}, "15m", ["apps-auth"]),
    (
        "one scraped without honored labels",
        SYNC,
        {external_secret("status_condition", namespace='namespace="eso", exported_namespace="apps-auth"'): "1x20"},
        "15m",
        ["apps-auth"],
    ),
    ("one that fails for a moment", SYNC, {external_secret("status_condition"): "0 0 1 1 0x20"}, "15m", []),
    (
        "an ExternalSecret that nobody looks at",
        OVERDUE,
        {external_secret("status_condition"): "0x300", external_secret("sync_calls_total", ""): "7x300"},
        "200m",
        ["apps-auth"],
    ),
    (
        "one that is refreshed each hour",
        OVERDUE,
        {
            external_secret("status_condition"): "0x300",
            external_secret("sync_calls_total", ""): "0x60 1x60 2x60 3x60 4x60",
        },
        "200m",
        [],
    ),
    (
        "one that is new",
        OVERDUE,
        {external_secret("status_condition"): "_x150 0x150", external_secret("sync_calls_total", ""): "_x150 1x150"},
        "200m",
        [],
    ),
    (
        "one that was deleted, whose calls ESO counts on",
        OVERDUE,
        {external_secret("status_condition"): "0x60 _x240", external_secret("sync_calls_total", ""): "7x300"},
        "200m",
        [],
    ),
    (
        "a gap in coverage",
        "PullSecretCoverageLow",
        {in_state("green"): "9x20", in_state("expected"): "10x20"},
        "10m",
        ["app"],
    ),
    (
        "another cluster's gap in the same Pushgateway",
        "PullSecretCoverageLow",
        {
            in_state("green").replace("test", "other"): "1x20",
            in_state("expected").replace("test", "other"): "10x20",
            in_state("green"): "9x20",
            in_state("expected"): "9x20",
        },
        "10m",
        [],
    ),
    ("full coverage", "PullSecretCoverageLow", {in_state("green"): "9x20", in_state("expected"): "9x20"}, "10m", []),
    ("nothing to cover", "PullSecretCoverageLow", {in_state("green"): "0x20", in_state("expected"): "0x20"}, "10m", []),
    (
        "a credential that expires in 13 days",
        "PullSecretCredentialExpiring",
        {'pull_secrets_credential_expiry_timestamp_seconds{cluster="test", registry="app"}': f"{13 * 86400}x20"},
        "10m",
        ["app"],
    ),
    (
        "one that expires in 15 days",
        "PullSecretCredentialExpiring",
        {'pull_secrets_credential_expiry_timestamp_seconds{cluster="test", registry="app"}': f"{15 * 86400}x20"},
        "10m",
        [],
    ),
    ("no audit for two days", "PullSecretAuditStale", {SUCCESS: "0x2900"}, "2880m", [""]),
    ("no audit ever", "PullSecretAuditStale", {"up": "1x30"}, "20m", [""]),
    ("an audit of yesterday", "PullSecretAuditStale", {SUCCESS: "0x2900"}, "1440m", []),
    (
        "only another cluster's audit",
        "PullSecretAuditStale",
        {SUCCESS.replace("test", "other"): "0x30"},
        "20m",
        [""],
    ),
    (
        "a tenant that does not end",
        "PullSecretNamespaceStuck",
        {'kube_namespace_status_phase{namespace="shop", phase="Terminating"}': "1x20"},
        "15m",
        ["shop"],
    ),
    (
        "a namespace of others that does not end, and a tenant that lives",
        "PullSecretNamespaceStuck",
        {
            'kube_namespace_status_phase{namespace="shopping", phase="Terminating"}': "1x20",
            'kube_namespace_status_phase{namespace="shop", phase="Terminating"}': "0x20",
        },
        "15m",
        [],
    ),
]
# The same where no Pushgateway takes the audit's metrics.
UNPUSHED_CASES: list[Case] = [
    ("no Job succeeded for two days", STALE, {CREATED: "0x2900", SUCCEEDED: "0x2900"}, "2880m", [""]),
    ("a Job of yesterday", STALE, {CREATED: "0x2900", SUCCEEDED: "0x2900"}, "1440m", []),
    ("a CronJob of two days whose Jobs never succeeded", STALE, {CREATED: "0x2900"}, "2880m", [""]),
    ("a CronJob of today that has not run yet", STALE, {CREATED: "0x30"}, "20m", []),
    ("no CronJob, or nothing known of it", STALE, {"up": "1x30"}, "20m", [""]),
    ("a last Job that failed", FAILING, {CREATED: "0x40", SUCCEEDED: "60x40", SCHEDULED: "120x40"}, "30m", [""]),
    ("a first Job that failed", FAILING, {CREATED: "0x40", SCHEDULED: "120x40"}, "30m", [""]),
    (
        "a Job that takes ten minutes",
        FAILING,
        {CREATED: "0x40", SUCCEEDED: "0x10 600x30", SCHEDULED: "60x40"},
        "30m",
        [],
    ),
]
_SUBJECT = {
    "PullSecretStoreNotReady": "store",
    "PullSecretCoverageLow": "registry",
    "PullSecretCredentialExpiring": "registry",
}


@pytest.fixture(scope="module")
def verdicts(promtool: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What promtool says of each case: nothing when the alerts that fire are the expected ones."""
    return {
        **_judge(promtool, tmp_path_factory.mktemp("pushed"), SPEC, CASES),
        **_judge(promtool, tmp_path_factory.mktemp("unpushed"), UNPUSHED, UNPUSHED_CASES),
    }


def _judge(promtool: Path, folder: Path, spec: MonitoringSpec, cases: list[Case]) -> dict[str, str]:
    (folder / "rules.json").write_text(json.dumps(rule_file(spec)), encoding="utf-8")
    found: dict[str, str] = {}
    for index, case in enumerate(cases):
        file = folder / f"case-{index}.json"
        # Days and hours are looked at every five minutes: promtool evaluates every rule at every step.
        step = "5m" if int(case[3].removesuffix("m")) > 60 else "1m"
        document = {"rule_files": ["rules.json"], "evaluation_interval": step, "tests": [_test(spec, case)]}
        file.write_text(json.dumps(document), encoding="utf-8")
        done = subprocess.run(
            [promtool, "test", "rules", file.name], cwd=folder, capture_output=True, text=True, check=False
        )
        found[case[0]] = done.stdout + done.stderr if done.returncode else ""
    return found


def _test(spec: MonitoringSpec, case: Case) -> dict[str, Any]:
    name, alert, series, moment, fires = case
    rule = next(rule for rule in _rules(spec) if rule["alert"] == alert)
    subject = _SUBJECT.get(alert, "namespace")
    # Annotations are templates: alerts are told apart by their labels, and the query is the alert's own series.
    expected = [{"labels": _series(rule, subject, value), "value": 1} for value in fires]
    query = f'count by (alertname, {subject}) (ALERTS{{alertname="{alert}", alertstate="firing"}})'
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "promql_expr_test": [{"expr": query, "eval_time": moment, "exp_samples": expected}],
    }


def _rules(spec: MonitoringSpec) -> list[dict[str, Any]]:
    return [rule for group in rule_file(spec)["groups"] for rule in group["rules"]]


def _series(rule: dict[str, Any], subject: str, value: str) -> str:
    labels = {"alertname": rule["alert"], **({subject: value} if value else {})}
    return "{" + ", ".join(f'{key}="{text}"' for key, text in labels.items()) + "}"


@pytest.mark.parametrize("name", [case[0] for case in [*CASES, *UNPUSHED_CASES]])
def test_each_alert_fires_for_what_it_is_for_and_for_nothing_else(verdicts: dict[str, str], name: str) -> None:
    assert verdicts[name] == ""


@pytest.mark.parametrize(("spec", "cases"), [(SPEC, CASES), (UNPUSHED, UNPUSHED_CASES)])
def test_each_alert_is_shown_to_fire(spec: MonitoringSpec, cases: list[Case]) -> None:
    known = {case[1] for case in [*CASES, *cases] if case[4]}
    assert {rule["alert"] for rule in _rules(spec)} <= known
    assert all(spec.cluster in rule["expr"] for rule in _rules(spec) if "pull_secrets_" in rule["expr"])


def test_no_rule_waits_for_series_that_nobody_pushes() -> None:
    assert all("pull_secrets_" not in rule["expr"] for rule in _rules(UNPUSHED))


def test_promtool_accepts_the_rules_of_every_shape_of_stack(promtool: Path, tmp_path: Path) -> None:
    many = [RegistryWatch(f"r{index}", ["a.b:5000", "c-d.e"], ["*-dev"], "90m") for index in range(3)]
    shapes = [SPEC, UNPUSHED, replace(SPEC, registries=many, stores=["a", "b"]), replace(SPEC, stores=[])]
    for index, spec in enumerate(shapes):
        file = tmp_path / f"{index}.json"
        file.write_text(json.dumps(rule_file(spec)), encoding="utf-8")
        done = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_spec_of_a_stack_names_its_registries_and_stores() -> None:
    registry = {"hosts": ["a.example.com"], "selector": {"x.example.com/y": "true"}, "namespaces": ["t-*"]}
    raw: dict[str, Any] = {
        "cluster": {"name": "c"},
        "vault": {"address": "https://vault.example.com", "egress": {"cidrs": ["10.0.0.0/8"]}},
        "registries": [{"name": "app", "refresh": "30m", **registry}],
    }
    spec = MonitoringSpec.of(parse(raw, "test"), "test")
    assert (spec.name, spec.namespace, list(spec.stores)) == ("pull-secrets-c", "monitoring", ["vault-platform"])
    assert spec.registries[0] == RegistryWatch("app", ("a.example.com",), ("t-*",), "30m")
    assert spec.pushgateway is None


def test_the_object_carries_the_labels_that_prometheus_selects_by() -> None:
    made = prometheus_rule(replace(SPEC, rule_labels={"release": "monitoring"}))
    assert made["metadata"]["labels"]["release"] == "monitoring"
    assert made["spec"] == rule_file(SPEC)
    assert all(rule["annotations"]["description"] for group in made["spec"]["groups"] for rule in group["rules"])
