"""What a fleet command notes: `--resume` leaves out what is done, unless it is another command or another file now."""

from pathlib import Path

import pytest

from pullsecrets.errors import BadInputError
from pullsecrets.fleet.journal import Journal
from pullsecrets.fleet.run import Result, State
from pullsecrets.fleet.stacks import FleetStack


@pytest.fixture
def stacks(tmp_path: Path) -> list[FleetStack]:
    found = [FleetStack(name, tmp_path / f"Pulumi.{name}.yaml", None) for name in ("a", "b")]
    for stack in found:
        stack.path.write_text("config: {}")
    return found


def results(b: State) -> dict[str, Result]:
    return {"a": Result("a", 1, state=State.DONE, summary="23 created"), "b": Result("b", 1, state=b)}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "build" / "fleet-up.json", "up")


def test_what_is_done_is_left_out(journal: Journal, stacks: list[FleetStack]) -> None:
    journal.write(stacks, results(State.FAILED))
    assert journal.done(stacks) == {"a": "23 created"}


def test_a_stack_whose_file_has_changed_since_is_not_done(journal: Journal, stacks: list[FleetStack]) -> None:
    journal.write(stacks, results(State.FAILED))
    stacks[0].path.write_text("config: {more: true}")
    assert journal.done(stacks) == {}


def test_a_run_that_came_to_its_end_leaves_nothing_to_resume(journal: Journal, stacks: list[FleetStack]) -> None:
    journal.write(stacks, results(State.FAILED))
    journal.write(stacks, results(State.DONE))
    assert not journal.file.exists()
    assert journal.done(stacks) == {}


def test_the_file_of_another_rotation_is_refused(journal: Journal, stacks: list[FleetStack]) -> None:
    journal.write(stacks, results(State.FAILED))
    with pytest.raises(BadInputError, match="this is `fleet rotate app 1234`"):
        Journal(journal.file, "rotate app 1234").done(stacks)


def test_a_file_that_is_none_of_ours_is_refused(journal: Journal, stacks: list[FleetStack]) -> None:
    journal.file.parent.mkdir()
    journal.file.write_text("no JSON")
    with pytest.raises(BadInputError, match="cannot be read"):
        journal.done(stacks)
