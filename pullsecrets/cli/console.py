"""Consoles, options and helpers that every command shares."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pullsecrets.config import StackConfig, load_stack

# Where no terminal says how wide it is, lines are left whole for whatever reads them.
PIPED_WIDTH = 200

output = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
errors = Console(stderr=True, highlight=False)

Stack = Annotated[
    str, typer.Option("--stack", "-s", envvar="PULL_SECRETS_STACK", help="Stack whose Pulumi.STACK.yaml to read.")
]
Directory = Annotated[
    Path, typer.Option("--directory", "-C", envvar="PULL_SECRETS_DIRECTORY", help="Folder that holds Pulumi.yaml.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change and change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before changing something.")]


def load(stack: str, directory: Path) -> StackConfig:
    """Load a stack's configuration for a command."""
    return load_stack(stack, directory)


def print_json(document: Any) -> None:
    """Print one JSON document, unwrapped and without colour, for other programs."""
    sys.stdout.write(json.dumps(document, indent=2, sort_keys=True) + "\n")
