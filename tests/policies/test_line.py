"""The line that the packs draw, on the real engine: what is certain is refused, what is only said or hidden is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.policies.engine import POLICIES, Engine, Outcome
from tests.policies.fixtures import write_state

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "cases" / "packs.json").read_text())["cases"]
PACKS = ("cluster_pull_secret", "tenant_delivery", "workload_pull_secrets")
MENTIONS, UNJUDGED = "disallow-cluster-pull-secret-mentions", "disallow-unjudged-writers"

PROGRAM = [
    ("kubernetes:helm.sh/v3:Release", {"chart": "ingress", "version": "4.1.0", "namespace": "ingress"}),
    ("command:local:Command", {"create": "oc adm policy add-scc-to-user anyuid -z default -n team-a"}),
    (
        "kubernetes:machineconfiguration.openshift.io/v1:MachineConfig",
        {
            "metadata": {"name": "99-worker-warm-up"},
            "spec": {
                "config": {
                    "systemd": {
                        "units": [
                            {
                                "name": "warm-up.service",
                                "contents": "[Service]\nExecStart=/usr/bin/podman pull "
                                "--authfile /var/lib/kubelet/config.json registry.example.com/a:1\n",
                            }
                        ]
                    }
                }
            },
        },
    ),
]
"""What platform teams do every day."""


def resources(stack: str, token: str, inputs: Any) -> list[dict[str, Any]]:
    prefix = f"urn:pulumi:{stack}::project::"
    root = f"{prefix}pulumi:pulumi:Stack::project-{stack}"
    subject = {"urn": f"{prefix}{token}::subject", "type": token, "custom": True, "id": "subject", "parent": root}
    return [
        {"urn": root, "type": "pulumi:pulumi:Stack", "custom": False},
        {**subject, "inputs": inputs, "outputs": inputs},
    ]


def analyzed(engine: Engine, folder: Path, states: list[tuple[str, str, Any]], **levels: str) -> Outcome:
    state = write_state(folder / "state.json", [item for one in states for item in resources(*one)])
    settings = folder / "settings.json"
    settings.write_text(json.dumps(levels))
    packs = [POLICIES / pack for pack in PACKS]
    return engine.analyze(state, packs, [settings if pack.name == PACKS[0] else _none(folder) for pack in packs])


def _none(folder: Path) -> Path:
    file = folder / "none.json"
    file.write_text("{}")
    return file


@pytest.fixture(scope="module")
def outcome(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """All cases in one run, each in a stack of its own."""
    states = [(f"case-{number}", case["type"], case["inputs"]) for number, case in enumerate(CASES)]
    return analyzed(engine, tmp_path_factory.mktemp("cases"), states)


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: CASES[number]["name"])
def test_each_case_comes_out_as_it_says(number: int, outcome: Outcome) -> None:
    found = [violation for violation in outcome.violations if violation.stack == f"case-{number}"]
    if CASES[number]["wanted"] == "found":
        assert any(violation.pack == "cluster-pull-secret" for violation in found), outcome.output[-2000:]
    else:
        assert [violation.message for violation in found if violation.level == "mandatory"] == []


def test_a_program_of_every_day_gets_advice_and_no_refusal(engine: Engine, tmp_path: Path) -> None:
    outcome = analyzed(engine, tmp_path, [(f"day-{number}", *one) for number, one in enumerate(PROGRAM)])
    assert outcome.code == 0, outcome.output
    assert {violation.level for violation in outcome.violations} == {"advisory"}
    assert len(outcome.of(UNJUDGED)) == 2
    assert len(outcome.of(MENTIONS)) == 1


def test_who_wants_to_can_refuse_what_is_only_mentioned_or_hidden(engine: Engine, tmp_path: Path) -> None:
    levels = {MENTIONS: "mandatory", UNJUDGED: "mandatory"}
    outcome = analyzed(engine, tmp_path, [(f"day-{number}", *one) for number, one in enumerate(PROGRAM)], **levels)
    assert outcome.code != 0
    assert {violation.level for violation in outcome.violations} == {"mandatory"}
