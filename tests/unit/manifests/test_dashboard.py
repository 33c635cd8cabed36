"""The dashboard is one that Grafana loads, and Prometheus can evaluate every query of it."""

import json
import re
import subprocess
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from local import toolchain
from pullsecrets.manifests.dashboard import COLUMNS, DATASOURCE, FOLDER_ANNOTATION, dashboard, dashboard_config_map
from pullsecrets.manifests.monitoring import MonitoringSpec, RegistryWatch
from tests.unit.manifests.test_alerts import SPEC

PUSHED = replace(
    SPEC,
    registries=[RegistryWatch("app", ["a.example.com"], ["apps-*"], "1h"), RegistryWatch("web", ["w"], ["w-*"], "2h")],
    stores=["vault", "vault-web"],
)
SPECS = [PUSHED, replace(PUSHED, pushgateway=None)]


def expressions(found: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in found["panels"] for target in panel["targets"]]


@pytest.mark.parametrize("spec", SPECS)
def test_panels_have_ids_of_their_own_and_lie_beside_each_other(spec: MonitoringSpec) -> None:
    panels = dashboard(spec)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= COLUMNS for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


@pytest.mark.parametrize("spec", SPECS)
def test_every_query_asks_the_chosen_data_source(spec: MonitoringSpec) -> None:
    found = dashboard(spec)
    assert isinstance(found["schemaVersion"], int)
    variables = {variable["name"]: variable for variable in found["templating"]["list"]}
    assert variables["datasource"] == {**variables["datasource"], "type": "datasource", "query": "prometheus"}
    assert variables["registry"]["query"] == "app,web"
    assert DATASOURCE["uid"] == "${datasource}"
    for panel in found["panels"]:
        assert panel["datasource"] == DATASOURCE
        assert [target["datasource"] for target in panel["targets"]] == [DATASOURCE] * len(panel["targets"])
    used = {name for text in expressions(found) for name in re.findall(r"\$(\w+)", text)}
    assert used <= variables.keys()


def test_it_shows_what_a_team_asks_for() -> None:
    shown = {panel["title"]: panel["targets"][0]["expr"] for panel in dashboard(PUSHED)["panels"]}
    for title, series in {
        "Coverage": "pull_secrets_namespaces",
        "Unproved namespaces": 'state="proved"',
        "Store ready": 'clustersecretstore_status_condition{name=~"vault|vault-web"',
        "ExternalSecret errors": "externalsecret_sync_calls_error",
        "Refresh age": "externalsecret_sync_calls_total",
        "Credential expires in": "pull_secrets_credential_expiry_timestamp_seconds",
        "Unmanaged Secrets": "pull_secrets_unmanaged_secrets",
    }.items():
        assert series in shown[title]


def test_without_a_pushgateway_no_panel_stays_empty() -> None:
    found = dashboard(replace(PUSHED, pushgateway=None))
    assert all("pull_secrets_" not in text for text in expressions(found))
    assert any("kube_cronjob_status_last_successful_time" in text for text in expressions(found))


@pytest.mark.parametrize("spec", SPECS)
def test_promtool_reads_every_query(spec: MonitoringSpec, tmp_path: Path) -> None:
    toolchain.ensure("promtool")
    texts = [text.replace("$registry", "app|web") for text in expressions(dashboard(spec))]
    rules = [{"record": f"panel:query:{index}", "expr": text} for index, text in enumerate(texts)]
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    promtool = toolchain.binary("promtool")
    done = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_config_map_is_one_that_the_sidecar_finds() -> None:
    made = dashboard_config_map(replace(PUSHED, dashboard_folder="Platform"))
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert made["metadata"]["annotations"] == {FOLDER_ANNOTATION: "Platform"}
    ((name, text),) = made["data"].items()
    assert name == "pull-secrets-test.json"
    assert json.loads(text) == dashboard(PUSHED)
    assert "annotations" not in dashboard_config_map(PUSHED)["metadata"]
