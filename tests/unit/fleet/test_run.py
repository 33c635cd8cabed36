"""A fleet is gone through in waves, several stacks at a time, each in a process of its own that its time limit ends."""

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pullsecrets.config import parse
from pullsecrets.errors import ExitCode
from pullsecrets.fleet.run import KILLED, Result, Run, Settings, State
from pullsecrets.fleet.stacks import FleetStack
from pullsecrets.fleet.worker import Work
from tests.components.program import stack_file
from tests.unit.fleet.works import (
    Meets,
    breaks,
    dies,
    does_well,
    finds_a_problem,
    hangs,
    hangs_whatever_it_is_told,
    is_refused,
    is_unreachable,
    tells_its_variables,
)

CONFIG = parse(stack_file("dev"), "dev")
SETTINGS = Settings(parallel=2, timeout=60, grace=60)


def stack(name: str, wave: int = 1) -> FleetStack:
    config = CONFIG.model_copy(update={"fleet": CONFIG.fleet.model_copy(update={"wave": wave})})
    return FleetStack(name, Path(f"Pulumi.{name}.yaml"), config)


def gone_through(
    work: Work | Mapping[str, Work],
    stacks: Sequence[FleetStack],
    settings: Settings = SETTINGS,
    on_change: Callable[[Result], None] = lambda _: None,
    environments: Mapping[str, Mapping[str, str]] | None = None,
) -> Run:
    def of(item: FleetStack) -> Work:
        return work.get(item.name, does_well) if isinstance(work, Mapping) else work

    run = Run(stacks, of, settings, environments or {}, on_change)
    run.go()
    return run


def states(run: Run) -> dict[str, State]:
    return {name: result.state for name, result in run.results.items()}


def test_each_stack_ends_with_what_its_work_says() -> None:
    said: list[str] = []
    run = gone_through(does_well, [stack("a"), stack("b")], on_change=lambda result: said.append(result.summary))
    assert [item.summary for item in run.results.values()] == ["a done", "b done"]
    assert run.exit_code == ExitCode.DONE
    assert "half way" in said


def test_so_many_work_at_a_time_as_are_wanted(tmp_path: Path) -> None:
    run = gone_through(Meets(tmp_path, 3), [stack("a"), stack("b"), stack("c")], replace(SETTINGS, parallel=3))
    assert run.exit_code == ExitCode.DONE


def test_a_process_has_the_variables_of_its_stack_and_no_others() -> None:
    run = gone_through(
        tells_its_variables,
        [stack("a"), stack("b")],
        environments={"a": {"KUBECONFIG": "/a", "PATH": ""}, "b": {"PATH": ""}},
    )
    assert [item.summary for item in run.results.values()] == ["/a", "none"]


def test_a_wave_in_which_a_stack_failed_is_the_last_one_and_is_gone_through() -> None:
    stacks = [stack("a"), stack("b", 2), stack("c", 2), stack("d", 3)]
    run = gone_through({"b": finds_a_problem}, stacks, replace(SETTINGS, parallel=1))
    assert states(run) == {"a": State.DONE, "b": State.FAILED, "c": State.DONE, "d": State.WAITING}
    assert run.exit_code == ExitCode.PROBLEM


def test_what_changes_nothing_goes_on_after_a_failure() -> None:
    run = gone_through({"a": finds_a_problem}, [stack("a"), stack("b", 2)], replace(SETTINGS, stops=False))
    assert states(run)["b"] == State.DONE


def test_a_file_that_does_not_parse_is_named_and_the_others_run() -> None:
    broken = FleetStack("broken", Path("Pulumi.broken.yaml"), None, "Pulumi.broken.yaml: not YAML")
    run = gone_through(does_well, [stack("a"), stack("b", 2), broken])
    assert states(run) == {"a": State.DONE, "b": State.DONE, "broken": State.FAILED}
    assert run.results["broken"].summary == "Pulumi.broken.yaml: not YAML"
    assert run.exit_code == ExitCode.BAD_INPUT


@pytest.mark.parametrize(
    ("work", "code", "summary"),
    [
        (is_refused, ExitCode.CONFLICT, "somebody else wrote"),
        (is_unreachable, ExitCode.UNREACHABLE, "no answer"),
        (dies, ExitCode.PROBLEM, "exit code 7"),
        (breaks, ExitCode.PROBLEM, "please report this"),
    ],
)
def test_a_failure_has_the_exit_code_of_the_command_for_one_stack(work: Work, code: ExitCode, summary: str) -> None:
    run = gone_through({"a": work}, [stack("a"), stack("b")])
    assert summary in run.results["a"].summary
    assert run.exit_code == code


def test_failures_of_different_kinds_are_a_problem() -> None:
    run = gone_through({"a": is_refused, "b": is_unreachable}, [stack("a"), stack("b")])
    assert run.exit_code == ExitCode.PROBLEM


def test_a_stack_that_hangs_costs_its_own_time_and_is_named() -> None:
    run = gone_through({"a": hangs}, [stack("a"), stack("b"), stack("c")], replace(SETTINGS, timeout=3))
    assert states(run) == {"a": State.TIMED_OUT, "b": State.DONE, "c": State.DONE}
    assert "not through after 3 s at: waiting for the cluster" in run.results["a"].summary
    assert run.exit_code == ExitCode.UNREACHABLE


def test_what_does_not_end_by_itself_is_killed() -> None:
    settings = replace(SETTINGS, timeout=3, grace=0.1)
    run = gone_through({"a": hangs_whatever_it_is_told}, [stack("a"), stack("b")], settings)
    assert states(run) == {"a": State.TIMED_OUT, "b": State.DONE}
    assert KILLED in run.results["a"].summary


def test_an_interrupt_ends_what_runs_and_begins_nothing_more() -> None:
    def interrupt(result: Result) -> None:
        if result.summary == "waiting for the cluster":
            signal.raise_signal(signal.SIGINT)

    run = gone_through(hangs, [stack("a"), stack("b", 2)], on_change=interrupt)
    assert states(run) == {"a": State.INTERRUPTED, "b": State.WAITING}
    assert run.exit_code == 130


def test_what_an_earlier_run_has_done_is_passed_over() -> None:
    run = Run([stack("a"), stack("b", 2)], lambda _: tells_its_variables, SETTINGS, {})
    run.pass_over({"a": "version 3 proved"})
    run.go()
    assert states(run) == {"a": State.BEFORE, "b": State.DONE}
    assert run.results["a"].summary == "version 3 proved"


def test_what_was_left_out_stops_no_wave() -> None:
    run = Run([stack("a"), stack("b", 2)], lambda _: does_well, SETTINGS, {})
    run.leave_out(Result("a", 1, state=State.FAILED, code=ExitCode.UNREACHABLE, summary="no answer"))
    run.go()
    assert states(run) == {"a": State.FAILED, "b": State.DONE}
    assert run.exit_code == ExitCode.UNREACHABLE
