"""Consoles and helpers that every command shares."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pullsecrets.config import StackConfig, load_stack
from pullsecrets.coverage.rows import State
from pullsecrets.credential.vault_transport import way_from_here
from pullsecrets.errors import BadInputError
from pullsecrets.files import write_whole

PIPED_WIDTH = 200


def piped(stream: TextIO | None = None) -> Console:
    """Return a console for what is no terminal, standard output by default: lines stay whole, tables fold."""
    return Console(file=stream, highlight=False, width=PIPED_WIDTH, soft_wrap=True)


output = Console(highlight=False) if sys.stdout.isatty() else piped()
errors = Console(stderr=True, highlight=False)

_MARKS = {State.GOOD: ("✓", "green"), State.BROKEN: ("✗", "red"), State.UNKNOWN: ("?", "yellow")}


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is changed, on standard error: standard output may be one JSON document.

    Raises:
        BadInputError: when the answer is no, or there is no terminal to confirm on.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadInputError(
            "no terminal to confirm on; nothing was changed; add --yes to continue, or --dry-run to preview"
        )
    if not typer.confirm(question, err=True):
        raise BadInputError("not confirmed; nothing was changed")


def marked(state: State, text: str) -> Text:
    """Return a text with the mark and colour of its state."""
    mark, style = _MARKS[state]
    return Text.assemble((f"{mark} ", style), text)


def print_step(text: str) -> None:
    """Say that a step is done."""
    output.print(f"[green]✓[/] {escape(text)}")


def table(title: str, columns: Iterable[str]) -> Table:
    """Return a table without rows yet, whose cells fold where they do not fit."""
    found = Table(title=escape(title), header_style="bold")
    for column in columns:
        found.add_column(column, overflow="fold")
    return found


def print_declarations(declarations: Iterable[str]) -> None:
    """Say what of the stack file would put back what is taken away."""
    for declaration in declarations:
        text = f"the next `pulumi up` restores it; in the stack file, {declaration}"
        output.print(f"[yellow]still declared:[/] {escape(text)}")


def load(stack: str, directory: Path) -> StackConfig:
    """Load a stack's configuration for a command, and say so where VAULT_ADDR leads to Vault by another way."""
    config = load_stack(stack, directory)
    if config.has_vault:
        declared = config.vault.address
        here, _ = way_from_here(declared, None)
        if here != declared:
            errors.print(f"Vault: asked at {escape(here)} (VAULT_ADDR); for the cluster the stack declares {declared}")
    return config


def print_json(document: Any) -> None:
    """Print one JSON document, unwrapped and without colour, for other programs."""
    sys.stdout.write(json.dumps(document, indent=2, sort_keys=True) + "\n")


def write(option: str, file: Path, text: str) -> None:
    """Put a text into the file that an option names, at once.

    Raises:
        BadInputError: when it cannot be written.
    """
    try:
        write_whole(file, text)
    except OSError as error:
        raise BadInputError(f"{option} {file}: {error.strerror}; name a file that can be written") from None
