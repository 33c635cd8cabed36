"""What stacks are made to do in the tests of the runner. A process imports this module, so it imports little."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path

from pullsecrets.errors import ConflictError, ExitCode, UnreachableError
from pullsecrets.fleet.stacks import FleetStack
from pullsecrets.fleet.worker import Done, Say, surviving_interrupts


def does_well(of: FleetStack, say: Say) -> Done:
    say("half way")
    return Done(summary=f"{of.name} done")


def finds_a_problem(_: FleetStack, __: Say) -> Done:
    return Done(ExitCode.PROBLEM, "drift")


def is_refused(_: FleetStack, __: Say) -> Done:
    raise ConflictError("somebody else wrote")


def is_unreachable(_: FleetStack, __: Say) -> Done:
    raise UnreachableError("no answer")


def breaks(_: FleetStack, __: Say) -> Done:
    raise KeyError("what a bug raises")


def dies(_: FleetStack, __: Say) -> Done:
    os._exit(7)


def hangs(_: FleetStack, say: Say) -> Done:
    say("waiting for the cluster")
    threading.Event().wait()
    return Done()


def hangs_whatever_it_is_told(_: FleetStack, __: Say) -> Done:
    with surviving_interrupts():
        threading.Event().wait()
    return Done()


def tells_its_variables(_: FleetStack, __: Say) -> Done:
    return Done(summary=os.environ.get("KUBECONFIG", "none"))


@dataclass(frozen=True)
class Meets:
    """Goes on once so many others are at work too, which they tell by files."""

    folder: Path
    others: int

    def __call__(self, of: FleetStack, _: Say) -> Done:
        (self.folder / of.name).touch()
        while len(list(self.folder.iterdir())) < self.others:
            os.sched_yield()
        return Done()
