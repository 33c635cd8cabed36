"""Settings reach the rules through the engine, and the analyzer fails closed and shows no value."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pulumi
import pytest
from google.protobuf import struct_pb2
from pulumi.runtime.proto import analyzer_pb2
from pulumi_policy import Secret
from pulumi_policy.deserialize import SPECIAL_SIG_KEY, serialize_properties
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE

from pullsecrets.config import parse
from pullsecrets.data import UNKNOWN
from pullsecrets.packs.analyzer import Analyzer
from pullsecrets.packs.catalog import PACKS
from pullsecrets.packs.crossguard import Pack, ResourcePolicy, StackPolicy
from pullsecrets.policy.lint import settings_of
from pullsecrets.policy.model import Finding, Level, PolicyInfo, Resource, Severity, is_object
from tests.components.program import stack_file
from tests.policies.engine import POLICIES, Engine
from tests.policies.fixtures import write_state

INFO = PolicyInfo("do-this", "Title", "Description.", Level.MANDATORY, Severity.LOW, "Fix.", "https://example.com", ())


SECRET = "kubernetes:core/v1:Secret"
URN = f"urn:pulumi:dev::project::{SECRET}::subject"


def request(props: Mapping[str, Any], token: str = SECRET) -> Any:
    """What the engine sends of a resource."""
    return analyzer_pb2.AnalyzeRequest(type=token, name="subject", urn=URN, properties=struct(props))


def struct(values: Mapping[str, Any]) -> struct_pb2.Struct:
    made = struct_pb2.Struct()
    made.update(dict(values))
    return made


def analyzer(*policies: Any) -> Analyzer:
    return Analyzer(Pack("pack", "Pack", "Description.", policies))


def seen(props: Mapping[str, Any]) -> Resource:
    """The resource that a rule gets to judge."""
    resources: list[Resource] = []
    analyzer(ResourcePolicy(INFO, lambda resource, _settings: resources.append(resource) or ())).Analyze(
        request(props), None
    )
    (resource,) = resources
    return resource


def test_unknown_values_become_unknown_and_raise_nothing() -> None:
    props = seen({"metadata": {"name": UNKNOWN_STRING_VALUE}, "items": [UNKNOWN_STRING_VALUE, 1]}).props
    assert props == {"metadata": {"name": UNKNOWN}, "items": [UNKNOWN, 1]}


def test_the_text_of_an_asset_is_judged_and_a_file_is_unknown() -> None:
    assets = {"a": pulumi.StringAsset("text"), "b": pulumi.FileAsset("values.yaml")}
    assert seen(serialize_properties(assets)).props == {"a": "text", "b": UNKNOWN}


def test_a_secret_is_judged_by_its_value() -> None:
    assert seen(serialize_properties({"a": Secret("text")})).props == {"a": "text"}


def test_a_rule_that_breaks_is_a_violation_that_shows_nothing() -> None:
    def rule(resource: Resource, _settings: Any) -> Iterator[Finding]:
        raise KeyError(resource.props["password"])

    answer = analyzer(ResourcePolicy(INFO, rule)).Analyze(request({"password": "canary"}), None)
    (violation,) = answer.diagnostics
    assert "could not judge this (KeyError)" in violation.message
    assert "canary" not in violation.message
    assert violation.enforcementLevel == analyzer_pb2.MANDATORY


def test_a_resource_is_not_read_where_its_type_concerns_no_policy() -> None:
    # What cannot be read would fail.
    unreadable = request({"a": {SPECIAL_SIG_KEY: "of a kind that nobody knows"}}, "random:index:RandomPet")
    judge = analyzer(ResourcePolicy(INFO, lambda _resource, _settings: [Finding("problem", "fix")], concerns=is_object))
    assert not judge.Analyze(unreadable, None).diagnostics
    assert [found.message for found in judge.Analyze(request({}), None).diagnostics] == ["Description.\nproblem; fix"]


def test_a_stack_policys_violation_is_put_on_its_resource() -> None:
    def rule(resources: Iterable[Resource], _settings: Any) -> Iterator[Finding]:
        yield from (Finding("problem", "fix", urn=resource.urn) for resource in resources)

    stack = analyzer_pb2.AnalyzeStackRequest(
        resources=[analyzer_pb2.AnalyzerResource(type=SECRET, name="subject", urn=URN)]
    )
    (violation,) = analyzer(StackPolicy(INFO, rule)).AnalyzeStack(stack, None).diagnostics
    assert (violation.message, violation.urn) == ("Description.\nproblem; fix", URN)


def remedied(remedy: Any) -> Any:
    info = replace(INFO, level=Level.REMEDIATE)
    policy = ResourcePolicy(info, lambda _resource, _settings: [Finding("problem", "fix")], remedy)
    props = serialize_properties({"password": Secret("canary"), "names": ["a"]})
    judge = analyzer(policy)
    assert judge.Analyze(request(props), None).diagnostics[0].enforcementLevel == analyzer_pb2.MANDATORY
    return judge.Remediate(request(props), None)


def test_what_a_remedy_leaves_alone_stays_secret() -> None:
    def remedy(_resource: Resource, _settings: Any, props: Any) -> bool:
        props["names"] = [*props["names"], "b"]
        return True

    (done,) = remedied(remedy).remediations
    assert done.properties == struct(serialize_properties({"password": Secret("canary"), "names": ["a", "b"]}))


def test_a_remedy_that_finds_nothing_or_breaks_changes_nothing() -> None:
    def broken(_resource: Resource, _settings: Any, props: Any) -> bool:
        raise KeyError(props["password"])

    assert not remedied(lambda *_: False).remediations
    assert not remedied(broken).remediations


def test_every_policy_states_all_its_metadata() -> None:
    for pack in PACKS:
        for policy in pack.policies:
            assert policy.name.split("-")[0] in {"add", "configure", "disallow", "protect", "require", "restrict"}
            assert policy.description.endswith(".")
            assert policy.severity
            assert policy.enforcement_level
            assert policy.remediation_steps
            assert policy.display_name
            assert (policy.url or "").startswith("https://")


def test_no_policy_is_named_twice() -> None:
    names = [policy.name for pack in PACKS for policy in pack.policies]
    assert len(names) == len(set(names))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    urn = "urn:pulumi:other::shop::"
    root = {"urn": f"{urn}pulumi:pulumi:Stack::shop-other", "type": "pulumi:pulumi:Stack", "custom": False}
    inputs = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "shop-dev", "labels": {"example.com/registry": "yes"}},
    }
    token = "kubernetes:core/v1:Namespace"
    namespace = {"urn": f"{urn}{token}::shop", "type": token, "custom": True, "id": "shop-dev", "inputs": inputs}
    return write_state(tmp_path / "state.json", [root, namespace])


def settings_file(folder: Path, patterns: list[str]) -> Path:
    registry = {
        "name": "registry",
        "selector": {"example.com/registry": "yes"},
        "namespaces": patterns,
        "hosts": ["registry.example.com"],
    }
    file = folder / "settings.json"
    file.write_text(json.dumps({"restrict-opt-in-labels": {"registries": [registry]}}))
    return file


@pytest.mark.parametrize(("patterns", "code"), [(["shop-prod"], 1), (["shop-*"], 0)])
def test_settings_change_what_is_allowed(
    engine: Engine, state: Path, tmp_path: Path, patterns: list[str], code: int
) -> None:
    outcome = engine.analyze(state, [POLICIES / "tenant_delivery"], [settings_file(tmp_path, patterns)])
    assert outcome.code == code, outcome.output


def test_settings_that_break_the_schema_are_refused(engine: Engine, state: Path, tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"restrict-opt-in-labels": {"registries": [{"nmae": "registry"}]}}))
    outcome = engine.analyze(state, [POLICIES / "tenant_delivery"], [file])
    assert outcome.code != 0
    assert "registries" in outcome.output


def test_a_stacks_registries_are_settings_that_the_engine_takes(engine: Engine, state: Path, tmp_path: Path) -> None:
    config = parse(stack_file("prod"), "prod")
    settings = settings_of(config)
    tenant_delivery = next(pack for pack in PACKS if pack.name == "tenant-delivery")
    names = {policy.name for policy in tenant_delivery.policies}
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({name: given for name, given in settings.items() if name in names}))
    assert engine.analyze(state, [POLICIES / "tenant_delivery"], [file]).code == 0
