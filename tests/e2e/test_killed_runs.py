"""A run killed with SIGKILL converges on a plain rerun, without prompts, orphans or leftovers of its processes."""

import random
from collections.abc import Iterator

import psutil
import pytest

from local.bench import kill_after, measure
from local.controlplane.waiting import NotYet, until
from tests.e2e.stack import ADOPTED, OTHERS_ENTRY, RUN_FOR, STACK, Stack, namespace

pytestmark = pytest.mark.controlplane


def processes(stack: Stack) -> list[str]:
    """Command lines of the processes that work for the stack."""
    found: list[str] = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(RUN_FOR) == stack.name:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            # It ended meanwhile, or is not ours to look at.
            continue
    return found


@pytest.fixture(autouse=True)
def own_interpreters(stack: Stack) -> Iterator[None]:
    with stack.own_interpreters():
        yield


@pytest.mark.timeout(600)
def test_killed_at_random_points(deployed: Stack) -> None:
    deployed.pulumi("destroy", "--yes", "--skip-preview")
    command = deployed.workspace.command("--non-interactive", "up", "--yes", "--skip-preview", "--stack", STACK)
    whole = measure(command, deployed.workspace).seconds
    # One in each half; `make bench` kills twenty.
    for part in range(2):
        deployed.pulumi("destroy", "--yes", "--skip-preview")
        moment = whole * (part + random.random()) / 2  # noqa: S311 - when to kill is no secret
        kill_after(deployed.workspace, STACK, moment)

        def nothing_runs() -> None:
            if found := processes(deployed):
                raise NotYet(f"{found} still run")

        until(nothing_runs, 60, f"processes of the run killed at {moment:.1f} s")
        deployed.up()
        deployed.audit("--wait", "60")
        deployed.pulumi("preview", "--refresh", "--expect-no-changes")
        assert deployed.entries(ADOPTED) == [OTHERS_ENTRY, "e2e-app", "e2e-web"]


@pytest.mark.timeout(600)
def test_a_killed_destroy_is_finished_by_another(deployed: Stack) -> None:
    def begun() -> None:
        if deployed.entries(ADOPTED) != [OTHERS_ENTRY]:
            raise NotYet("its ServiceAccount is bound")

    deployed.kill_when(begun, "destroy")
    deployed.configure()
    deployed.pulumi("destroy", "--yes", "--skip-preview")
    assert deployed.entries(ADOPTED) == [OTHERS_ENTRY]
    deployed.gone(namespace("e2e-auth-dev"))
