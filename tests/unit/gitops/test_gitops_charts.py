"""Values of charts: which one has the list is read from the chart or from what is set, and never guessed."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from pullsecrets.config import Registry, StackConfig
from pullsecrets.config.gitops import GitOps
from pullsecrets.gitops import changes, migrate
from pullsecrets.gitops.discover import discover
from pullsecrets.gitops.repository import load
from pullsecrets.gitops.survey import survey
from tests.unit.gitops.layouts import HOST, SECRET, Layout, kustomization

IMAGE = f"image: {{repository: {HOST}/shop}}"
CHART = {"charts/shop/Chart.yaml": "name: shop\n", "charts/shop/values.yaml": f"{IMAGE}\nimagePullSecrets: []\n"}
WHOLE = (
    "spec:\n{{- with .Values.imagePullSecrets }}\n  imagePullSecrets:\n    {{- toYaml . | nindent 4 }}\n{{- end }}\n"
)
NAMES = "{{- range .Values.imagePullSecrets }}\n- name: {{ . }}\n{{- end }}\n"
TEMPLATE = "charts/shop/templates/deployment.yaml"


def flux(chart: str, values: str = "") -> str:
    head = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: shop}\n"
    return f"{head}spec:\n  chart:\n    spec:\n      chart: {chart}\n{values}"


def argo(source: str) -> str:
    return f"apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {{name: shop}}\nspec:\n  source:\n{source}"


ENTRY = [{"name": SECRET}]
REMOTE = {"r.yaml": flux("shop", f"  values:\n    {IMAGE}\n")}
OBJECT = f"    chart: shop\n    helm:\n      valuesObject:\n        {IMAGE}\n"


@pytest.mark.parametrize(
    ("files", "file", "value"),
    [
        ({**CHART, TEMPLATE: WHOLE, "r.yaml": flux("./charts/shop")}, "r.yaml", {"imagePullSecrets": ENTRY}),
        ({**CHART, TEMPLATE: NAMES, "r.yaml": flux("./charts/shop")}, "r.yaml", {"imagePullSecrets": [SECRET]}),
        (
            {"r.yaml": flux("shop", f"  values:\n    {IMAGE}\n    imagePullSecrets: [{{name: other}}]\n")},
            "r.yaml",
            {"image": {"repository": f"{HOST}/shop"}, "imagePullSecrets": [{"name": "other"}, *ENTRY]},
        ),
        (
            {"r.yaml": flux("shop", f"  values:\n    global:\n      {IMAGE}\n      imagePullSecrets: [other]\n")},
            "r.yaml",
            {"global": {"image": {"repository": f"{HOST}/shop"}, "imagePullSecrets": ["other", SECRET]}},
        ),
        (
            {"r.yaml": argo(f"{OBJECT}        imagePullSecrets:\n          - name: other\n")},
            "r.yaml",
            {"image": {"repository": f"{HOST}/shop"}, "imagePullSecrets": [{"name": "other"}, *ENTRY]},
        ),
        (
            {
                **CHART,
                TEMPLATE: WHOLE,
                "r.yaml": argo("    path: charts/shop\n    helm:\n      valueFiles: [prod.yaml]\n"),
                "charts/shop/prod.yaml": "replicas: 2 # two\n",
            },
            "charts/shop/prod.yaml",
            {"replicas": 2, "imagePullSecrets": ENTRY},
        ),
    ],
)  # fmt: skip
def test_the_value_is_written_where_the_chart_is_used(
    tmp_path: Path, config: StackConfig, registry: Registry, files: Mapping[str, str], file: str, value: object
) -> None:
    Layout({**files, "kustomization.yaml": kustomization("r.yaml")}, ()).write(tmp_path)
    before = survey(load(tmp_path, GitOps()))
    (gap,) = (gap for gap in discover(before, config, [registry]).gaps if gap.kind == "chart-value")
    assert gap.fix.endswith("by hand or with `pull-secrets gitops migrate --charts`")
    assert migrate.plan(before, registry).edits == ()
    planned = migrate.plan(before, registry, charts=True)
    changes.apply(tmp_path, planned.edits)
    written = yaml.safe_load((tmp_path / file).read_text())
    spec = written.get("spec", {})
    assert value in (written, spec.get("values"), spec.get("source", {}).get("helm", {}).get("valuesObject"))
    assert migrate.plan(survey(load(tmp_path, GitOps())), registry, charts=True).edits == ()


@pytest.mark.parametrize(
    ("files", "charts", "reason"),
    [
        (REMOTE, {}, "none of the usual ones"),
        (REMOTE, {"shop": "pods.pull"}, "how the items of pods.pull"),
        ({**CHART, "r.yaml": flux("./charts/shop")}, {}, "how the items of imagePullSecrets"),
        (
            {"r.yaml": argo(f"    chart: shop\n    helm:\n      values: |\n        {IMAGE}\n")},
            {},
            "none of the usual ones",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_left_with_what_would_tell_it(
    tmp_path: Path, registry: Registry, files: Mapping[str, str], charts: Mapping[str, str], reason: str
) -> None:
    Layout(files, ()).write(tmp_path)
    settings = GitOps(charts=dict(charts))
    planned = migrate.plan(survey(load(tmp_path, settings)), registry, charts=True)
    (left,) = planned.left
    assert (planned.edits, reason in left.reason) == ((), True), left.reason
