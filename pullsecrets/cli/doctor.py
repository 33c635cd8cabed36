"""`pull-secrets doctor`: what is wrong, why, and how to fix it."""

import json as jsons
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from pullsecrets.cli import console, options
from pullsecrets.doctor.bundle import write_bundle
from pullsecrets.doctor.chain import Chain, chains_of, require_namespace
from pullsecrets.doctor.checks import all_checks, checks_of, choose
from pullsecrets.doctor.diagnosis import Diagnosis, Report, Unchecked, diagnose
from pullsecrets.doctor.exchange import as_document, as_junit, as_sarif
from pullsecrets.doctor.fix import Outcome, Seen, apply_each, follow_up
from pullsecrets.doctor.model import Check, Phase, Remedy, Severity
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.suppression import Suppression, read_suppressions, stale
from pullsecrets.durations import parse_duration
from pullsecrets.errors import BadInputError, ExitCode
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.waiting import look_until
from pullsecrets.text import counted

NAMED = 5
"""Namespaces that are named one by one."""

_STYLES = {Severity.CLUSTER: "bold red", Severity.TENANT: "red", Severity.WARNING: "yellow"}


def _list_checks(wanted: bool) -> None:
    if not wanted:
        return
    width = max(len(check.name) for check in all_checks())
    for check in all_checks():
        console.output.print(f"{check.name:<{width}}  {check.title}", markup=False, soft_wrap=True)
    raise typer.Exit


class FailOn(StrEnum):
    """The least severe finding that exits with 1."""

    WARNING = "warning"
    TENANT = "tenant"
    CLUSTER = "cluster"

    @property
    def severity(self) -> Severity:
        """The severity of that name."""
        return Severity[self.name]


@dataclass(frozen=True)
class Gate:
    """What passes, which checks are asked, and how long is waited for them."""

    pre: Annotated[
        bool, typer.Option("--pre", help="Before the first `pulumi up`: cluster, ESO, Vault, rights, a dry run.")
    ] = False
    wait: Annotated[
        str | None, typer.Option("--wait", metavar="DURATION", help="Look again until it passes, at most 90s, 10m.")
    ] = None
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="CHECK", help="Run this check alone; may be repeated.")
    ] = None
    skip: Annotated[
        list[str] | None, typer.Option("--skip", metavar="CHECK", help="Leave this check out; may be repeated.")
    ] = None
    fail_on: Annotated[FailOn, typer.Option("--fail-on", help="Lowest severity that exits with 1.")] = FailOn.TENANT
    suppress: Annotated[
        Path | None,
        typer.Option("--suppress", metavar="FILE", help="YAML: findings that are accepted, why and until when."),
    ] = None

    def checks(self) -> tuple[Check, ...]:
        """Return the checks to run."""
        return choose(checks_of(Phase.BEFORE if self.pre else Phase.RUNNING), self.only or (), self.skip or ())

    def suppressions(self) -> tuple[Suppression, ...]:
        """Return what is accepted, and say which entries are stale."""
        found = read_suppressions(self.suppress) if self.suppress else ()
        names = [check.name for check in all_checks()]
        for text in stale(found, names, datetime.now(UTC).date()):
            console.errors.print(f"[yellow]--suppress {escape(str(self.suppress))}:[/] {escape(text)}", soft_wrap=True)
        return found

    def seconds(self) -> float:
        """Return how long is waited."""
        try:
            return parse_duration(self.wait).total_seconds() if self.wait else 0
        except ValueError:
            raise BadInputError(f"--wait: found {self.wait!r}; allowed: a duration such as 90s, 10m, 1h30m") from None


@dataclass(frozen=True)
class Files:
    """Files that are written beside what is printed."""

    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write a JUnit report: each check is a test case.")
    ] = None
    sarif: Annotated[
        Path | None, typer.Option("--sarif", metavar="FILE", help="Write a SARIF report for code scanning.")
    ] = None
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", metavar="FILE", help="Write a .tar.gz for a ticket, without any credential."),
    ] = None

    def write(self, snapshot: Snapshot, report: Report, fail_on: Severity) -> None:
        """Write those that were asked for."""
        stack, cluster = snapshot.stack, snapshot.config.cluster.name
        reports = (
            ("--junit", self.junit, lambda: as_junit(report, stack, fail_on)),
            ("--sarif", self.sarif, lambda: jsons.dumps(as_sarif(report, stack, cluster), indent=2) + "\n"),
        )
        for option, file, text in reports:
            if file:
                console.write(option, file, text())
        if self.bundle:
            write_bundle(self.bundle, snapshot, as_document(report, stack, snapshot.only, chains_of(snapshot)))


@options.expanded
def command(  # noqa: PLR0913 - each is an option
    stack: options.Stack,
    namespace: Annotated[
        str | None, typer.Argument(help="Namespace to explain step by step; the whole stack by default.")
    ] = None,
    directory: options.Directory = Path(),
    *,
    reach: options.Cluster,
    gate: Gate,
    files: Files,
    fix: Annotated[bool, typer.Option("--fix", help="Apply the safe fixes, after showing them.")] = False,
    _listed: Annotated[
        bool,
        typer.Option("--list", help="List every check and exit.", is_eager=True, callback=_list_checks),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Name the checks that found nothing too.")] = False,
    change: options.Change,
) -> None:
    """Diagnose why namespaces have no working pull Secret: ranked causes with evidence, fix and prevention.

    Reads only, of Secrets the metadata alone. To see what Vault refuses, doctor logs in as External Secrets Operator
    does; that needs permission to create a token for its ServiceAccount. What could not be checked is listed as such.

    Exit code 0 when there is no finding of `--fail-on` or above, 1 when there is (an unreachable Vault too) or a check
    could not run, 2 when an option or the stack file is wrong, 4 when the cluster is unreachable.

    Examples:

        pull-secrets doctor --stack prod

        pull-secrets doctor apps-payments-prod --stack prod

        pull-secrets doctor --stack prod --pre --as system:serviceaccount:ci:deployer

        pull-secrets doctor --stack prod --wait 10m --fail-on warning --suppress accepted.yaml --junit doctor.xml

        pull-secrets doctor --stack prod --fix --dry-run

        pull-secrets doctor --stack prod --fix --yes --json
    """
    if gate.pre and (namespace or fix):
        raise BadInputError("--pre: not with a namespace or --fix: it checks the whole stack before its first run")
    checks, suppressions, seconds = gate.checks(), gate.suppressions(), gate.seconds()
    fail_on = gate.fail_on.severity
    config = console.load(stack, directory)
    cluster, started = reach.connect(config), time.monotonic()
    # Without the cluster there is nothing to diagnose: no check would say more than that.
    cluster.get("/version")

    def look() -> Seen:
        snapshot = Snapshot(config, stack, cluster, only=namespace)
        require_namespace(snapshot)
        return snapshot, diagnose(snapshot, checks, suppressions)

    def show_left(now: Seen) -> None:
        if not change.json:
            console.output.print("\n[bold]What is left[/]")
            _show(*now, verbose=verbose)

    def fix_each(remedies: Sequence[Remedy]) -> list[Outcome]:
        return _fix(cluster, remedies, change)

    seen, outcomes = look_until(look, lambda now: now[1].passes(fail_on), seconds), list[Outcome]()
    if not change.json:
        _show(*seen, verbose=verbose)
    if fix:
        seen, outcomes = follow_up(seen, look, fix_each, show_left)
    snapshot, report = seen
    if change.json:
        document = as_document(report, stack, namespace, chains_of(snapshot))
        cost = {"requests": cluster.requests, "seconds": time.monotonic() - started}
        console.print_json({**document, "fixes": [asdict(item) for item in outcomes], **cost})
    files.write(snapshot, report, fail_on)
    if not report.passes(fail_on):
        raise typer.Exit(ExitCode.PROBLEM)


def _fix(cluster: KubernetesClient, remedies: Sequence[Remedy], change: options.Change) -> list[Outcome]:
    if not change.json:
        _show_remedies(remedies)
    if change.dry_run or not remedies:
        return [Outcome(item.description, applied=False) for item in remedies]
    change.confirm(f"Apply {counted(len(remedies), 'fix', 'fixes')}?")
    outcomes = apply_each(cluster, remedies)
    if not change.json:
        for item in outcomes:
            mark = "[green]✓[/]" if item.applied else "[red]✗[/]"
            console.output.print(mark, Text(item.description + (f": {item.error}" if item.error else "")))
    return outcomes


def _show(snapshot: Snapshot, report: Report, *, verbose: bool = False) -> None:
    _show_chains(snapshot)
    for number, item in enumerate(report.diagnoses, 1):
        _show_diagnosis(number, item)
    _show_unchecked(report.unchecked)
    for check in report.passed if verbose else ():
        _line(Text.assemble(("✓ ", "green"), f"{check.name}  {check.title}"), 0)
    for found, by in report.suppressed:
        _line(Text.assemble(("accepted: ", "dim"), f"{by} until {by.until}: {by.reason} ({found.cause})"), 0)
    _show_summary(report)


def _show_chains(snapshot: Snapshot) -> None:
    if snapshot.only is None:
        return
    found = chains_of(snapshot)
    if not found:
        text = f"no registry of stack {snapshot.stack} is declared, labelled or pulled from in {snapshot.only}\n"
        console.output.print(text, markup=False, soft_wrap=True)
    for chain in found:
        _show_chain(chain)


def _show_chain(chain: Chain) -> None:
    console.output.print(Text(f"{chain.registry} in {chain.namespace}", style="bold"))
    for step in chain.steps:
        here = "   <- the chain breaks here" if step.name == chain.breaks_at else ""
        _line(console.marked(step.state, f"{step.name:<16} {step.text}").append(here, "bold red"), 2)
    console.output.print()


def _show_diagnosis(number: int, item: Diagnosis) -> None:
    style = _STYLES[item.severity]
    _line(Text.assemble((f"{number}. {item.check}", style), f"  {_scope(item)}"), 0)
    _line(Text(item.symptom), 3)
    _parts("cause", item.causes)
    _parts("evidence", item.evidence)
    _parts("fix", item.fix)
    _parts("prevent", (item.prevention,))
    _parts("more", (item.link,))
    for below in item.consequences:
        _line(Text.assemble(("follows  ", "dim"), (below.check, _STYLES[below.severity]), f"  {_scope(below)}"), 3)
    console.output.print()


def _parts(title: str, lines: tuple[str, ...]) -> None:
    for index, line in enumerate(lines):
        _line(Text.assemble((f"{title if index == 0 else '':<9}", "dim"), line), 3)


def _line(text: Text, indent: int) -> None:
    # Whole lines where nobody looks at them, so that a command can be copied and searched for.
    if console.output.is_terminal:
        console.output.print(Padding(text, (0, 0, 0, indent)))
    else:
        console.output.print(Text(" " * indent) + text, soft_wrap=True)


def _scope(item: Diagnosis) -> str:
    registry = f"registry {item.registry}" if item.registry else ""
    names = item.namespaces
    if not names:
        return registry or "the whole cluster"
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    where = f"{counted(len(names), 'namespace')}: {', '.join(names[:NAMED])}{more}"
    return f"{registry}, {where}" if registry else where


def _show_unchecked(unchecked: tuple[Unchecked, ...]) -> None:
    by_reason: dict[str, list[str]] = {}
    for item in unchecked:
        by_reason.setdefault(item.reason, []).append(item.check)
    for reason, names in by_reason.items():
        _line(Text.assemble(("? could not be checked: ", "yellow"), f"{', '.join(names)}: {reason}"), 0)


def _show_summary(report: Report) -> None:
    total = len(report.checks)
    if not report.diagnoses and not report.unchecked:
        beside = " but what is accepted" if report.suppressed else ""
        console.output.print(f"[green]✓[/] healthy: {counted(total, 'check')} found nothing{beside}")
        return
    warnings = sum(item.severity == Severity.WARNING for item in report.diagnoses)
    parts = [
        counted(len(report.diagnoses) - warnings, "cause"),
        counted(warnings, "warning"),
        f"{len(report.unchecked)} not checked",
    ]
    console.output.print(f"{counted(total, 'check')}: {', '.join(parts)}")


def _show_remedies(remedies: Sequence[Remedy]) -> None:
    if not remedies:
        console.output.print("nothing that is safe to fix unattended")
        return
    console.output.print("[bold]Safe fixes[/]")
    for item in remedies:
        _line(Text(f"- {item.description}"), 2)
