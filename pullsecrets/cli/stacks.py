"""`pull-secrets stacks`: the stacks of the project, for people and for a pipeline's matrix."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from pullsecrets.cli import console, options
from pullsecrets.errors import BadInputError, ExitCode
from pullsecrets.fleet import matrix
from pullsecrets.fleet.stacks import FleetStack, find_stacks, select
from pullsecrets.kube.selectors import written


class Pipeline(StrEnum):
    """Whose pipeline takes the matrix."""

    GITHUB = "github"
    GITLAB = "gitlab"


def command(
    select_: options.Select = None,
    directory: options.Directory = Path(),
    *,
    json: options.Json = False,
    pipeline: Annotated[
        Pipeline | None,
        typer.Option(
            "--matrix",
            help="Print the stacks wave by wave: as lines for GITHUB_OUTPUT, or as GitLab's child pipeline.",
        ),
    ] = None,
) -> None:
    """List the stacks: cluster, wave, labels, registries and number of tenants, from the stack files alone.

    Exit code 1 says that a file does not parse; it is named beside the others. With --matrix it has a job too, in the
    last wave, which fails and names the cause while the others run.

    Examples:

        pull-secrets stacks

        pull-secrets stacks --select 'prod-*' --select region=eu --json

        pull-secrets stacks --matrix github >> "$GITHUB_OUTPUT"
    """
    if json and pipeline:
        raise BadInputError("--json, --matrix: found both; allowed: one of them")
    stacks = select(find_stacks(directory), select_ or [])
    broken = [stack for stack in stacks if stack.problem]
    if pipeline:
        sys.stdout.write(matrix.gitlab(stacks) if pipeline is Pipeline.GITLAB else matrix.github(stacks))
    elif json:
        console.print_json([_document(stack) for stack in stacks])
    else:
        _show(stacks)
    for stack in broken:
        console.errors.print(f"[bold red]error:[/] {escape(stack.problem)}", soft_wrap=True)
    if broken and not pipeline:
        raise typer.Exit(ExitCode.PROBLEM)


def _document(stack: FleetStack) -> dict[str, Any]:
    return {
        "name": stack.name,
        "cluster": stack.cluster,
        "context": stack.context,
        "wave": stack.wave,
        "labels": dict(stack.labels),
        "registries": list(stack.registries),
        "tenants": stack.tenants,
        "problem": stack.problem,
    }


def _show(stacks: list[FleetStack]) -> None:
    table = Table("stack", "cluster", "wave", "labels", "registries", "tenants")
    for stack in stacks:
        if stack.problem:
            table.add_row(escape(stack.name), "[red]does not parse[/]")
        else:
            shown = (str(stack.wave), written(stack.labels, " "), " ".join(stack.registries), str(stack.tenants))
            table.add_row(escape(stack.name), stack.cluster, *shown)
    console.output.print(table)
