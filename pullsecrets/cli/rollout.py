"""`pull-secrets rollout`: services in waves, each of which must prove itself before the next begins."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from pullsecrets.cli import console, options
from pullsecrets.cli.verify import ending_on_terminate
from pullsecrets.config import require_registry
from pullsecrets.credential import vault_token
from pullsecrets.credential.recorded import expected_digest
from pullsecrets.delivery.verify import Trial, registry_of_image
from pullsecrets.errors import ExitCode
from pullsecrets.rollout.argocd import ArgoCd
from pullsecrets.rollout.gates import SmokeCheck
from pullsecrets.rollout.plan import Wave, plan
from pullsecrets.rollout.run import Rollout, Settings, WaveReport, require_unfinished
from pullsecrets.text import counted

GOOD = frozenset({"done", "done before", "rolled back"})


@options.expanded
def command(  # noqa: PLR0913 - each option of the command line is a parameter
    registry: Annotated[str, typer.Argument(help="Registry of the stack, such as registry-api-tanhdev.")],
    stack: options.Stack,
    environment: Annotated[
        str | None, typer.Option("--environment", "-e", help="Environment of the tenants' matrices, if several.")
    ] = None,
    wave: Annotated[
        list[str] | None, typer.Option("--wave", help="Only this wave; repeatable. By default all, in order.")
    ] = None,
    via: Annotated[
        Literal["restart", "argocd"], typer.Option("--via", help="Restart workloads, or sync Argo CD Applications.")
    ] = "restart",
    argocd_namespace: Annotated[
        str, typer.Option("--argocd-namespace", help="Namespace of the Applications, with --via argocd.")
    ] = "argocd",
    smoke_port: Annotated[
        str | None,
        typer.Option("--smoke-port", metavar="PORT", help="Request each service's port; https:PORT for TLS."),
    ] = None,
    smoke_path: Annotated[str, typer.Option("--smoke-path", help="Path of that request.")] = "/health",
    verify_image: Annotated[
        str | None,
        typer.Option("--verify", metavar="IMAGE", help="Have a test Pod pull it in each namespace of a wave first."),
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds for each gate of a wave.")] = 300,
    directory: options.Directory = Path(),
    *,
    reach: options.Cluster,
    pause: Annotated[
        bool, typer.Option("--pause", help="Ask before each further wave; without a terminal, stop there.")
    ] = False,
    abort: Annotated[
        bool, typer.Option("--abort", help="Roll the unfinished wave back, or the one named with --wave.")
    ] = False,
    change: options.Change,
) -> None:
    """Roll services out to a registry's pull Secret in the waves of the stack file, canary first.

    Each wave passes its gates before the next begins: namespaces bound and the Secret proved there, a test pull with
    --verify, workloads restarted (or their Applications synced), Pods Ready and with the reference, no image-pull
    events, an optional request to each service. The rollout stops at the first gate that fails and reports why; run
    again, it continues where it stopped. A service in no wave is refused.

    Exit code 1 when a gate fails.

    Examples:

        pull-secrets rollout registry-api-tanhdev --stack prod --pause --smoke-port 8001

        pull-secrets rollout registry-api-tanhdev --stack prod --via argocd --json --yes

        pull-secrets rollout registry-api-tanhdev --stack prod --abort
    """
    config = console.load(stack, directory)
    chosen = require_registry(config, registry, stack)
    waves = plan(config, chosen, environment, wave or ())
    if change.dry_run:
        _show_plan(waves, json=change.json)
        return
    cluster = reach.connect(config)
    argocd = ArgoCd(cluster, argocd_namespace) if via == "argocd" else None
    smoke = SmokeCheck(smoke_port, smoke_path) if smoke_port else None
    trial = None
    if verify_image is not None:
        trial = Trial(config, registry_of_image(config, verify_image, chosen.name), verify_image)
    vault = vault_token.open_vault_of(config)
    digest = expected_digest(config, cluster, vault, chosen)
    rollout = Rollout(config, cluster, chosen, digest, Settings(timeout, smoke, argocd, trial))
    if abort:
        unfinished = require_unfinished(rollout, waves, named=bool(wave))
        change.confirm(f"Roll back wave {unfinished.name} ({', '.join(unfinished.namespaces)})?")
        reports = [rollout.abort(unfinished)]
    else:
        services = sum(len(item.targets) for item in waves)
        change.confirm(f"Roll out {counted(services, 'service')} in {counted(len(waves), 'wave')}?")
        may_go_on = _Asker(quiet=change.json) if pause else None
        with ending_on_terminate():
            reports = rollout.run(waves, None if change.json else _Lines().show, may_go_on)
    if change.json:
        console.print_json({"registry": chosen.name, "digest": digest, "waves": [asdict(item) for item in reports]})
    else:
        _show_end(reports)
    if any(item.problems for item in reports):
        raise typer.Exit(ExitCode.PROBLEM)


class _Asker:
    """Asks before a wave; without a terminal the rollout stops before it."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def __call__(self, wave: Wave) -> bool:
        question = f"Continue with wave {wave.name} ({', '.join(wave.namespaces)})?"
        if sys.stdin.isatty():
            return typer.confirm(question, err=True)
        if not self._quiet:
            console.output.print(f"paused before wave {wave.name}; run the same command again to continue")
        return False


class _Lines:
    """One line per gate that was passed, and one per wave that ended."""

    def __init__(self) -> None:
        self._shown: set[tuple[str, str]] = set()

    def show(self, report: WaveReport) -> None:
        for gate in report.passed:
            if (report.wave, gate) not in self._shown:
                self._shown.add((report.wave, gate))
                detail = f" ({report.restarted} restarted)" if gate == "workloads" and report.restarted else ""
                console.output.print(f"  [green]✓[/] {report.wave}: {gate}{detail} [dim]{report.seconds:.1f} s[/]")
        if report.state == "failed":
            console.output.print(f"  [red]✗[/] {report.wave}: {report.failed_gate}")


def _show_plan(waves: Sequence[Wave], *, json: bool) -> None:
    if json:
        console.print_json({"waves": [{"wave": item.name, "namespaces": item.namespaces} for item in waves]})
        return
    for index, item in enumerate(waves):
        console.output.print(f"{index}  {item.name:24} {', '.join(item.namespaces)}", soft_wrap=True)
    console.output.print("dry run: nothing was changed")


def _show_end(reports: Sequence[WaveReport]) -> None:
    table = console.table("Waves", ("wave", "namespaces", "state", "seconds"))
    for report in reports:
        style = "green" if report.state in GOOD else "red" if report.problems else None
        seconds = f"{report.seconds:.1f}" if report.seconds else ""
        table.add_row(report.wave, ", ".join(report.namespaces), report.state, seconds, style=style)
    console.output.print(table)
    for report in (report for report in reports if report.problems):
        console.output.print(f"[red]{report.wave} stopped at {report.failed_gate}:[/]")
        for thing, reason in sorted(report.problems.items()):
            console.output.print(f"  {thing}: {reason}", markup=False, soft_wrap=True)
    if any(report.state == "failed" for report in reports):
        console.output.print(
            "fix the cause and run the same command again, or run it with --abort to roll the wave back"
        )
