"""Lint of files: what is judged, where it is found, and in which forms it is told."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from pullsecrets.cli.app import app
from pullsecrets.config import parse
from pullsecrets.errors import BadInputError
from pullsecrets.manifests import render
from pullsecrets.policy import lint
from pullsecrets.policy.lint import reading
from pullsecrets.policy.lint.judging import POLICIES
from pullsecrets.policy.model import Level
from tests.components.program import stack_file
from tests.sample_registries import BY_POLICY

REPOSITORY = Path(__file__).parents[3]
CANARY = "canary-1c2d"

BAD = f"""\
# A comment, and a document that is not Kubernetes.
replicas: 3
---
apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: Namespace
    metadata:
      name: openshift-monitoring
      labels:
        team: a
        apps.platform/tenant: "true"
  - apiVersion: external-secrets.io/v1
    kind: ExternalSecret
    metadata: {{name: registry, namespace: openshift-config}}
    spec:
      target:
        name: pull-secret
---
apiVersion: v1
kind: Secret
metadata:
  name: registry
  namespace: team-a
stringData:
  .dockerconfigjson: {CANARY}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sample(folder: Path) -> list[str]:
    """Options by which the command knows the sample's registries."""
    file = folder.parent / "sample.json"
    file.write_text(json.dumps(BY_POLICY))
    return ["--policy-config", str(file)]


def linted(text: str, folder: Path, name: str = "a.yaml") -> list[lint.Violation]:
    (folder / name).write_text(text)
    return list(lint.lint([Path(name)], BY_POLICY).violations)


def shown(violations: list[lint.Violation]) -> list[tuple[str, int, int]]:
    return [(found.policy.name, found.line, found.column) for found in violations]


def test_each_violation_is_found_by_file_line_and_column(folder: Path) -> None:
    assert shown(linted(BAD, folder)) == [
        ("restrict-opt-in-labels", 13, 9),
        ("disallow-cluster-pull-secret-writes", 19, 9),
        ("disallow-inline-credentials", 26, 1),
    ]


def test_a_rendered_stack_has_nothing_to_report(folder: Path) -> None:
    for stack in ("dev", "prod"):
        config = parse(stack_file(stack), stack)
        files = render.render(config, stack)
        for path, text in files.items():
            (folder / stack / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / stack / path).write_text(text)
        report = lint.lint([Path(stack)], lint.settings_of(config))
        assert report.violations == ()
        assert report.objects >= len(config.resolve_tenants())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "just text",
        "- a\n- b\n",
        "key: value\n---\n- 1\n",
        "kind: [not, a, kind]\napiVersion: v1\n",
        "kind: Thing\n",
        "a: 2001-99-99\nb: =\n",
        "kind: Deployment\napiVersion: 3\nmetadata: 4\nspec: []\n",
        "apiVersion: v1\nkind: Secret\nmetadata: [1]\ndata: 7\n",
        "apiVersion: v1\nkind: List\nitems: {}\n",
        "\ufeffa: b\n",
    ],
)
def test_yaml_that_is_not_kubernetes_is_passed_over(text: str, folder: Path) -> None:
    assert [found for found in linted(text, folder) if found.level is Level.MANDATORY] == []


@given(st.text(max_size=120))
def test_any_text_is_survived(text: str) -> None:
    list(reading._objects("a.yaml", text))


fragments = st.sampled_from(
    [
        "apiVersion: v1\n",
        "kind: Secret\n",
        "metadata:\n",
        "  name: pull-secret\n",
        "- ",
        "{{ x }}\n",
        "&a ",
        "*a ",
        "<<: ",
    ]
)


@given(st.lists(fragments, max_size=12).map("".join))
def test_broken_manifests_are_survived(text: str) -> None:
    for found in reading._objects("a.yaml", text):
        if isinstance(found, reading.Manifest):
            line, column = found.position(("metadata", "name", 0))
            assert 1 <= line <= text.count("\n") + 1
            assert column >= 1


def test_a_template_is_reported_as_unread_and_what_stands_before_it_is_judged(folder: Path) -> None:
    violations = linted(BAD + "---\nkind: Deployment\n{{- if .Values.on }}\n", folder)
    assert shown(violations)[-1][0] == "report-unread-files"
    assert violations[-1].level is Level.MANDATORY
    assert len(violations) == 4
    (folder / "a.yaml").write_text("{{ x }}: y\n")
    assert lint.lint([Path("a.yaml")], BY_POLICY, lenient=True).mandatory == 0
    assert lint.lint([Path("a.yaml")], BY_POLICY).mandatory == 1


def test_a_binary_file_is_reported_as_unread(folder: Path) -> None:
    (folder / "a.yaml").write_bytes(b"PK\x03\x04\x00\x01kind")
    (violation,) = lint.lint([Path("a.yaml")], BY_POLICY).violations
    assert violation.policy is lint.UNREAD


def test_a_tag_that_is_not_yamls_own_hides_nothing(folder: Path) -> None:
    text = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: !a pull-secret\n  namespace: openshift-config\n"
    assert shown(linted(text, folder)) == [("disallow-cluster-pull-secret-writes", 4, 3)]


def test_a_secret_without_a_namespace_could_be_the_guarded_one(folder: Path) -> None:
    (violation,) = linted("apiVersion: v1\nkind: Secret\nmetadata:\n  name: pull-secret\n", folder)
    assert "could write" in violation.problem
    assert "state name and namespace" in violation.fix


def test_merged_keys_count_and_point_to_what_is_there(folder: Path) -> None:
    text = (
        "apiVersion: v1\nkind: Secret\nmetadata:\n  <<: &identity\n    name: pull-secret\n"
        "    namespace: openshift-config\n"
    )
    assert shown(linted(text, folder)) == [("disallow-cluster-pull-secret-writes", 5, 5)]


def test_a_kustomization_needs_no_kind(folder: Path) -> None:
    text = "patches:\n  - target:\n      kind: Secret\n      name: pull-secret\n    patch: '[]'\n"
    assert shown(linted(text, folder, "kustomization.yaml")) == [("disallow-cluster-pull-secret-mentions", 4, 7)]
    assert linted(text, folder, "other.yaml") == []


def test_a_store_without_egress_beside_it_is_advisory(folder: Path) -> None:
    store = (
        "apiVersion: external-secrets.io/v1\nkind: ClusterSecretStore\nmetadata: {name: vault}\nspec:\n"
        "  conditions: [{namespaceSelector: {matchLabels: {a: b}}}]\n  provider: {vault: {server: https://vault}}\n"
    )
    (violation,) = linted(store, folder)
    assert (violation.policy.name, violation.level) == ("require-complete-delivery", Level.ADVISORY)
    policy = (
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: external-secrets}\n"
        "spec: {podSelector: {}, policyTypes: [Egress], egress: [{}]}\n"
    )
    assert linted(store + policy, folder) == []
    assert linted(store, folder)
    elsewhere = {"require-complete-delivery": {"egress": False}}
    assert lint.lint([Path("a.yaml")], elsewhere).violations == ()


def test_folders_are_read_without_what_is_hidden_or_something_else(folder: Path) -> None:
    for name in ("b/secret.yml", "b/secret.json", ".git/secret.yaml", "b/.hidden/secret.yaml", "b/secret.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text('{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pull-secret"}}')
    report = lint.lint([Path()], BY_POLICY)
    assert [found.file for found in report.violations] == ["b/secret.json", "b/secret.yml"]


def test_a_path_that_names_nothing_is_bad_input(folder: Path) -> None:
    with pytest.raises(BadInputError, match=r"nowhere: no such file or folder; name what to lint"):
        lint.lint([folder / "nowhere"], BY_POLICY)


# Forms.


@pytest.fixture
def report(folder: Path) -> lint.Report:
    (folder / "bad file.yaml").write_text(BAD)
    (folder / "good.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n")
    (folder / "template.yaml").write_text("kind: Deployment\n{{ x }}\n")
    return lint.lint([Path()], BY_POLICY)


def test_text_gives_place_level_policy_and_fix(report: lint.Report) -> None:
    lines = lint.render(report, "text").splitlines()
    assert lines[0].startswith("bad file.yaml:13:9: mandatory restrict-opt-in-labels: Namespace openshift-monitoring ")
    assert lines[1].startswith("    fix: remove the label")
    assert lines[-1] == "4 mandatory, 0 advisory: 4 objects in 3 files"


def test_json_holds_every_violation(report: lint.Report) -> None:
    document = json.loads(lint.render(report, "json"))
    assert (document["files"], document["objects"], document["mandatory"]) == (3, 4, 4)
    assert {"policy", "level", "severity", "file", "line", "column", "problem", "fix", "url", "accepted"} == set(
        document["violations"][0]
    )


def test_sarif_refers_to_its_rules_and_places(report: lint.Report) -> None:
    document = json.loads(lint.render(report, "sarif"))
    assert document["version"] == "2.1.0"
    (run,) = document["runs"]
    listed = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in listed] == [policy.name for policy in POLICIES]
    assert [result["level"] for result in run["results"]] == ["error"] * 4
    assert {result["properties"]["severity"] for result in run["results"]} == {"critical", "high", "medium"}
    assert [result["rank"] for result in run["results"]] == [80.0, 95.0, 95.0, 50.0]
    for result in run["results"]:
        assert listed[result["ruleIndex"]]["id"] == result["ruleId"]
        (location,) = result["locations"]
        assert location["physicalLocation"]["region"]["startLine"] >= 1
    assert run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "bad%20file.yaml"


def test_junit_has_a_case_per_file_and_fails_those_with_mandatory_violations(report: lint.Report) -> None:
    suites = ET.fromstring(lint.render(report, "junit"))  # noqa: S314 - made here
    cases = {case.get("name"): case for case in suites.iter("testcase")}
    assert suites.get("tests") == "3"
    assert suites.get("failures") == "2"
    failure = cases["bad file.yaml"].find("failure")
    assert failure is not None
    assert failure.get("type") == "restrict-opt-in-labels"
    assert "disallow-inline-credentials" in str(failure.text)
    assert cases["good.yaml"].find("failure") is None
    assert cases["template.yaml"].find("failure") is not None


@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_junit_is_xml_whatever_a_name_holds(name: str) -> None:
    violation = lint.Violation(lint.UNREAD, Level.MANDATORY, "a", 1, 1, name, name)
    ET.fromstring(lint.render(lint.Report(("a",), 1, (violation,)), "junit"))  # noqa: S314 - made here


@pytest.mark.parametrize("form", lint.FORMATS)
def test_no_form_shows_a_value(report: lint.Report, form: str) -> None:
    assert CANARY not in lint.render(report, form)


# The command.

runner = CliRunner()


def test_the_command_exits_with_1_on_a_mandatory_violation_and_0_without(folder: Path) -> None:
    (folder / "bad.yaml").write_text(BAD)
    (folder / "good.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n")
    failed = runner.invoke(app, ["lint", "bad.yaml", "good.yaml", *sample(folder)])
    assert failed.exit_code == 1
    assert "bad.yaml:13:9: mandatory" in failed.stdout
    assert runner.invoke(app, ["lint", "good.yaml"]).exit_code == 0


def test_the_command_reads_standard_input() -> None:
    result = runner.invoke(app, ["lint", "-", "--format", "json"], input=BAD)
    assert result.exit_code == 1
    assert {found["file"] for found in json.loads(result.stdout)["violations"]} == {"standard input"}


def test_the_command_judges_by_a_stacks_registries(folder: Path) -> None:
    labels = "{apps.platform/registry-api-tanhdev: 'true'}"
    (folder / "a.yaml").write_text(f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: auth-dev, labels: {labels}}}\n")
    arguments = ["lint", "a.yaml", "--directory", str(REPOSITORY)]
    assert runner.invoke(app, arguments, env={"VAULT_ADDR": "https://vault.example.com"}).exit_code == 0
    assert runner.invoke(app, [*arguments, "--stack", "prod"]).exit_code == 1


# Settings.


def test_settings_of_a_stack_are_settings_that_the_file_takes(folder: Path) -> None:
    settings = lint.settings_of(parse(stack_file("prod"), "prod"))
    (folder / "settings.json").write_text(json.dumps(settings))
    assert lint.read_settings(folder / "settings.json") == settings
    assert "restrict-opt-in-labels" in settings


def test_a_stack_that_leaves_egress_to_others_says_so_to_the_packs() -> None:
    values = stack_file("prod")
    assert "egress" not in lint.settings_of(parse(values, "prod"))["require-complete-delivery"]
    vault = {key: value for key, value in values["vault"].items() if key != "egress"}
    without = parse({**values, "vault": vault}, "prod")
    assert lint.settings_of(without)["require-complete-delivery"]["egress"] is False


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON; allowed: an object"),
        ("[]", "found a list; allowed: an object"),
        ('{"restrict-labels": {}}', "restrict-labels: found no policy of that name; allowed: disallow-cluster"),
        ('{"restrict-opt-in-labels": "off"}', "found no level of that name; allowed: advisory, disabled"),
        ('{"restrict-opt-in-labels": {"regs": []}}', "regs: found an unknown setting; allowed: enforcementLevel, reg"),
    ],
)
def test_settings_that_mean_nothing_are_bad_input(content: str, message: str, folder: Path) -> None:
    (folder / "settings.json").write_text(content)
    with pytest.raises(BadInputError, match=message):
        lint.read_settings(folder / "settings.json")


def test_settings_from_the_file_are_applied(folder: Path) -> None:
    registries: list[dict[str, Any]] = [
        {"name": "a", "selector": {"a": "b"}, "namespaces": ["team-*"], "hosts": ["a.example.com"]}
    ]
    (folder / "settings.json").write_text(json.dumps({"restrict-opt-in-labels": {"registries": registries}}))
    (folder / "a.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: other, labels: {a: b}}\n")
    assert runner.invoke(app, ["lint", "a.yaml"]).exit_code == 0
    assert runner.invoke(app, ["lint", "a.yaml", "--policy-config", "settings.json"]).exit_code == 1


# Adopting it.

NAMESPACE = """\
apiVersion: v1
kind: Namespace
metadata:
  name: openshift-a
  labels: {apps.platform/tenant: "true"}
"""


def test_rules_can_be_chosen_and_given_levels(folder: Path) -> None:
    (folder / "a.yaml").write_text(BAD)
    assert runner.invoke(app, ["lint", "a.yaml", "--rule", "configure-safe-delivery"]).exit_code == 0
    assert runner.invoke(app, ["lint", "a.yaml", "--rule", "restrict-opt-in-labels", *sample(folder)]).exit_code == 1
    wrong = runner.invoke(app, ["lint", "a.yaml", "--rule", "restrict-labels"])
    assert isinstance(wrong.exception, BadInputError)
    levels: dict[str, Any] = {
        "restrict-opt-in-labels": {**BY_POLICY["restrict-opt-in-labels"], "enforcementLevel": "advisory"},
        "disallow-cluster-pull-secret-writes": "advisory",
    }
    (folder / "levels.json").write_text(json.dumps({**BY_POLICY, **levels, "disallow-inline-credentials": "disabled"}))
    result = runner.invoke(app, ["lint", "a.yaml", "--policy-config", "levels.json"])
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "0 mandatory, 2 advisory: 3 objects in 1 file"


def test_mentions_can_be_made_mandatory(folder: Path) -> None:
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": AUTH_FILE}}
    (folder / "a.yaml").write_text(json.dumps(item))
    assert runner.invoke(app, ["lint", "a.yaml"]).exit_code == 0
    (folder / "levels.json").write_text('{"disallow-cluster-pull-secret-mentions": "mandatory"}')
    assert runner.invoke(app, ["lint", "a.yaml", "--policy-config", "levels.json"]).exit_code == 1


AUTH_FILE = "/var/lib/kubelet/config.json"


@pytest.mark.parametrize(
    ("comment", "accepted"),
    [
        ("# pull-secrets: allow restrict-opt-in-labels moves in July\n", True),
        ("# pull-secrets: allow restrict-opt-in-labels\n", False),
        ("# pull-secrets: allow configure-safe-delivery moves in July\n", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("place", ["above", "beside", "inside"])
def test_a_comment_with_a_reason_allows_a_rule_to_be_broken(
    comment: str, accepted: bool, place: str, folder: Path
) -> None:
    text = {
        "above": comment + "---\n" + NAMESPACE,
        "beside": NAMESPACE.replace("metadata:\n", f"metadata: {comment or chr(10)}"),
        "inside": NAMESPACE.replace("metadata:\n", f"metadata:\n  {comment}"),
    }[place]
    (folder / "a.yaml").write_text(f"{NAMESPACE}---\n{text}---\n{NAMESPACE}")
    report = lint.lint([Path("a.yaml")], BY_POLICY)
    assert [bool(found.accepted) for found in report.violations] == [False, accepted, False]
    assert report.mandatory == 3 - accepted
    if accepted:
        (result,) = [
            one for one in json.loads(lint.render(report, "sarif"))["runs"][0]["results"] if "suppressions" in one
        ]
        assert result["suppressions"][0]["justification"] == "moves in July"


def test_a_baseline_is_written_once_and_compared_from_then_on(folder: Path) -> None:
    (folder / "a.yaml").write_text(BAD)
    arguments = ["lint", "a.yaml", "--baseline", "baseline.json", *sample(folder)]
    first = runner.invoke(app, arguments)
    assert first.exit_code == 0
    assert "baseline.json written with 3 violations" in first.stderr
    assert runner.invoke(app, arguments).stdout.endswith("0 mandatory, 0 advisory, 3 accepted: 3 objects in 1 file\n")
    (folder / "a.yaml").write_text("# moved down\n" + BAD + "---\n" + NAMESPACE)
    more = runner.invoke(app, arguments)
    assert more.exit_code == 1
    assert "1 mandatory, 0 advisory, 3 accepted" in more.stdout
    (folder / "a.yaml").write_text(NAMESPACE)
    fewer = runner.invoke(app, arguments)
    assert fewer.stdout.count("no longer there, remove it from the baseline: a.yaml: ") == 3
    assert len(json.loads(runner.invoke(app, [*arguments, "--format", "json"]).stdout)["noLongerThere"]) == 3
    assert CANARY not in (folder / "baseline.json").read_text()


@pytest.mark.parametrize("content", ["{", "[]", '{"violations": [{}]}', '{"violations": 3}'])
def test_a_file_that_is_no_baseline_is_bad_input(content: str, folder: Path) -> None:
    (folder / "a.yaml").write_text(NAMESPACE)
    (folder / "baseline.json").write_text(content)
    result = runner.invoke(app, ["lint", "a.yaml", "--baseline", "baseline.json"])
    assert isinstance(result.exception, BadInputError)
    assert "not a baseline" in str(result.exception)


def test_what_was_not_looked_at_is_said(folder: Path) -> None:
    (folder / "a").mkdir()
    (folder / "a" / "values.yaml.tpl").write_text("{{ x }}")
    (folder / "a" / ".hidden").mkdir()
    (folder / "a" / "link").symlink_to(folder)
    (folder / "a" / "kustomization.yaml").write_text("configMapGenerator: [{name: a}]\n")
    lines = lint.render(lint.lint([Path("a")], BY_POLICY), "text").splitlines()
    assert lines[-2] == (
        "not checked: 2 files or more behind hidden folders and links; 1 file with a name that ends in .tpl; "
        "what kustomizations generate or fetch (1)"
    )


def test_many_files_are_judged_in_parallel_to_the_same_report(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        (folder / f"{number:03}.yaml").write_text(
            BAD if number % 50 == 0 else NAMESPACE.replace("openshift-a", "apps-a")
        )
    alone = lint.lint([Path()], BY_POLICY)
    monkeypatch.setattr("pullsecrets.policy.lint.judging._SMALL", 0)
    parallel = lint.lint([Path()], BY_POLICY)
    assert parallel == alone
    assert parallel.mandatory == 18
