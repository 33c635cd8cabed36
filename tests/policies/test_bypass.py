"""A preview with the packs stops each way around them, names the policy and the fix, and shows no value."""

import shutil
import sys
from pathlib import Path

import pytest

from local import pulumi_home
from tests.policies.bypass.cases import CANARY, CASES, CHILDREN, MENTIONS, REMEDIATED, UNJUDGED, WRITES, Case
from tests.policies.engine import POLICIES, REPOSITORY, Engine, Outcome, Violation, environment

PROGRAM = Path(__file__).parent / "bypass"
PACKS = ("cluster_pull_secret", "tenant_delivery", "workload_pull_secrets")
PLUGINS = {"kubernetes": "4.34.2", "command": "1.0.2"}


@pytest.fixture(scope="module")
def preview(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One preview of the program with three packs; the providers are doubles, all else is real."""
    state = tmp_path_factory.mktemp("bypass")
    assembled = pulumi_home.assemble(state)
    for package, version in PLUGINS.items():
        _install_double(assembled.home, package, version)
    backend = state / "backend"
    backend.mkdir()
    variables = environment(assembled.home, assembled.shims, backend)
    variables["PULUMI_ENABLE_STREAMING_JSON_PREVIEW"] = "true"
    engine = Engine(variables, state)
    # In a copy, because a stack writes a file into its program's folder.
    program = Path(shutil.copytree(PROGRAM, state / "program"))
    assert engine.run("stack", "init", "dev", cwd=program).code == 0
    packs = engine.pack_options([POLICIES / pack for pack in PACKS])
    return engine.run("preview", "--stack", "dev", "--json", *packs, cwd=program)


def _install_double(home: Path, package: str, version: str) -> None:
    program = home / "plugins" / f"resource-{package}-v{version}" / f"pulumi-resource-{package}"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.unlink(missing_ok=True)
    double = REPOSITORY / "tests" / "policies" / "echo_provider.py"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P "{double}" {version} "$@"\n')
    program.chmod(0o755)


def _of(preview: Outcome, resource: str, policy: str) -> list[Violation]:
    return [found for found in preview.of(policy) if found.urn.endswith(f"::{resource}")]


def test_the_preview_fails(preview: Outcome) -> None:
    assert preview.code != 0, preview.output
    assert preview.violations, preview.output


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.resource)
def test_each_way_around_is_stopped_or_told_by_its_policy_with_the_fix(case: Case, preview: Outcome) -> None:
    found = _of(preview, case.resource, case.policy)
    assert found, preview.output
    assert {violation.level for violation in found} == {case.level}
    assert all("; " in violation.message for violation in found)


@pytest.mark.parametrize("child", CHILDREN)
def test_children_of_yaml_and_kustomize_are_stopped(child: str, preview: Outcome) -> None:
    assert _of(preview, child, WRITES), preview.output


def test_a_policy_that_refuses_does_so_for_unknown_values_too(preview: Outcome) -> None:
    levels = {found.policy: found.level for found in preview.violations}
    assert {policy for policy, level in levels.items() if level == "advisory"} == {MENTIONS, UNJUDGED}
    assert all(found.level == levels[found.policy] for found in preview.violations)


def test_a_workload_without_the_reference_gets_it_and_passes(preview: Outcome) -> None:
    assert any(urn.endswith(f"::{REMEDIATED.resource}") for urn in preview.remediated)
    assert _of(preview, REMEDIATED.resource, REMEDIATED.policy) == []


def test_no_message_shows_a_value(preview: Outcome) -> None:
    assert CANARY not in "".join(found.message for found in preview.violations)
