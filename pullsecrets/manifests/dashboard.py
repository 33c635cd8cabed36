"""The Grafana dashboard of a stack's pull Secrets, as plain data in the ConfigMap that Grafana's sidecar reads.

The format: https://grafana.com/docs/grafana/latest/visualizations/dashboards/build-dashboards/view-dashboard-json-model/
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pullsecrets.durations import parse_duration
from pullsecrets.kube.marks import STANDARD_LABELS
from pullsecrets.kube.objects import KubernetesObject
from pullsecrets.manifests.alerts import MISSED_REFRESHES, STALE_SECONDS
from pullsecrets.manifests.monitoring import MonitoringSpec

SCHEMA_VERSION = 39
"""Of Grafana 10.4 and 11; newer ones migrate it when they load it."""
FOLDER_ANNOTATION = "grafana_folder"
"""From which the sidecar of Grafana's Helm charts takes the folder, unless told otherwise."""
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
"""Grafana lays panels out on a grid of this width."""
_HEIGHT = 8


@dataclass(frozen=True)
class _Panel:
    title: str
    description: str
    kind: str
    expressions: tuple[tuple[str, str], ...]
    """Each with the legend of its series."""
    unit: str = "short"
    width: int = 8
    steps: tuple[tuple[str, float | None], ...] = (("green", None),)
    """Colours, each from a value on; the first from the lowest on."""
    decimals: int | None = None


def dashboard_config_map(spec: MonitoringSpec) -> KubernetesObject:
    """Return the ConfigMap with the dashboard."""
    metadata: dict[str, Any] = {
        "name": f"{spec.name}-dashboard",
        "namespace": spec.namespace,
        "labels": {**STANDARD_LABELS, **spec.dashboard_labels},
    }
    if spec.dashboard_folder:
        metadata["annotations"] = {FOLDER_ANNOTATION: spec.dashboard_folder}
    text = json.dumps(dashboard(spec), indent=2, sort_keys=True) + "\n"
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {f"{spec.name}.json": text}}


def dashboard(spec: MonitoringSpec) -> dict[str, Any]:
    """Return the dashboard."""
    datasource = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    registries = ",".join(registry.name for registry in spec.registries)
    registry = {"name": "registry", "label": "Registry", "type": "custom", "query": registries}
    chosen = {"multi": True, "includeAll": True, "current": {"text": ["All"], "value": ["$__all"]}}
    return {
        # Of its own for each cluster, within Grafana's 40 characters.
        "uid": spec.name[:40],
        "title": f"Pull Secrets: {spec.cluster}",
        "description": "Which namespaces hold the registries' Secrets, bound and current, and what the others lack.",
        "tags": ["pull-secrets"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "timezone": "browser",
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": [datasource, {**registry, **chosen}]},
        "annotations": {"list": []},
        "panels": list(_laid_out(spec)),
    }


def _laid_out(spec: MonitoringSpec) -> Iterator[dict[str, Any]]:
    x = y = 0
    for number, panel in enumerate(_panels(spec), 1):
        if x + panel.width > COLUMNS:
            x, y = 0, y + _HEIGHT
        yield {"id": number, "gridPos": {"x": x, "y": y, "w": panel.width, "h": _HEIGHT}, **_drawn(panel)}
        x += panel.width


def _drawn(panel: _Panel) -> dict[str, Any]:
    steps = [{"color": color, "value": value} for color, value in panel.steps]
    defaults: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    at_once = panel.kind != "timeseries"
    return {
        "title": panel.title,
        "description": panel.description,
        "type": panel.kind,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATASOURCE,
                "expr": expression,
                "legendFormat": legend,
                "instant": at_once,
                "range": not at_once,
                **({"format": "table"} if panel.kind == "table" else {}),
            }
            for index, (expression, legend) in enumerate(panel.expressions)
        ],
    }


def _panels(spec: MonitoringSpec) -> Iterator[_Panel]:
    yield from _audited(spec) if spec.pushgateway else _validated(spec)
    yield from _delivered(spec)


def _audited(spec: MonitoringSpec) -> Iterator[_Panel]:
    """Panels of what the audit pushed."""
    chosen = 'registry=~"$registry"'

    def state(name: str) -> str:
        series = spec.audit_series("pull_secrets_namespaces", f'{chosen}, state="{name}"')
        return f"max by (registry) ({series})"

    yield _Panel(
        "Coverage",
        "Share of the namespaces that should have the Secret in which it is delivered, bound and current.",
        "gauge",
        ((f"{state('green')} / ({state('expected')} > 0)", "{{registry}}"),),
        unit="percentunit",
        steps=(("red", None), ("green", spec.coverage_target)),
    )
    yield _Panel(
        "Unproved namespaces",
        "Namespaces whose Secret is not proved to hold the seeded credential.",
        "stat",
        ((f"{state('expected')} - {state('proved')}", "{{registry}}"),),
        steps=(("green", None), ("red", 1)),
    )
    notice = parse_duration(spec.expiry_notice).total_seconds()
    expiry = spec.audit_series("pull_secrets_credential_expiry_timestamp_seconds", chosen)
    yield _Panel(
        "Credential expires in",
        "By the time that `seed` or `seal` recorded; a credential without one is not shown.",
        "stat",
        ((f"max by (registry) ({expiry}) - time()", "{{registry}}"),),
        unit="s",
        steps=(("red", None), ("green", notice)),
    )
    green = spec.audit_series("pull_secrets_namespace_green", chosen)
    yield _Panel(
        "Namespaces that cannot pull",
        "Run `pull-secrets doctor <namespace>` for the cause.",
        "table",
        ((f"max by (namespace, registry) ({green}) == 0", ""),),
        width=12,
    )
    others = spec.audit_series("pull_secrets_unmanaged_secrets")
    yield _Panel(
        "Unmanaged Secrets",
        "Pull Secrets that this project did not deliver; `pull-secrets audit` names them.",
        "stat",
        ((f"max({others})", "unmanaged"),),
        width=6,
        steps=(("green", None), ("yellow", 1)),
    )
    yield _age(f"max({spec.audit_series('pull_secrets_audit_success_timestamp_seconds')})")


def _validated(spec: MonitoringSpec) -> Iterator[_Panel]:
    """Panels of a stack whose audit is not pushed: its Jobs succeed when every namespace is green."""
    yield replace(_age(f"max({spec.cronjob_series('status_last_successful_time')})"), width=8)
    due = f"max({spec.cronjob_series('next_schedule_time')}) - time()"
    yield _Panel("Next validation in", "By the CronJob's schedule.", "stat", ((due, "next"),), unit="s")


def _age(moment: str) -> _Panel:
    return _Panel(
        "Last validation",
        "Time since the daily validation last came to its end.",
        "stat",
        ((f"time() - {moment}", "ago"),),
        unit="s",
        width=6,
        steps=(("green", None), ("red", STALE_SECONDS)),
    )


def _delivered(spec: MonitoringSpec) -> Iterator[_Panel]:
    """Panels of what External Secrets Operator tells."""
    stores = "|".join(spec.stores)
    ready = f'clustersecretstore_status_condition{{name=~"{stores}", condition="Ready", status="True"}}'
    yield _Panel(
        "Store ready",
        "Whether External Secrets Operator can read the stores.",
        "stat",
        ((f"max by (name) ({ready})", "{{name}}"),),
        steps=(("red", None), ("green", 1)),
    )
    chosen = 'name=~"$registry"'
    yield _Panel(
        "ExternalSecret errors",
        "Failed reconciliations in an hour.",
        "timeseries",
        ((f"sum by (name) (increase(externalsecret_sync_calls_error{{{chosen}}}[1h]))", "{{name}}"),),
        decimals=0,
    )
    longest = max(parse_duration(registry.refresh) for registry in spec.registries) * MISSED_REFRESHES
    window = f"{int(longest.total_seconds())}s"
    calls = f"externalsecret_sync_calls_total{{{chosen}}}"
    refreshed = f"max_over_time((timestamp({calls}) and increase({calls}[10m]) > 0)[{window}:5m])"
    yield _Panel(
        "Refresh age",
        f"Time since the namespace that waits longest was reconciled, until it missed {MISSED_REFRESHES} refreshes.",
        "timeseries",
        ((f"time() - min by (name) ({refreshed})", "{{name}}"),),
        unit="s",
    )
