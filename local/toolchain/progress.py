"""What the user sees while tools are built: one live table on a terminal, plain lines in a log."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final, Protocol

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

_HEARTBEAT_SECONDS: Final = 30.0


class Phase(Enum):
    """How far one build is."""

    QUEUED = "queued"
    LOCKED = "waiting for another build of the same tool"
    DOWNLOADING = "downloading"
    BUILDING = "building"
    BUILT = "built"


BUSY: Final = frozenset({Phase.DOWNLOADING, Phase.BUILDING})


@dataclass
class Step:
    """One line of progress. The builder changes it, a display reads it."""

    title: str
    log: Path
    phase: Phase = Phase.QUEUED
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None

    @property
    def seconds(self) -> float:
        """How long the step has run, or ran."""
        return (time.monotonic() if self.ended is None else self.ended) - self.started

    def enter(self, phase: Phase) -> None:
        """Change the phase; the clock starts with the download and stops when the tool is built."""
        if phase is self.phase:
            return
        self.phase = phase
        if phase is Phase.DOWNLOADING:
            self.started = time.monotonic()
        elif phase is Phase.BUILT:
            self.ended = time.monotonic()


class Display(Protocol):
    """Shows the steps of a build as they are."""

    def show(self, steps: Sequence[Step]) -> None:
        """Bring what the user sees up to date."""
        ...


def last_line(log: Path) -> str:
    """Return the last complete line of a growing log, or nothing while there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 400))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return lines[-1].strip() if lines else ""


class PlainLines:
    """A line when a step starts or ends, and one now and then in between, so that a log shows life."""

    def __init__(self) -> None:
        """Start with nothing told."""
        self._told: dict[str, Phase] = {}
        self._spoke = time.monotonic()

    def show(self, steps: Sequence[Step]) -> None:
        """Print what has changed since the last call."""
        done = sum(step.phase is Phase.BUILT for step in steps)
        for step in steps:
            if step.phase is not self._told.get(step.title, Phase.QUEUED):
                self._told[step.title] = step.phase
                took = f" in {step.seconds:.0f} s" if step.phase is Phase.BUILT else ""
                self._say(f"toolchain [{done}/{len(steps)}] {step.title}: {step.phase.value}{took}")
        if time.monotonic() - self._spoke >= _HEARTBEAT_SECONDS:
            running = [step for step in steps if step.phase in BUSY]
            still = ", ".join(f"{step.title} ({step.seconds:.0f} s)" for step in running)
            self._say(f"toolchain [{done}/{len(steps)}] still building {still or 'elsewhere'}")

    def _say(self, line: str) -> None:
        self._spoke = time.monotonic()
        print(line, file=sys.stderr, flush=True)


class LiveTable:
    """A table that is drawn anew in place: tool, state, elapsed time, and the package being compiled."""

    def __init__(self, live: Live) -> None:
        """Draw into `live`."""
        self._live = live
        self._spinner = Spinner("dots")
        self._since = time.monotonic()

    def show(self, steps: Sequence[Step]) -> None:
        """Draw the table."""
        done = sum(step.phase is Phase.BUILT for step in steps)
        table = Table.grid(padding=(0, 2))
        total = f"Toolchain: {done} of {len(steps)} built, {time.monotonic() - self._since:.0f} s"
        table.add_row("", Text(total, style="bold"))
        for step in steps:
            table.add_row(*self._row(step))
        self._live.update(table)

    def _row(self, step: Step) -> tuple[Spinner | Text, Text, Text, Text]:
        building = step.phase in BUSY
        mark = self._spinner if building else Text("✓" if step.phase is Phase.BUILT else " ", "green")
        elapsed = "" if step.phase in {Phase.QUEUED, Phase.LOCKED} else f"{step.seconds:.0f} s"
        detail = Text((building and last_line(step.log)) or step.phase.value, "dim", no_wrap=True, overflow="ellipsis")
        return mark, Text(step.title), Text(elapsed, justify="right"), detail


@contextmanager
def display() -> Iterator[Display]:
    """Yield what suits standard error: a live table on a terminal, plain lines elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield PlainLines()
        return
    with Live(console=console, refresh_per_second=8) as live:
        yield LiveTable(live)
