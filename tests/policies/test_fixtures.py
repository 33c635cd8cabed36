"""Every policy has good and bad fixtures, and the real engine tells them apart with the registries of the sample."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pullsecrets.packs.catalog import PACKS
from pullsecrets.packs.crossguard import Pack
from tests.policies.engine import POLICIES, Engine, Outcome
from tests.policies.fixtures import Fixture, fixtures, write_state

CANARY = "canary-3f9b"
FOLDERS = {pack.name: pack.folder for pack in PACKS}
ALL = [fixture for folder in FOLDERS.values() for fixture in fixtures(folder)]
Runs = dict[tuple[str, bool], Outcome]


@pytest.fixture(scope="module")
def runs(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """One run per pack and verdict over all its fixtures, two at a time."""
    folder = tmp_path_factory.mktemp("states")
    wanted = [(pack, good) for pack in FOLDERS.values() for good in (True, False)]
    with ThreadPoolExecutor(max_workers=2) as pool:
        return dict(zip(wanted, pool.map(lambda one: _run(engine, folder, *one), wanted), strict=True))


def _run(engine: Engine, folder: Path, pack: str, good: bool) -> Outcome:
    resources = [item for fixture in fixtures(pack) if fixture.good is good for item in fixture.resources()]
    state = write_state(folder / f"{pack}-{good}.json", resources)
    return engine.analyze(state, [POLICIES / pack])


@pytest.mark.parametrize("pack", PACKS, ids=lambda pack: pack.name)
def test_every_policy_has_good_and_bad_fixtures(pack: Pack) -> None:
    found = {(fixture.policy, fixture.good) for fixture in fixtures(FOLDERS[pack.name])}
    assert found == {(policy.name, good) for policy in pack.policies for good in (True, False)}


@pytest.mark.parametrize("fixture", [item for item in ALL if not item.good], ids=lambda item: item.stack)
def test_a_bad_fixture_is_a_violation_that_names_the_fix(fixture: Fixture, runs: Runs) -> None:
    outcome = runs[fixture.pack, False]
    found = outcome.of(fixture.policy, fixture.stack)
    assert found, f"{fixture.stack} broke nothing; the engine said of it: {_said(outcome, fixture)}"
    assert {violation.level for violation in found} == {_level(fixture)}
    assert all("; " in violation.message for violation in found), "each message ends with the fix"


@pytest.mark.parametrize("fixture", [item for item in ALL if item.good], ids=lambda item: item.stack)
def test_a_good_fixture_breaks_no_policy_of_its_pack(fixture: Fixture, runs: Runs) -> None:
    assert _said(runs[fixture.pack, True], fixture) == []


@pytest.mark.parametrize("pack", FOLDERS.values())
def test_the_engine_fails_where_a_mandatory_policy_is_broken_and_only_there(pack: str, runs: Runs) -> None:
    advisory_only = pack == "stack_hygiene"
    assert runs[pack, True].code == 0
    assert runs[pack, False].code == (0 if advisory_only else 1)


def test_no_message_holds_a_value(runs: Runs) -> None:
    texts = [json.dumps(fixture.entries) for fixture in ALL]
    assert sum(CANARY in text for text in texts) > 30, "the fixtures hold canaries where values are"
    for outcome in runs.values():
        said = "".join(violation.message for violation in outcome.violations)
        assert CANARY not in said
        assert "Y2FuYXJ5" not in said


def test_workloads_are_put_right_where_their_only_fault_is_the_reference(runs: Runs) -> None:
    fixtures_of_references = [item for item in ALL if item.policy == "add-image-pull-secrets" and not item.good]
    put_right = {urn.removeprefix("urn:pulumi:").partition("::")[0] for urn in runs[_WORKLOADS, False].remediated}
    assert {fixture.stack for fixture in fixtures_of_references} <= put_right


_WORKLOADS = "workload_pull_secrets"


def _level(fixture: Fixture) -> str:
    pack = next(pack for pack in PACKS if FOLDERS[pack.name] == fixture.pack)
    policy = next(policy for policy in pack.policies if policy.name == fixture.policy)
    level = policy.enforcement_level.value if policy.enforcement_level else ""
    # What the remediation of a state file would change is reported, and the violation stays.
    return {"remediate": "mandatory"}.get(level, level)


def _said(outcome: Outcome, fixture: Fixture) -> list[str]:
    return [f"{found.policy}: {found.message}" for found in outcome.violations if found.stack == fixture.stack]
