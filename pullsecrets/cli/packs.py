"""`pull-secrets packs`: the policy packs with a stack's registries as settings, for a `pulumi` run of any project."""

import importlib
from pathlib import Path
from typing import Annotated

import typer

from pullsecrets.cli import console, options
from pullsecrets.errors import BadInputError
from pullsecrets.text import listed


def command(
    stack: options.Stack,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the packs and their settings.")] = Path("build"),
    directory: options.Directory = Path(),
    names: Annotated[
        list[str] | None,
        typer.Option("--pack", metavar="NAME", help="A pack by name; repeatable. By default every policy in one pack."),
    ] = None,
) -> None:
    """Write a policy pack and its settings, and print the options that put it on a run, one a line.

    A pack knows no registry by itself; its settings are those of the stack file. It runs in the Python environment of
    this command, which needs the extra `policies`.

    Examples:

        mapfile -t packs < <(pull-secrets packs --stack prod --out build) && pulumi preview "${packs[@]}"
    """
    try:
        # Not imported by name: the command line has no Pulumi.
        packs = importlib.import_module("pullsecrets.packs.options")
        catalog = importlib.import_module("pullsecrets.packs.catalog")
    except ModuleNotFoundError as error:
        raise BadInputError(
            f"the policy packs need the module {error.name}; install the extra: uv add 'pull-secrets[policies]'"
        ) from None
    known = {pack.name: pack for pack in catalog.PACKS}
    if unknown := set(names or ()) - known.keys():
        raise BadInputError(f"{listed(sorted(unknown))}: there is no such pack; there are {listed(known)}")
    chosen = [known[name] for name in names or ()] or packs.ALL
    folder = out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for option in packs.pack_options(console.load(stack, directory), folder, chosen):
        # Not through the console, which would wrap a long path.
        typer.echo(option)
