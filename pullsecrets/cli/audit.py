"""`pull-secrets audit`: coverage of the stack's namespaces as a table."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from pullsecrets import preflight
from pullsecrets.admission import ADMISSION
from pullsecrets.audit import Audit, Coverage, audit
from pullsecrets.cli import console
from pullsecrets.errors import ExitCode
from pullsecrets.kube import KubernetesClient

POLL_SECONDS = 1.0


def command(
    stack: console.Stack,
    directory: console.Directory = Path(),
    context: Annotated[
        str | None, typer.Option("--context", help="kubeconfig context of a reader; cluster.context by default.")
    ] = None,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait until every row is green.")] = 0,
    *,
    json: console.Json = False,
) -> None:
    """Show which namespaces should have a pull Secret, which have it, and whether its content is the seeded one.

    Secrets are listed as metadata only. Exit code 1 when a row is not green.

    Examples:

        pull-secrets audit --stack prod

        pull-secrets audit --stack prod --wait 60 --json
    """
    config = console.load(stack, directory)
    cluster = KubernetesClient(context or config.cluster.context)
    vault = preflight.open_vault(config)
    deadline = time.monotonic() + wait
    found = audit(config, cluster, vault)
    while not found.green and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        found = audit(config, cluster, vault)
    if json:
        console.print_json(_document(found))
    else:
        _show(found, stack)
    if not found.green:
        raise typer.Exit(ExitCode.PROBLEM)


def _document(found: Audit) -> dict[str, object]:
    rows = [{**asdict(row), "proved": row.proved, "green": row.green} for row in found.rows]
    return {"green": found.green, "totals": [asdict(item) for item in found.totals()], "rows": rows}


def _show(found: Audit, stack: str) -> None:
    table = Table(title=f"Coverage of stack {stack}", header_style="bold")
    for column in ("namespace", "registry", "label", "ExternalSecret", "Secret", "content", "ServiceAccounts"):
        table.add_column(column, overflow="fold")
    for row in found.rows:
        table.add_row(*_cells(row), style=None if row.green else "bold")
    console.output.print(table)
    for item in found.totals():
        matches = item.selected == item.delivered == item.proved == item.green == item.expected
        console.output.print(
            _mark(matches, item.registry),
            f"{item.selected} labelled of {item.expected} expected, "
            f"{item.delivered} hold the Secret, {item.proved} with the seeded content, {item.green} green",
        )


def _cells(row: Coverage) -> list[str | Text]:
    wanted = len(row.bound) + len(row.unbound)
    without = f" without {', '.join(row.unbound)}" if row.unbound else ""
    awaited = f" awaiting {', '.join(row.awaited)}" if row.awaited else ""
    secret = "dockerconfigjson" if row.typed else "wrong type" if row.secret else "absent"
    return [
        row.namespace if row.declared else f"{row.namespace} (by label)",
        row.registry,
        _mark(row.labelled, "yes" if row.labelled else "no"),
        _mark(row.ready, "Ready" if row.ready else row.reason),
        _mark(row.typed, secret),
        _mark(row.proved, _content(row)),
        _mark(not row.unbound, f"{len(row.bound)}/{wanted}{without}{awaited}{_how(row)}"),
    ]


def _how(row: Coverage) -> str:
    return " by Pod admission" if row.binding == ADMISSION else ""


def _content(row: Coverage) -> str:
    if row.digest is None:
        return "unknown"
    if row.seeded_digest is None:
        return f"{row.digest} (seeded digest not recorded)"
    return row.digest if row.proved else f"{row.digest} is not {row.seeded_digest}"


def _mark(good: bool, text: str) -> Text:
    return Text(f"✓ {text}", style="green") if good else Text(f"✗ {text}", style="red")
