"""Assembles the commands and turns expected failures into messages and exit codes."""

import sys

import typer

from pullsecrets.cli import audit, lint, preview_comment, render, seed
from pullsecrets.cli.console import errors
from pullsecrets.errors import PullSecretsError

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
app.command("seed")(seed.command)
app.command("render")(render.command)
app.command("audit")(audit.command)
app.command("lint")(lint.command)
app.command("preview-comment")(preview_comment.command)


def main() -> None:
    """Run the command line; the console script's entry point."""
    try:
        app()
    except PullSecretsError as error:
        errors.print(f"[bold red]error:[/] {_escaped(error)}", soft_wrap=True, highlight=False)
        sys.exit(int(error.exit_code))


def _escaped(error: Exception) -> str:
    return str(error).replace("[", "\\[")
