"""Stacks dev and prod, as the program declares them with monitoring, pass every policy with their own registries."""

import json
from typing import Any

import pytest

from pullsecrets.packs.pull_secrets import PACK
from tests.components.program import Declared, run_program, stack_file
from tests.components.test_monitoring import MONITORING
from tests.components.test_program import ENVIRONMENT
from tests.policies.engine import POLICIES, Engine, Outcome
from tests.policies.fixtures import write_state

STACKS = ("dev", "prod")


@pytest.fixture(scope="module")
def outcome(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Both stacks judged in one run by the pack of all policies."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        resources = [
            resource
            for stack in STACKS
            for resource in _state(run_program(_monitored(stack), ENVIRONMENT, monkeypatch, stack), stack)
        ]
    folder = tmp_path_factory.mktemp("stacks")
    state = write_state(folder / "state.json", resources)
    return engine.analyze(state, [POLICIES / PACK.folder])


def _monitored(stack: str) -> dict[str, Any]:
    return {**stack_file(stack), "monitoring": MONITORING}


def _state(declared: Declared, stack: str) -> list[dict[str, Any]]:
    """What the program registered, as the engine's state would hold it."""
    prefix = f"urn:pulumi:{stack}::pull-secrets::"
    root = {"urn": f"{prefix}pulumi:pulumi:Stack::pull-secrets-{stack}", "type": "pulumi:pulumi:Stack", "custom": False}
    providers = {f"{item.name}-id": declared.urns[f"{item.typ}::{item.name}"] for item in declared.resources}
    resources = [root]
    for item in declared.resources:
        inputs = json.loads(json.dumps(item.inputs, default=str))
        custom = not item.typ.startswith("pullsecrets:")
        urn = declared.urns[f"{item.typ}::{item.name}"]
        entry = {"urn": urn, "type": item.typ, "custom": custom, "inputs": inputs}
        if custom:
            entry |= {"id": f"{item.name}-id", "outputs": inputs}
        if item.provider:
            identifier = item.provider.rpartition("::")[2]
            entry["provider"] = f"{providers[identifier]}::{identifier}"
        resources.append(entry)
    return sorted(resources, key=lambda entry: not entry["type"].startswith("pulumi:"))


def test_no_mandatory_policy_is_broken(outcome: Outcome) -> None:
    assert [found for found in outcome.violations if found.level != "advisory"] == []
    assert outcome.code == 0, outcome.output


def test_no_default_provider_is_used_and_every_object_is_labelled(outcome: Outcome) -> None:
    assert outcome.of("require-explicit-providers") == []
    assert outcome.of("require-standard-labels") == []
