"""`pull-secrets doctor`: what is wrong, why, and how to put it right."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.padding import Padding
from rich.text import Text

from pullsecrets.cli import console, options
from pullsecrets.config import StackConfig
from pullsecrets.doctor.chain import Chain, chains
from pullsecrets.doctor.checks import all_checks
from pullsecrets.doctor.diagnosis import Diagnosis, Report, Unchecked, diagnose
from pullsecrets.doctor.model import Remedy, Severity
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.errors import BadInputError, ExitCode, PullSecretsError
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.text import counted

SETTLE_SECONDS = 20.0
"""How long after a fix the controllers may take to show that it helped."""
PAUSE_SECONDS = 1.0
ROUNDS = 3
"""How often is looked again: once label and entry are there, Pods that were made without them can be recreated."""
NAMED = 5
"""Namespaces that are named one by one."""

_STYLES = {Severity.CLUSTER: "bold red", Severity.TENANT: "red", Severity.WARNING: "yellow"}


@dataclass(frozen=True)
class Outcome:
    """What became of a remedy."""

    description: str
    applied: bool
    error: str | None = None


def _list_checks(wanted: bool) -> None:
    if not wanted:
        return
    width = max(len(check.name) for check in all_checks())
    for check in all_checks():
        console.output.print(f"{check.name:<{width}}  {check.title}", markup=False, soft_wrap=True)
    raise typer.Exit


@options.expanded
def command(  # noqa: PLR0913 - each is an option
    stack: options.Stack,
    namespace: Annotated[
        str | None, typer.Argument(help="Namespace to explain step by step; the whole stack by default.")
    ] = None,
    directory: options.Directory = Path(),
    *,
    reach: options.Cluster,
    fix: Annotated[bool, typer.Option("--fix", help="Apply the fixes that lose nothing, after showing them.")] = False,
    _listed: Annotated[
        bool,
        typer.Option("--list", help="List every check and exit.", is_eager=True, callback=_list_checks),
    ] = False,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    json: options.Json = False,
) -> None:
    """Find out why namespaces have no working pull Secret: ranked causes with evidence, fix and prevention.

    Reads only, of Secrets the metadata alone. To see what Vault refuses, doctor logs in as External Secrets Operator
    does; that needs permission to create a token for its ServiceAccount. What could not be checked is listed as such.

    Exit code 0 when there is nothing but warnings, 1 when something keeps namespaces from pulling (an unreachable Vault
    too) or could not be checked, 4 when the cluster is unreachable.

    Examples:

        pull-secrets doctor --stack prod

        pull-secrets doctor apps-payments-prod --stack prod

        pull-secrets doctor --stack prod --fix --dry-run

        pull-secrets doctor --stack prod --fix --yes --json
    """
    config = console.load(stack, directory)
    cluster = reach.connect(config)
    # Without the cluster there is nothing to diagnose: no check would say more than that.
    cluster.get("/version")
    snapshot = Snapshot(config, stack, cluster, only=namespace)
    _require_namespace(snapshot)
    report = diagnose(snapshot)
    if not json:
        _show(snapshot, report)
    outcomes: list[Outcome] = []
    if fix:
        outcomes = _fix(cluster, report.remedies(), dry_run=dry_run, yes=yes, quiet=json)
    last = outcomes
    for left in reversed(range(ROUNDS)):
        if not any(item.applied for item in last):
            break
        snapshot, report = _settled(config, stack, cluster, namespace, outcomes)
        if not json:
            console.output.print("\n[bold]What is left[/]")
            _show(snapshot, report)
        fresh = _untried(report, outcomes) if left else ()
        last = _fix(cluster, fresh, dry_run=False, yes=yes, quiet=json) if fresh else []
        outcomes += last
    if json:
        console.print_json(_document(snapshot, report, outcomes))
    if not report.healthy:
        raise typer.Exit(ExitCode.PROBLEM)


def _require_namespace(snapshot: Snapshot) -> None:
    if snapshot.only is None:
        return
    declared = {tenant.name for tenant in snapshot.config.resolve_tenants()}
    try:
        known = snapshot.only in {*declared, *snapshot.namespaces}
    except PullSecretsError:
        # What keeps namespaces from being listed is for the checks to say.
        return
    if not known:
        raise BadInputError(
            f"namespace: found {snapshot.only!r}; allowed: one that is in the cluster or that stack {snapshot.stack!r} "
            "declares (`kubectl get namespaces`)"
        )


def _fix(
    cluster: KubernetesClient, remedies: tuple[Remedy, ...], *, dry_run: bool, yes: bool, quiet: bool
) -> list[Outcome]:
    if not quiet:
        _show_remedies(remedies)
    if dry_run or not remedies:
        return [Outcome(item.description, applied=False) for item in remedies]
    console.confirm(f"Apply {counted(len(remedies), 'fix', 'fixes')}?", yes=yes)
    outcomes = [_apply(cluster, item) for item in remedies]
    if not quiet:
        for item in outcomes:
            mark = "[green]✓[/]" if item.applied else "[red]✗[/]"
            console.output.print(mark, Text(item.description + (f": {item.error}" if item.error else "")))
    return outcomes


def _apply(cluster: KubernetesClient, remedy: Remedy) -> Outcome:
    try:
        remedy.apply(cluster)
    except PullSecretsError as error:
        # One that fails must not keep the others from helping.
        return Outcome(remedy.description, applied=False, error=str(error))
    return Outcome(remedy.description, applied=True)


def _untried(report: Report, outcomes: Sequence[Outcome]) -> tuple[Remedy, ...]:
    tried = {item.description for item in outcomes}
    return tuple(item for item in report.remedies() if item.description not in tried)


def _settled(
    config: StackConfig, stack: str, cluster: KubernetesClient, namespace: str | None, outcomes: Sequence[Outcome]
) -> tuple[Snapshot, Report]:
    """Look again until nothing is left that a fix was for, another fix became possible, or its time is up."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        snapshot = Snapshot(config, stack, cluster, only=namespace)
        report = diagnose(snapshot)
        if not report.remedies() or _untried(report, outcomes) or time.monotonic() >= deadline:
            return snapshot, report
        time.sleep(PAUSE_SECONDS)


def _show(snapshot: Snapshot, report: Report) -> None:
    _show_chains(snapshot)
    for number, item in enumerate(report.diagnoses, 1):
        _show_diagnosis(number, item)
    _show_unchecked(report.unchecked)
    _show_summary(report)


def _chains(snapshot: Snapshot) -> tuple[Chain, ...]:
    if snapshot.only is None:
        return ()
    try:
        return chains(snapshot, snapshot.only)
    except PullSecretsError:
        # The checks that need the same reading say why they could not look.
        return ()


def _show_chains(snapshot: Snapshot) -> None:
    if snapshot.only is None:
        return
    found = _chains(snapshot)
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
    total = len(all_checks())
    if not report.diagnoses and not report.unchecked:
        console.output.print(f"[green]✓[/] healthy: {total} checks found nothing")
        return
    warnings = sum(item.severity == Severity.WARNING for item in report.diagnoses)
    parts = [
        counted(len(report.diagnoses) - warnings, "cause"),
        counted(warnings, "warning"),
        f"{len(report.unchecked)} not checked",
    ]
    console.output.print(f"{total} checks: {', '.join(parts)}")


def _show_remedies(remedies: tuple[Remedy, ...]) -> None:
    if not remedies:
        console.output.print("nothing that is safe to fix unattended")
        return
    console.output.print("[bold]Safe fixes[/]")
    for item in remedies:
        _line(Text(f"- {item.description}"), 2)


def _document(snapshot: Snapshot, report: Report, outcomes: list[Outcome]) -> dict[str, Any]:
    return {
        "stack": snapshot.stack,
        "namespace": snapshot.only,
        "healthy": report.healthy,
        "diagnoses": [_entry(item) for item in report.diagnoses],
        "unchecked": [asdict(item) for item in report.unchecked],
        "chains": [{**asdict(chain), "breaks_at": chain.breaks_at} for chain in _chains(snapshot)],
        "safe_fixes": [item.description for item in report.remedies()],
        "fixes": [asdict(item) for item in outcomes],
    }


def _entry(item: Diagnosis) -> dict[str, Any]:
    return {
        "check": item.check,
        "severity": item.severity.name.lower(),
        "registry": item.registry,
        "namespaces": list(item.namespaces),
        "symptom": item.symptom,
        "causes": list(item.causes),
        "evidence": list(item.evidence),
        "fix": list(item.fix),
        "prevention": item.prevention,
        "consequences": [_entry(below) for below in item.consequences],
    }
