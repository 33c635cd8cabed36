"""What `rotate` and `rollback` show during a delivery, and what they print at the end."""

import time
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pullsecrets.cli import console
from pullsecrets.delivery import proof
from pullsecrets.delivery.deliver import Delivered
from pullsecrets.delivery.proof import OnProgress
from pullsecrets.text import counted

NAMED = 5
"""How many namespaces a line of progress names."""

LINE_SECONDS = 2.0
"""At most one line in that time where nobody sees a bar move."""


@contextmanager
def progress(*, quiet: bool) -> Generator[OnProgress | None]:
    """Give what shows the progress of a delivery: a bar on a terminal, lines elsewhere, nothing when quiet."""
    if quiet:
        yield None
    elif console.output.is_terminal:
        with _bar() as bar:
            task = bar.add_task("proving delivery", total=None, missing="")
            yield lambda state: bar.update(
                task, completed=state.proved, total=len(state.wanted), missing=named(state.missing)
            )
    else:
        yield _Lines().show


def named(namespaces: Collection[str]) -> str:
    """Return the first names of many, and how many more there are."""
    first = sorted(namespaces)[:NAMED]
    more = f" and {len(namespaces) - NAMED} more" if len(namespaces) > NAMED else ""
    return f"{', '.join(first)}{more}"


def show(delivered: Delivered, registry: str) -> None:
    """Print how a version arrived: the counts, and each namespace that lacks it with its cause."""
    total = len(delivered.namespaces) + len(delivered.missing)
    how = f"in {delivered.seconds:.1f} s" if delivered.synced else "already"
    counted = f"{len(delivered.namespaces)} of {total} namespaces hold version {delivered.version} of {registry} {how}"
    if not delivered.missing:
        console.output.print(f"[green]✓[/] {counted} (digest {delivered.digest})")
        return
    console.output.print(f"[red]✗[/] {counted}; missing:")
    show_each(delivered.missing)


def show_each(problems: Mapping[str, str]) -> None:
    """Print names and what is the matter with each."""
    for name, problem in problems.items():
        console.output.print(f"  {name}: {problem}", markup=False)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[missing]}", style="dim", markup=False),
        console=console.output,
    )


class _Lines:
    """Progress as lines: the first, then at most one in a while, and the last."""

    def __init__(self) -> None:
        self._next = 0.0

    def show(self, state: proof.Progress) -> None:
        """Print a line if it is time for one."""
        if state.missing and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + LINE_SECONDS
        missing = f", missing {named(state.missing)}" if state.missing else ""
        console.output.print(f"proved {state.proved} of {counted(len(state.wanted), 'namespace')}{missing}")
