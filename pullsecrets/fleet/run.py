"""Runs work over the stacks of a fleet: in waves, several at a time, each with its time limit, and resumed."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from multiprocessing.connection import Connection
from typing import Any

from pullsecrets.errors import ExitCode
from pullsecrets.fleet.stacks import FleetStack
from pullsecrets.fleet.worker import Done, Said, Work, Worker, first_of

INTERRUPTED = 130
"""Exit code of what was ended by Ctrl-C or SIGTERM, as shells have it."""

KILLED = "it was killed, because it did not end by itself; see whether it left a lock (`pulumi cancel --stack NAME`)"
"""What is said of a stack that had to be killed."""


class State(StrEnum):
    """Where a stack is."""

    WAITING = "not begun"
    RUNNING = "running"
    DONE = "done"
    BEFORE = "done before"
    FAILED = "failed"
    TIMED_OUT = "out of time"
    INTERRUPTED = "interrupted"


GOOD = frozenset({State.DONE, State.BEFORE})


@dataclass
class Result:
    """What became of one stack."""

    stack: str
    wave: int
    cluster: str = ""
    state: State = State.WAITING
    code: ExitCode | None = None
    """Its exit code; None where it did not come to an end."""
    summary: str = ""
    problems: tuple[str, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Whether nothing has to be looked at."""
        return self.state in GOOD


@dataclass(frozen=True)
class Settings:
    """How a fleet is gone through."""

    parallel: int = 4
    timeout: float = 1800
    """Seconds for each stack."""
    grace: float = 20
    """Seconds for a stack that is out of time, or interrupted, to end by itself."""
    stops: bool = True
    """Whether a wave in which a stack failed is the last one."""


OnChange = Callable[[Result], None]
WorkOf = Callable[[FleetStack], Work]
Environments = Mapping[str, Mapping[str, str]]


class Run:
    """One run of a command over a fleet; what is known of each stack can be read at any time."""

    def __init__(
        self,
        stacks: Sequence[FleetStack],
        work_of: WorkOf,
        settings: Settings,
        environments: Environments,
        on_change: OnChange = lambda _: None,
    ) -> None:
        """Prepare; nothing is started.

        Args:
            stacks: those that were selected. One whose file does not parse fails at once and keeps no wave from
                following: nobody knows which one is its own.
            work_of: what is done with a stack.
            settings: see `Settings`.
            environments: by stack, the variables of its process.
            on_change: called with each step of a stack.
        """
        self._stacks = stacks
        self._work_of = work_of
        self._settings = settings
        self._environments = environments
        self._on_change = on_change
        self._running: dict[Connection, _Running] = {}
        self.results = {stack.name: Result(stack.name, stack.wave, stack.cluster) for stack in stacks}
        self.interrupted = False

    def pass_over(self, done: Mapping[str, str]) -> None:
        """Leave out the stacks that an earlier run has done, with what it said of them."""
        for name in done.keys() & self.results.keys():
            self.results[name].state, self.results[name].summary = State.BEFORE, done[name]

    def leave_out(self, found: Result) -> None:
        """Leave out a stack that failed a check; the waves go on without it."""
        self.results[found.stack] = found

    def go(self) -> None:
        """Go through the waves in their order. After Ctrl-C or SIGTERM what runs is ended and nothing more is begun."""
        for stack in self._stacks:
            if stack.problem:
                self._set(self.results[stack.name], State.FAILED, Done(ExitCode.BAD_INPUT, stack.problem))
        try:
            for _, wave in groupby((stack for stack in self._stacks if not stack.problem), lambda stack: stack.wave):
                stacks = [stack for stack in wave if self.results[stack.name].state is State.WAITING]
                self._go_through(deque(stacks))
                if self._settings.stops and not all(self.results[stack.name].good for stack in stacks):
                    break
        except KeyboardInterrupt:
            self.interrupted = True
            self._interrupt_all()
        finally:
            for item in self._running.values():
                item.worker.end()

    @property
    def exit_code(self) -> int:
        """What the command exits with: what all that failed have in common, and 1 where they have nothing."""
        if self.interrupted:
            return INTERRUPTED
        codes = {item.code or ExitCode.PROBLEM for item in self.results.values() if not item.good}
        # What was not begun follows from what failed.
        failed = {item.code or ExitCode.PROBLEM for item in self.failed()} or codes
        return int(failed.pop() if len(failed) == 1 else ExitCode.PROBLEM if failed else ExitCode.DONE)

    def failed(self) -> Iterator[Result]:
        """Yield the stacks that were begun and did not end well, or could not be begun."""
        return (item for item in self.results.values() if not item.good and item.state is not State.WAITING)

    def _go_through(self, pending: deque[FleetStack]) -> None:
        while pending or self._running:
            while pending and len(self._running) < self._settings.parallel:
                self._start(pending.popleft())
            self._listen(min(item.deadline for item in self._running.values()))

    def _start(self, stack: FleetStack) -> None:
        result = self.results[stack.name]
        worker = Worker(self._work_of(stack), stack, self._environments.get(stack.name, {}))
        began = time.monotonic()
        self._running[worker.messages] = _Running(
            worker, worker.messages, result, began, began + self._settings.timeout
        )
        result.state = State.RUNNING
        self._on_change(result)

    def _listen(self, until: float) -> None:
        """Take what the workers say until one says something or is out of time."""
        for messages in first_of(self._running, until - time.monotonic()):
            self._take(messages)
        now = time.monotonic()
        for item in [item for item in self._running.values() if item.deadline <= now]:
            self._out_of_time(item)

    def _take(self, messages: Connection) -> None:
        item = self._running[messages]
        match item.worker.receive():
            case Said(text):
                item.result.summary = text
                self._on_change(item.result)
            case Done() as done:
                self._finish(item, item.state or (State.FAILED if done.code else State.DONE), done)

    def _out_of_time(self, item: "_Running") -> None:
        if item.state is None:
            item.state = State.TIMED_OUT
            item.last_words = item.result.summary
            item.deadline += self._settings.grace
            item.worker.interrupt()
        else:
            item.worker.end()
            self._forget(item, item.state, Done(ExitCode.PROBLEM, KILLED))

    def _finish(self, item: "_Running", state: State, done: Done) -> None:
        item.worker.finish()
        self._forget(item, state, done)

    def _forget(self, item: "_Running", state: State, done: Done) -> None:
        del self._running[item.messages]
        item.result.seconds = time.monotonic() - item.began
        if state is State.TIMED_OUT:
            where = f" at: {item.last_words}" if item.last_words else ""
            ended = "" if done.summary == "interrupted" else f"; {done.summary}"
            text = f"not through after {self._settings.timeout:g} s{where}{ended}; raise --timeout or see what hangs"
            done = Done(ExitCode.UNREACHABLE, text, done.problems, done.detail)
        self._set(item.result, state, done)

    def _set(self, result: Result, state: State, done: Done) -> None:
        result.state, result.code, result.summary = state, done.code, done.summary
        result.problems, result.detail = done.problems, done.detail
        self._on_change(result)

    def _interrupt_all(self) -> None:
        """Have all that runs end by itself, and wait for it; a second Ctrl-C ends it at once."""
        deadline = time.monotonic() + self._settings.grace
        for item in self._running.values():
            item.state, item.deadline = State.INTERRUPTED, deadline
            item.worker.interrupt()
        while self._running:
            self._listen(deadline)


@dataclass
class _Running:
    """A stack that is being worked on."""

    worker: Worker
    messages: Connection
    result: Result
    began: float
    deadline: float
    state: State | None = None
    """What it ends as, whatever it says; None while that is for it to say."""
    last_words: str = ""


def counts(results: Iterable[Result]) -> dict[State, int]:
    """Return how many stacks are in which state, of those states that one is in."""
    found = [item.state for item in results]
    return {state: found.count(state) for state in State if state in found}
