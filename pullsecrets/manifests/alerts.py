"""Prometheus rules for what this project delivers, as the PrometheusRule of the Prometheus Operator.

Series come from kube-state-metrics, from External Secrets Operator, and, where a Pushgateway takes them, from the audit
that runs in the cluster each day (`pull-secrets audit --push`); without one the success of its Jobs stands in. Where a
scrape does not honor labels, Prometheus moves a `namespace` label to `exported_namespace`; rules on ESO's series take
either. kube-state-metrics and the Pushgateway are of use with honored labels only, as their own charts are scraped.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from pullsecrets.durations import parse_duration
from pullsecrets.kube.marks import STANDARD_LABELS
from pullsecrets.kube.objects import KubernetesObject
from pullsecrets.kube.pull_failure import PULL_FAILURES
from pullsecrets.manifests.monitoring import MonitoringSpec, RegistryWatch
from pullsecrets.names import pattern_to_regex

Rule = dict[str, Any]

CRITICAL, WARNING = "critical", "warning"
MISSED_REFRESHES = 2
"""How many refreshes may be missed; one is late whenever ESO's queue is long."""
STALE_SECONDS = int(timedelta(days=1.5).total_seconds())
"""Age at which an audit says nothing of today any more; every schedule comes round at least once a day."""


def prometheus_rule(spec: MonitoringSpec) -> KubernetesObject:
    """Return the object with all rules."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": spec.name,
            "namespace": spec.namespace,
            "labels": {**STANDARD_LABELS, **spec.rule_labels},
        },
        "spec": rule_file(spec),
    }


def rule_file(spec: MonitoringSpec) -> dict[str, Any]:
    """Return the rules as a Prometheus server and `promtool` read them from a file."""
    return {
        "groups": [
            {"name": "pull-secrets.pods", "rules": list(_pod_rules(spec))},
            {"name": "pull-secrets.delivery", "rules": list(_delivery_rules(spec))},
            {
                "name": "pull-secrets.audit",
                "rules": list(_pushed_rules(spec) if spec.pushgateway else _job_rules(spec)),
            },
        ]
    }


def _pod_rules(spec: MonitoringSpec) -> Iterator[Rule]:
    for registry in spec.registries:
        yield _rule(
            "ImagePullSecretMissing",
            _failing_pulls(registry),
            "5m",
            CRITICAL,
            f"{{{{ $labels.namespace }}}}/{{{{ $labels.pod }}}} cannot pull from {', '.join(registry.hosts)}",
            "Run `pull-secrets doctor {{ $labels.namespace }}`.",
            registry=registry.name,
        )
    tenants = _any_of(pattern for registry in spec.registries for pattern in registry.namespaces)
    yield _rule(
        "PullSecretNamespaceStuck",
        f'kube_namespace_status_phase{{phase="Terminating", namespace=~"{tenants}"}} == 1',
        "10m",
        WARNING,
        "Namespace {{ $labels.namespace }} has been terminating for ten minutes",
        "A finalizer of External Secrets Operator may hold it: run `pull-secrets offboard {{ $labels.namespace }}`.",
    )


def _failing_pulls(registry: RegistryWatch) -> str:
    """Return the containers that wait for an image of the registry.

    A container swings between the two reasons, so that neither alone lasts; a container that restarts fails in a Pod
    whose phase is Running; and kube-state-metrics 1 gives each reason a series that says 0. So this asks for the value
    of either reason over a while, whatever the phase, and only for images of the registry in its namespaces.
    """
    reasons = "|".join(sorted(PULL_FAILURES))
    within = f'namespace=~"{_any_of(registry.namespaces)}"'
    images = f'image=~"{_hosts(registry.hosts)}"'
    waiting, info = "status_waiting_reason", "info"

    def either(suffix: str, matchers: str, over: str = "") -> str:
        series = [f"kube_pod_{kind}_{suffix}{{{matchers}}}" for kind in ("container", "init_container")]
        given = [f"max_over_time({item}[{over}])" if over else item for item in series]
        return f"max by (namespace, pod, container) ({' or '.join(given)})"

    failing = either(waiting, f'{within}, reason=~"{reasons}"', "5m")
    return f"{failing} == 1 and on (namespace, pod, container) {either(info, f'{within}, {images}')}"


def _delivery_rules(spec: MonitoringSpec) -> Iterator[Rule]:
    for store in spec.stores:
        not_ready = f'clustersecretstore_status_condition{{name="{store}", condition="Ready", status="False"}}'
        yield _rule(
            "PullSecretStoreNotReady",
            f"max({not_ready}) == 1 or absent({not_ready})",
            "5m",
            CRITICAL,
            f"ClusterSecretStore {store} is not ready, or nothing is known of it",
            "No namespace receives a new or a changed credential. Run `pull-secrets doctor`.",
            store=store,
        )
    for registry in spec.registries:
        series = f'externalsecret_status_condition{{name="{registry.name}", condition="Ready", status="False"}}'
        yield _rule(
            "PullSecretSyncFailing",
            f"max by (namespace) ({_namespaced(series)}) == 1",
            "10m",
            WARNING,
            f"ExternalSecret {registry.name} of namespace {{{{ $labels.namespace }}}} is failing",
            "The namespace keeps the credential that it has. Run `pull-secrets doctor {{ $labels.namespace }}`.",
            registry=registry.name,
        )
        yield _rule(
            "PullSecretRefreshOverdue",
            _overdue(registry),
            "5m",
            WARNING,
            f"ExternalSecret {registry.name} of {{{{ $labels.namespace }}}} missed {MISSED_REFRESHES} refreshes",
            "A rotated credential would not arrive. Run `pull-secrets doctor`: does ESO run, is its queue too long?",
            registry=registry.name,
        )


def _overdue(registry: RegistryWatch) -> str:
    """Return the ExternalSecrets that were there all the while and were not looked at.

    ESO 0.20 keeps counting calls under the name of an ExternalSecret that was deleted, but drops its condition.
    """
    window = f"{int(parse_duration(registry.refresh).total_seconds() * MISSED_REFRESHES)}s"
    calls = _namespaced(f'increase(externalsecret_sync_calls_total{{name="{registry.name}"}}[{window}])')
    condition = f'externalsecret_status_condition{{name="{registry.name}", condition="Ready", status="False"}}'
    now, before = _namespaced(condition), _namespaced(f"{condition} offset {window}")
    parts = (f"sum by (namespace) ({calls}) == 0", f"max by (namespace) ({now})", f"max by (namespace) ({before})")
    return " and on (namespace) ".join(parts)


def _pushed_rules(spec: MonitoringSpec) -> Iterator[Rule]:
    # Counts outlive the audit that found them by as long as until the next one, which is what the last rule watches.
    states = [spec.audit_series("pull_secrets_namespaces", f'state="{state}"') for state in ("green", "expected")]
    green, expected = (f"max by (registry) ({series})" for series in states)
    yield _rule(
        "PullSecretCoverageLow",
        f"{green} / {expected} < {spec.coverage_target:g} and {expected} > 0",
        "5m",
        WARNING,
        "{{ $value | humanizePercentage }} of the namespaces of {{ $labels.registry }} hold it, bound and current, "
        f"{spec.coverage_target:.0%} should",
        "Run `pull-secrets audit`.",
    )
    left = f"max by (registry) ({spec.audit_series('pull_secrets_credential_expiry_timestamp_seconds')}) - time()"
    yield _rule(
        "PullSecretCredentialExpiring",
        f"{left} < {int(parse_duration(spec.expiry_notice).total_seconds())}",
        "5m",
        WARNING,
        "The credential of {{ $labels.registry }} expires in {{ $value | humanizeDuration }}",
        "Get a new one and run `pull-secrets rotate {{ $labels.registry }}`.",
    )
    success = spec.audit_series("pull_secrets_audit_success_timestamp_seconds")
    yield _rule(
        "PullSecretAuditStale",
        f"time() - max({success}) > {STALE_SECONDS} or absent(max({success}))",
        "15m",
        WARNING,
        f"Coverage of the pull Secrets of {spec.cluster} is not known: no audit came to its end and was pushed lately",
        f"Look at the Jobs of CronJob {spec.cronjob}, and whether Prometheus scrapes the Pushgateway.",
    )


def _job_rules(spec: MonitoringSpec) -> Iterator[Rule]:
    """A Job succeeds when every namespace is green: an audit that finds a gap exits with 1."""
    created, succeeded = spec.cronjob_series("created"), spec.cronjob_series("status_last_successful_time")
    # One that never succeeded has no time of it.
    since = f"max({succeeded} or on (namespace, cronjob) {created})"
    yield _rule(
        "PullSecretAuditFailing",
        f"max({spec.cronjob_series('status_last_schedule_time')}) > {since}",
        "15m",
        WARNING,
        f"The last validation of the pull Secrets of {spec.cluster} did not succeed",
        f"Read the log of the last Job of CronJob {spec.cronjob}, or run `pull-secrets audit`.",
    )
    yield _rule(
        "PullSecretAuditStale",
        f"time() - {since} > {STALE_SECONDS} or absent(max({created}))",
        "15m",
        WARNING,
        f"Coverage of the pull Secrets of {spec.cluster} is not known: no validation succeeded lately",
        f"Look at CronJob {spec.cronjob}: is it there, is it suspended, did its Jobs fail?",
    )


def _rule(
    alert: str, expression: str, lasting: str, severity: str, summary: str, description: str, **labels: str
) -> Rule:
    return {
        "alert": alert,
        "expr": expression,
        "for": lasting,
        "labels": {"severity": severity, **labels},
        "annotations": {"summary": summary, "description": description},
    }


def _namespaced(series: str) -> str:
    return f'label_replace({series}, "namespace", "$1", "exported_namespace", "(.+)")'


def _any_of(patterns: Iterator[str] | Sequence[str]) -> str:
    """Return one regular expression for namespace patterns; Prometheus anchors it itself."""
    return "|".join(dict.fromkeys(pattern_to_regex(pattern)[1:-1] for pattern in patterns))


def _hosts(hosts: Sequence[str]) -> str:
    # A backslash is written twice in PromQL's strings.
    escaped = "|".join(re.escape(host).replace(r"\-", "-").replace("\\", "\\\\") for host in hosts)
    return f"({escaped})/.+"
