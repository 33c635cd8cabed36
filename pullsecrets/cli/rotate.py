"""`pull-secrets rotate`: writes a new credential to Vault, forces its delivery, and proves it in every namespace."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from pullsecrets import redaction
from pullsecrets.cli import console, credential, delivering, options
from pullsecrets.cli.seed import confirm_write, show
from pullsecrets.cli.verify import ending_on_terminate
from pullsecrets.config import require_registry
from pullsecrets.credential import vault_token
from pullsecrets.credential.document import DockerConfig
from pullsecrets.delivery import retirement
from pullsecrets.delivery.deliver import DEFAULT_TIMEOUT, Delivered
from pullsecrets.delivery.plan import Choices, Plan, plan
from pullsecrets.delivery.prechecks import Outlook, Target
from pullsecrets.delivery.proof import OnProgress
from pullsecrets.delivery.rotation import Effects, Listener, Outcome, PodsLeft, Rotation
from pullsecrets.errors import BadInputError, ExitCode
from pullsecrets.text import counted
from pullsecrets.workloads import restart
from pullsecrets.workloads.evict import LackingPods
from pullsecrets.workloads.restart import RestartResult, Workload


@options.expanded
def command(  # noqa: PLR0913 - each option of the command line is a parameter
    registry: options.RegistryArgument,
    stack: options.Stack,
    verify_image: Annotated[
        str | None,
        typer.Option("--verify", metavar="IMAGE", help="Have a test Pod pull it in each namespace before finishing."),
    ] = None,
    directory: options.Directory = Path(),
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAMESPACE", help="Prove and restart in these namespaces only; repeatable."),
    ] = None,
    timeout: options.ProofTimeout = DEFAULT_TIMEOUT,
    wave_size: Annotated[
        str, typer.Option("--wave-size", help="Workloads restarted together: a number or a percentage.")
    ] = restart.DEFAULT_WAVE,
    wave_timeout: Annotated[
        float, typer.Option("--wave-timeout", min=1, help="Seconds for each wave to become ready, and for evictions.")
    ] = 600,
    recreate_pods: Annotated[
        bool | None,
        typer.Option(
            "--recreate-pods/--keep-pods", help="Evict Pods that lack the reference; by default ask on a terminal."
        ),
    ] = None,
    *,
    reach: options.Cluster,
    restart_workloads: Annotated[
        bool, typer.Option("--restart", help="Then restart the workloads that pull from the registry, in waves.")
    ] = False,
    rollback_on_failure: Annotated[
        bool,
        typer.Option(
            "--rollback-on-failure", help="Roll back if no namespace receives it, or a restart or test pull fails."
        ),
    ] = False,
    all_or_nothing: Annotated[
        bool, typer.Option("--all-or-nothing", help="Roll back as well if a single namespace does not receive it.")
    ] = False,
    by_content: Annotated[
        bool, typer.Option("--by-content", help="Read the Secrets too and compare bytes; needs `get` on them.")
    ] = False,
    destroy_previous: Annotated[
        bool,
        typer.Option("--destroy-previous", help="Then permanently destroy what was replaced before the grace period."),
    ] = False,
    grace: Annotated[
        str, typer.Option("--grace", metavar="DURATION", help="How long a replaced version stays, such as 24h.")
    ] = retirement.DEFAULT_GRACE,
    given: options.NewCredential,
    change: options.Change,
) -> None:
    """Write a new credential to Vault, force its delivery, and prove it in every namespace.

    The credential is checked and written as by `seed`; of two rotations at once one wins and the other changes
    nothing (exit code 3). Delivery is proved by metadata: the digest that ESO wrote, and no other write since. What
    will not arrive for a reason that already exists is reported before the write. Running Pods need no restart: the
    kubelet reads the Secret at each pull. Only Pods that were admitted without the reference are listed, and evicted
    on request, so that their controllers recreate them. If it is interrupted, run it again to finish.

    A sealed registry takes no credential here: delivery of what `seal` and `pulumi up` brought into the cluster is
    forced and proved. Exit code 1 when a namespace is not proved in time, a restart is not complete, or a requested
    eviction fails.

    Examples:

        pull-secrets rotate app-registry-pull --stack prod --from-file ./new.json --rollback-on-failure

        pull-secrets rotate app-registry-pull --stack prod --username platform-bot --verify-login --expires-in 90d

        pull-secrets rotate app-registry-pull --stack prod -f ./new.json --restart --wave-size 5 --yes --json

        pull-secrets rotate app-registry-pull --stack prod -f ./new.json --verify app-registry.example.com/team/app:1
    """
    choices = Choices(
        only=frozenset(only) if only else None,
        timeout=timeout,
        wave_size=wave_size,
        wave_timeout=wave_timeout,
        restart=restart_workloads,
        recreate=recreate_pods,
        take_back=rollback_on_failure,
        all_or_nothing=all_or_nothing,
        by_content=by_content,
        image=verify_image,
        grace=grace if destroy_previous else None,
    )
    config = console.load(stack, directory)
    chosen = require_registry(config, registry, stack)
    if chosen.sealed:
        if given.given or rollback_on_failure or destroy_previous:
            raise BadInputError(
                f"registry {registry!r} is sealed: its credential, expiry and history are in the file that git keeps; "
                f"renew it with `pull-secrets seal {registry}` and `pulumi up`, then run this without them"
            )
        carry_out(
            Target(config, chosen, reach.connect(config), None),
            choices,
            Dialog(change.dry_run, yes=True, json=change.json),
        )
        return
    source, expires = given.source(), given.expiry()
    content = credential.read(given, chosen)
    target = Target(config, chosen, reach.connect(config), vault_token.open_vault(config))
    dialog = Dialog(change.dry_run, change.yes, change.json, source.takes_standard_input)
    carry_out(target, choices, dialog, content, expires)


@dataclass(frozen=True)
class Dialog(options.Change):
    """How a command talks to whoever runs it."""

    piped: bool = False
    """Whether standard input is the credential, so that no question can be answered there."""

    @property
    def unattended(self) -> bool:
        """Whether no question is asked."""
        return self.json or self.yes or self.piped


def carry_out(
    target: Target,
    choices: Choices,
    dialog: Dialog,
    content: DockerConfig | None = None,
    expires: datetime | None = None,
    effects: Effects | None = None,
) -> None:
    """Plan a rotation, show the plan, and unless it is a dry run carry it out; `effects` is for tests.

    Raises:
        typer.Exit: when it did not end well.
        PullSecretsError: what ended it before its time.
    """
    planned = plan(target, choices, content, expires)
    seed = planned.seed
    if not dialog.json:
        if seed:
            show(seed)
        else:
            console.output.print(f"digest  {planned.digest}, as the cluster's SealedSecret says")
    _show_outlook(planned.outlook)
    if dialog.dry_run:
        _show_plan(planned, json=dialog.json)
        return
    if seed and not seed.unchanged:
        confirm_write(seed, yes=dialog.yes, piped=dialog.piped)
    listener = Listener() if dialog.json else _Console(target.registry.name, asks=not dialog.unattended)
    run = Rotation(planned, planned.write(), listener, effects or Effects())
    with ending_on_terminate():
        outcome = run.run()
    if dialog.json:
        console.print_json({**_named(planned), "wrote": run.wrote, **_document(outcome)})
    if outcome.error:
        raise outcome.error
    if outcome.result != "done":
        raise typer.Exit(ExitCode.PROBLEM)


class _Console(Listener):
    """Prints the events of a rotation, and asks on a terminal."""

    def __init__(self, registry: str, *, asks: bool) -> None:
        self._registry = registry
        self._asks = asks

    def delivering(self) -> AbstractContextManager[OnProgress | None]:
        """Show a bar, or lines."""
        return delivering.progress(quiet=False)

    def delivered(self, found: Delivered) -> None:
        """Print the counts and what is missing."""
        delivering.show(found, self._registry)

    def wave(self, wave: Sequence[Workload], done: RestartResult, after: int) -> None:
        """Name the workloads."""
        del done
        self.say(f"restarting {', '.join(map(str, wave))}; {after} after them")

    def restarted(self, result: RestartResult) -> None:
        """Print the counts and what failed."""
        _show_restart(result)

    def unpulled(self, found: Mapping[str, str]) -> None:
        """Name each namespace and the kubelet's words."""
        if found:
            console.output.print(f"[red]✗[/] in {counted(len(found), 'namespace')} the test Pod could not pull:")
        else:
            console.output.print("[green]✓[/] a test Pod pulled in every namespace")
        delivering.show_each(found)

    def lacking(self, found: LackingPods) -> None:
        """List the Pods."""
        _show_lacking(found)

    def wants_eviction(self, number: int) -> bool:
        """Ask on a terminal."""
        there = self._asks and console.output.is_terminal and sys.stdin.isatty()
        return there and typer.confirm(f"Evict these {number} Pods?")

    def evicted(self, found: PodsLeft) -> None:
        """Print the counts and the Pods that are left."""
        _show_recreated(found)

    def destroyed(self, versions: Sequence[int]) -> None:
        """Print their numbers."""
        what = f"versions {', '.join(map(str, versions))}" if versions else "nothing, all is too recent"
        self.say(f"destroyed permanently: {what}")

    def say(self, text: str) -> None:
        """Print it."""
        console.output.print(text, markup=False)


def _document(outcome: Outcome) -> dict[str, Any]:
    """Return what `--json` prints of a rotation."""
    parts: dict[str, Any] = {"outcome": outcome.result}
    if outcome.error:
        parts["error"] = redaction.redact(str(outcome.error))
    if outcome.delivered:
        parts |= outcome.delivered.document()
    if outcome.restart:
        parts["restart"] = asdict(outcome.restart)
    if outcome.unpulled is not None:
        parts["unpulled"] = dict(outcome.unpulled)
    if pods := outcome.pods:
        left = {"held": dict(pods.left.held), "refused": dict(pods.left.refused)}
        parts["pods"] = {
            "recreated": list(pods.recreated),
            **left,
            "kept": list(pods.kept),
            "others": dict(pods.others),
        }
    if outcome.rolled_back:
        parts["rolledBack"] = outcome.rolled_back.document()
    if outcome.not_rolled_back:
        parts["notRolledBack"] = outcome.not_rolled_back
    if outcome.destroyed is not None:
        parts["destroyed"] = list(outcome.destroyed)
    return parts


def _named(planned: Plan) -> dict[str, Any]:
    """Return what `--json` prints of a rotation's plan."""
    name, seed = planned.target.registry.name, planned.seed
    return {"registry": name} | ({"path": seed.path, "foreseen": dict(planned.outlook.obstacles)} if seed else {})


def _show_outlook(outlook: Outlook) -> None:
    for warning in outlook.warnings:
        console.errors.print(f"[bold yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    if outlook.obstacles:
        number = counted(len(outlook.obstacles), "namespace")
        text = f"[bold yellow]warning:[/] {number} will not receive it, for a reason that already exists:"
        console.errors.print(text, soft_wrap=True)
    for name, reason in outlook.obstacles.items():
        console.errors.print(f"  {name}: {reason}", markup=False, soft_wrap=True)


def _show_plan(planned: Plan, *, json: bool) -> None:
    if planned.seed is None:
        if json:
            console.print_json({**_named(planned), "digest": planned.digest, "outcome": "planned"})
        else:
            console.output.print("dry run: nothing was changed")
        return
    found, outlook = planned.foresee(), planned.outlook
    if json:
        pods = [f"{pod.namespace}/{pod.name}" for pod in found.lacking.evictable]
        console.print_json(
            {
                **asdict(planned.seed),
                "foreseen": dict(outlook.obstacles),
                "warnings": list(outlook.warnings),
                "unchecked": list(outlook.unchecked),
                "namespaces": found.namespaces,
                "pods": {"kept": pods, "others": dict(found.lacking.others)},
                "workloads": [str(item) for item in found.workloads],
                "outcome": "planned",
            }
        )
        return
    names = delivering.named(found.namespaces)
    console.output.print(f"{counted(len(found.namespaces), 'namespace')} would receive it: {names}")
    _show_lacking(found.lacking)
    for item in found.workloads:
        console.output.print(f"  {item}: {item.untouched or 'would be restarted'}", markup=False)
    for item in outlook.unchecked:
        console.output.print(f"not checked: {item}", markup=False)
    console.output.print("dry run: nothing was written")


def _show_lacking(lacking: LackingPods) -> None:
    if lacking.evictable or lacking.others:
        console.output.print("Pods that were admitted without the reference, so that the new credential does not help:")
    pods = {f"{pod.namespace}/{pod.name}": f"{pod.owner} recreates it" for pod in lacking.evictable}
    delivering.show_each({**pods, **lacking.others})


def _show_recreated(found: PodsLeft) -> None:
    if found.recreated:
        number = counted(len(found.recreated), "Pod")
        console.output.print(f"[green]✓[/] {number} evicted; the controller recreates them")
    if found.kept:
        console.output.print(f"{counted(len(found.kept), 'Pod')} left alone; add --recreate-pods to evict them")
    left = {**found.left.held, **found.left.refused}
    if left:
        number = counted(len(left), "Pod")
        console.output.print(f"[red]✗[/] {number} not evicted; fix the cause and run the same command again:")
    delivering.show_each(left)


def _show_restart(result: RestartResult) -> None:
    mark = "[green]✓[/]" if result.complete else "[red]✗[/]"
    before = f", {len(result.already)} before" if result.already else ""
    console.output.print(f"{mark} {counted(len(result.restarted), 'workload')} restarted{before}")
    delivering.show_each({name: f"not restarted: {why}" for name, why in result.untouched.items()})
    delivering.show_each({**result.held, **{name: f"failed: {why}" for name, why in result.failed.items()}})
    if result.remaining:
        console.output.print(f"not done: {', '.join(result.remaining)}", markup=False)
