"""`pull-secrets packs`: the policy packs with a stack's registries as settings, for a `pulumi` run of any project."""

import importlib
from pathlib import Path
from typing import Annotated

import typer

from pullsecrets.cli import console, options
from pullsecrets.errors import BadInputError


def command(
    stack: options.Stack,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the packs and their settings.")] = Path("build"),
    directory: options.Directory = Path(),
) -> None:
    """Write the policy packs and their settings, and print the options that put them on a run, one a line.

    The packs know no registry by themselves; their settings are those of the stack file. They run in the Python
    environment of this command, which needs the extra `policies`.

    Examples:

        mapfile -t packs < <(pull-secrets packs --stack prod --out build) && pulumi preview "${packs[@]}"
    """
    try:
        # Not imported by name: the command line has no Pulumi.
        packs = importlib.import_module("pullsecrets.packs.options")
    except ModuleNotFoundError as error:
        raise BadInputError(
            f"the policy packs need the module {error.name}; install the extra: uv add 'pull-secrets[policies]'"
        ) from None
    folder = out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for option in packs.pack_options(console.load(stack, directory), folder):
        # Not through the console, which would wrap a long path.
        typer.echo(option)
