"""Settings reach the rules through the engine, and the adapter fails closed and shows no value."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, unknown_checking_proxy

from pullsecrets.config import parse
from pullsecrets.data import UNKNOWN
from pullsecrets.packs.catalog import PACKS
from pullsecrets.packs.crossguard import plain, resource_policy, stack_policy
from pullsecrets.policy.lint import settings_of
from pullsecrets.policy.model import Finding, Level, PolicyInfo, Resource, Severity
from tests.components.program import stack_file
from tests.policies.engine import POLICIES, Engine
from tests.policies.fixtures import write_state

INFO = PolicyInfo("do-this", "Title", "Description.", Level.MANDATORY, Severity.LOW, "Fix.", "https://example.com", ())


class Options:
    """The options that the SDK hands a policy."""

    protect = True
    delete_before_replace = None


class Arguments:
    """What the SDK hands a resource policy."""

    resource_type = "kubernetes:core/v1:Secret"
    name = "subject"
    urn = "urn:pulumi:dev::project::kubernetes:core/v1:Secret::subject"
    opts = Options()
    provider = None

    def __init__(self, props: dict[str, Any]) -> None:
        self.props = unknown_checking_proxy(props)
        self.resources = [self]

    def get_config(self) -> dict[str, Any]:
        return {}


def validated(policy: Any, props: dict[str, Any]) -> list[tuple[str, str | None]]:
    reported: list[tuple[str, str | None]] = []
    policy.validate(Arguments(props), lambda message, urn=None: reported.append((message, urn)))
    return reported


def test_unknown_values_become_unknown_and_raise_nothing() -> None:
    props = unknown_checking_proxy({"metadata": {"name": UNKNOWN_STRING_VALUE}, "items": [UNKNOWN_STRING_VALUE, 1.0]})
    assert plain(props) == {"metadata": {"name": UNKNOWN}, "items": [UNKNOWN, 1.0]}


def test_the_text_of_an_asset_is_judged_and_a_file_is_unknown() -> None:
    assert plain({"a": pulumi.StringAsset("text"), "b": pulumi.FileAsset("values.yaml")}) == {"a": "text", "b": UNKNOWN}


def test_a_rule_that_breaks_is_a_violation_that_shows_nothing() -> None:
    def rule(resource: Resource, _settings: Any) -> Iterator[Finding]:
        raise KeyError(resource.props["password"])

    ((message, _),) = validated(resource_policy(INFO, rule), {"password": "canary"})
    assert "could not judge this (KeyError)" in message
    assert "canary" not in message


def test_a_stack_policys_violation_is_put_on_its_resource() -> None:
    finding = Finding("problem", "fix", urn=Arguments.urn)
    assert validated(stack_policy(INFO, lambda _resources, _settings: [finding]), {}) == [
        ("problem; fix", Arguments.urn)
    ]


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
