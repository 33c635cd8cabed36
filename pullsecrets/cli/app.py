"""Assembles the commands and turns expected failures into messages and exit codes."""

import logging
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from pullsecrets import redaction
from pullsecrets.cli import (
    adopt,
    audit,
    bind,
    cleanup,
    doctor,
    fleet,
    fleet_render,
    gitops,
    init,
    lint,
    offboard,
    packs,
    preview_comment,
    render,
    roles,
    rollback,
    rollout,
    rotate,
    seal,
    seed,
    stacks,
    verify,
)
from pullsecrets.cli.console import errors, output
from pullsecrets.errors import ExitCode, PullSecretsError

app = typer.Typer(
    name="pull-secrets",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    # A traceback with local variables would print credentials.
    pretty_exceptions_enable=False,
    help=(
        "Registry pull Secrets in every tenant namespace, without touching the cluster-wide pull-secret.\n\n"
        "Exit codes: 0 done, 1 found a problem, 2 bad input, 3 conflict, 4 a server is unreachable."
    ),
)

for panel, commands in {
    "Deliver": {"seed": seed, "rotate": rotate, "rollback": rollback, "verify": verify, "seal": seal},
    "Diagnose": {"doctor": doctor, "audit": audit},
    "Migrate": {"adopt": adopt, "rollout": rollout, "cleanup": cleanup},
    "Repository": {"init": init, "lint": lint, "packs": packs, "render": render, "preview-comment": preview_comment},
    "Many clusters": {"stacks": stacks},
    "Administer": {"roles": roles, "bind": bind, "offboard": offboard},
}.items():
    for name, module in commands.items():
        app.command(name, rich_help_panel=panel)(module.command)
app.add_typer(gitops.commands, name="gitops", rich_help_panel="Repository")
fleet.commands.command("render")(fleet_render.command)
app.add_typer(fleet.commands, name="fleet", rich_help_panel="Many clusters")


def _print_version(wanted: bool) -> None:
    if wanted:
        output.print(version("pull-secrets"), highlight=False)
        raise typer.Exit


@app.callback()
def options(
    *,
    show_version: Annotated[  # noqa: ARG001 - printed by the callback
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log every step and request to standard error.")
    ] = False,
) -> None:
    """Take the options that stand before the command."""
    if verbose:
        redaction.log_to_stderr(logging.DEBUG)


def main() -> None:
    """Run the command line; the console script's entry point."""
    redaction.install()
    try:
        app()
    except PullSecretsError as error:
        errors.print(f"[bold red]error:[/] {_escaped(error)}", soft_wrap=True, highlight=False)
        sys.exit(int(error.exit_code))
    except Exception as error:  # noqa: BLE001 - the interpreter would print it with whatever it holds
        sys.stderr.write(f"{redaction.redacted_traceback(error)}unexpected error; please report this\n")
        sys.exit(int(ExitCode.PROBLEM))


def _escaped(error: Exception) -> str:
    return redaction.redact(str(error)).replace("[", "\\[")
