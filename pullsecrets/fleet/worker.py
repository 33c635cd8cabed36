"""One stack's work in a process of its own, which can be ended whatever it waits for.

A process has its own environment, folder and signals. KUBECONFIG, VAULT_ADDR and the tokens of one stack are therefore
never those of another, and a cluster that does not answer can hold up nothing but the process that asked it.
"""

import os
import signal
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from threading import Thread
from types import FrameType
from typing import Any, NoReturn

from pullsecrets import redaction
from pullsecrets.errors import ExitCode, PullSecretsError
from pullsecrets.fleet.stacks import FleetStack

# A process that is forked off a busy one inherits locks that nobody lets go of; off the fork server it does not, and
# starts in the time of a fork. Elsewhere than on Linux forking is not safe at all (docs.python.org, multiprocessing).
_CONTEXT = get_context("forkserver" if sys.platform == "linux" else "spawn")
_PRELOADED = ["pullsecrets.fleet.actions"]
"""What the fork server imports once for all: the work, with everything that it stands on."""

_LAST_MOMENT = 5.0
"""Seconds for a process to end that has said its last word."""


@dataclass(frozen=True)
class Done:
    """How the work on a stack ended."""

    code: ExitCode = ExitCode.DONE
    summary: str = ""
    """One line for the table."""
    problems: tuple[str, ...] = ()
    """What a person has to look at, a line each."""
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The same as the command for a single stack prints with `--json`."""


Say = Callable[[str], None]
Work = Callable[[FleetStack, Say], Done]
"""What is done with one stack, in a process of its own: it and all that it holds can be pickled."""


@dataclass(frozen=True)
class Said:
    """A step of the work, for the live table."""

    text: str


class Worker:
    """The process of one stack."""

    def __init__(self, work: Work, stack: FleetStack, environment: Mapping[str, str]) -> None:
        """Start it."""
        _CONTEXT.set_forkserver_preload(_PRELOADED)
        self.messages, sink = _CONTEXT.Pipe(duplex=False)
        # Through a pipe: what the work holds, a credential too, stands in no argument list and in no file.
        self._process = _CONTEXT.Process(target=_run, args=(work, stack, dict(environment), sink), daemon=True)
        self._process.start()
        sink.close()

    def receive(self) -> Said | Done:
        """Return its next message, once there is one; a process that ended without its last word is a problem."""
        try:
            message: Said | Done = self.messages.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            return Done(ExitCode.PROBLEM, f"its process ended without a result (exit code {code}); out of memory?")
        return message

    def interrupt(self) -> None:
        """Have it end as Ctrl-C does: what it made is removed, Pulumi ends its run and unlocks the stack."""
        self._signal(signal.SIGINT)

    def finish(self) -> None:
        """Take back what it occupied, once it has said its last word."""
        # It gives a Vault token back.
        self._process.join(_LAST_MOMENT)
        self.end()

    def end(self) -> None:
        """End it now, with everything that it started."""
        self._signal(signal.SIGKILL)
        self._process.join()
        self._process.close()
        self.messages.close()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            try:
                os.killpg(self._process.pid or 0, number)
            except ProcessLookupError:
                # It has not come so far as to lead a group.
                os.kill(self._process.pid or 0, number)


def first_of(workers: Mapping[Connection, object], seconds: float) -> list[Connection]:
    """Wait until one of the workers says something, at most so long; return those that do."""
    return [item for item in connection.wait(list(workers), max(seconds, 0.0)) if isinstance(item, Connection)]


@contextmanager
def surviving_interrupts() -> Generator[None]:
    """Let SIGINT reach what this process started, and wait for its end: Pulumi answers it with an orderly one."""
    before = {number: signal.signal(number, _ignore) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(work: Work, stack: FleetStack, environment: Mapping[str, str], sink: Connection) -> None:
    """Do the work and send how it ended."""
    # What it starts is in its group, and the terminal's Ctrl-C is for the command alone, which passes it on.
    os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    Thread(target=_end_with_parent, daemon=True).start()
    os.environ.clear()
    os.environ.update(environment)
    redaction.install()
    # Reports go to the parent; nothing else may write between the lines of its table.
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - as long as the process
    try:
        done = work(stack, lambda text: sink.send(Said(redaction.redact(text))))
    except PullSecretsError as error:
        done = Done(ExitCode(error.exit_code), redaction.redact(str(error)))
    except KeyboardInterrupt:
        done = Done(ExitCode.PROBLEM, "interrupted")
    except Exception as error:  # noqa: BLE001 - its text could hold anything, and a table needs a row
        last = redaction.redacted_traceback(error).strip().splitlines()
        done = Done(ExitCode.PROBLEM, f"unexpected error; please report this: {last[-1]}", tuple(last))
    with suppress(BrokenPipeError):
        sink.send(done)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    # Not SIG_IGN, which a started program would inherit.
    pass


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """End as by Ctrl-C when the command was killed: nobody would hear of what happens from then on."""
    parent = parent_process()
    if parent:
        connection.wait([parent.sentinel])
        os.killpg(0, signal.SIGINT)
