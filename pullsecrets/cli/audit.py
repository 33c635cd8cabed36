"""`pull-secrets audit`: coverage of the stack's namespaces for people, programs, spreadsheets and Prometheus."""

import io
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pullsecrets.cli import console, options
from pullsecrets.config import StackConfig
from pullsecrets.config.fields import check_pushgateway
from pullsecrets.coverage.audit import Audit, audit
from pullsecrets.coverage.report import Format, render
from pullsecrets.coverage.report.summary import actions, headline, removal
from pullsecrets.coverage.rows import Coverage, State
from pullsecrets.coverage.strays import UnmanagedSecret
from pullsecrets.credential import vault_token
from pullsecrets.credential.vault import VaultClient
from pullsecrets.errors import BadInputError, ExitCode
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.waiting import look_until
from pullsecrets.text import listed


@options.expanded
def command(  # noqa: PLR0913 - one parameter per option
    stack: options.Stack,
    directory: options.Directory = Path(),
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait until every row is green.")] = 0,
    report_format: Annotated[
        Format | None, typer.Option("--format", "-f", help="Format of the report; text by default.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File for the report, replaced in one step.")
    ] = None,
    push: Annotated[
        str | None, typer.Option("--push", metavar="URL", help="Pushgateway that the metrics are sent to as well.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAMESPACE", help="Report this namespace, or pattern, alone; may be repeated."),
    ] = None,
    *,
    reach: options.Cluster,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 for warnings too: unmanaged Secrets, leftovers, undeclared usage.")
    ] = False,
) -> None:
    """Report which namespaces should have a pull Secret, which have it, and whether its content is current.

    It also lists unmanaged Secrets, leftovers in former tenants, and namespaces whose Pods use a registry
    without opting in. Secrets are listed as metadata only. Exit code 1 when a row is not green.

    Examples:

        pull-secrets audit --stack prod

        pull-secrets audit --stack prod --wait 60 --json

        pull-secrets audit --stack prod --only 'apps-payments-*' --strict

        pull-secrets audit --stack prod --format html --output audit.html

        pull-secrets audit --stack prod --format openmetrics --output /var/lib/metrics/pull-secrets.prom

        pull-secrets audit --stack prod --push http://pushgateway.monitoring.svc:9091
    """
    form = _form(report_format, json=json)
    gateway = _gateway(push)
    if gateway and only:
        raise BadInputError("--push: not with --only, because alerts read the metrics as those of the whole stack")
    config = console.load(stack, directory)
    cluster = reach.connect(config)
    vault = vault_token.open_vault_of(config)
    found = look_until(lambda: _look(config, cluster, vault, only), lambda seen: seen.green, wait)
    if form is Format.TEXT and output is None:
        _show(found, stack, console.output)
    else:
        content = _plain(found, stack) if form is Format.TEXT else render(found, form, stack, config.cluster.name)
        _deliver(content, output)
    if gateway:
        # Imports a library that would slow down the start of every other command.
        from pullsecrets.coverage.report.push import push as send  # noqa: PLC0415

        send(found, stack, config.cluster.name, gateway)
    if not found.green or (strict and found.warnings):
        raise typer.Exit(ExitCode.PROBLEM)


def _look(config: StackConfig, cluster: KubernetesClient, vault: VaultClient | None, only: list[str] | None) -> Audit:
    found = audit(config, cluster, vault)
    if not only:
        return found
    part = found.within(only)
    if not part.rows:
        raise BadInputError(f"--only: found {', '.join(only)}; allowed: namespaces that the audit has a row of")
    return part


def _form(report_format: Format | None, *, json: bool) -> Format:
    if json and report_format not in {None, Format.JSON}:
        raise BadInputError(f"--json and --format {report_format}: one report has one form; leave one of them out")
    return Format.JSON if json else report_format or Format.TEXT


def _gateway(url: str | None) -> str | None:
    try:
        return check_pushgateway(url) if url else None
    except ValueError as error:
        raise BadInputError(f"--push: allowed: {error}") from None


def _deliver(content: str, output: Path | None) -> None:
    if output is None:
        # Not through the console: it would wrap lines and read markup into them.
        sys.stdout.write(content)
        return
    console.write("--output", output, content)


def _plain(found: Audit, stack: str) -> str:
    stream = io.StringIO()
    _show(found, stack, console.piped(stream))
    return stream.getvalue()


def _show(found: Audit, stack: str, screen: Console) -> None:
    table = console.table(f"Coverage of stack {stack}", _COLUMNS)
    for row in found.rows:
        table.add_row(*_cells(row), style=None if row.green else "bold")
    screen.print(table)
    for item in found.totals():
        matches = item.selected == item.delivered == item.proved == item.green == item.expected
        screen.print(
            console.marked(State.GOOD if matches else State.BROKEN, item.registry),
            f"{item.selected} labelled of {item.expected} expected, "
            f"{item.delivered} hold the Secret, {item.proved} with the seeded content, {item.green} green",
        )
    _show_strays(found, stack, screen)
    screen.print(headline(found), style="green" if found.green else "red")
    for action in actions(found, stack):
        screen.print(f"- {escape(action)}")


def _show_strays(found: Audit, stack: str, screen: Console) -> None:
    uses = [
        (use.namespace, use.registry, str(use.pods), str(use.failing), use.example) for use in found.undeclared_uses
    ]
    others = [
        (item.namespace, item.name, item.origin, _users(item), _remarks(item)) for item in found.unmanaged_secrets
    ]
    left = [(item.namespace, item.kind, item.name, item.reason, removal(item, stack)) for item in found.orphans]
    for title, columns, rows in (
        ("Undeclared usage", ("namespace", "registry", "Pods", "cannot pull", "for example"), uses),
        ("Unmanaged Secrets", ("namespace", "Secret", "origin", "used by", "remarks"), others),
        ("Leftovers", ("namespace", "what", "name", "why", "fix"), left),
    ):
        if rows:
            screen.print(_filled(title, columns, rows))


def _filled(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = console.table(title, columns)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _users(item: UnmanagedSecret) -> str:
    pods = "Pods unknown" if item.pods is None else f"{item.pods} Pod{'' if item.pods == 1 else 's'}"
    return ", ".join(filter(None, (pods, listed(item.service_accounts))))


def _remarks(item: UnmanagedSecret) -> str:
    remarks = (
        (item.registry is not None, "shadows the managed Secret"),
        (not item.typed, "wrong type"),
        (item.exposed, "content shown in an annotation"),
    )
    return ", ".join(text for holds, text in remarks if holds)


_COLUMNS = ("namespace", "registry", "label", "ExternalSecret", "Secret", "type", "content", "ServiceAccounts")


def _cells(row: Coverage) -> list[Text]:
    place = row.namespace if row.declared else f"{row.namespace} (by label)"
    return [Text(place), Text(row.registry), *(console.marked(step.state, step.text) for step in row.steps())]
