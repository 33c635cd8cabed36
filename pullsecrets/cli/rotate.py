"""`pull-secrets rotate`: a new credential in Vault, proved in every namespace, and the Pods that need it recreated."""

import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from pullsecrets import redaction
from pullsecrets.cli import console, credential, delivering, options
from pullsecrets.cli.seed import confirm_write, show
from pullsecrets.cli.verify import ending_on_terminate
from pullsecrets.config import StackConfig
from pullsecrets.credential import sealed, vault_entry, vault_token
from pullsecrets.delivery import prechecks, retirement
from pullsecrets.delivery import verify as verification
from pullsecrets.delivery.prechecks import Outlook, Target
from pullsecrets.delivery.proof import OnProgress, selected_namespaces
from pullsecrets.delivery.rotation import (
    DEFAULT_TIMEOUT,
    Choices,
    Delivered,
    Listener,
    Outcome,
    PodsLeft,
    Rotation,
    Verify,
)
from pullsecrets.delivery.verify import Trial
from pullsecrets.durations import parse_duration
from pullsecrets.errors import BadInputError, ExitCode
from pullsecrets.text import counted
from pullsecrets.workloads import evict, restart
from pullsecrets.workloads.evict import Evictions, LackingPods
from pullsecrets.workloads.restart import RestartResult, Workload


@options.expanded
def command(  # noqa: PLR0913 - each option of the command line is a parameter
    registry: options.RegistryArgument,
    stack: options.Stack,
    verify_image: Annotated[
        str | None,
        typer.Option("--verify", metavar="IMAGE", help="Have a test Pod pull it in each namespace before it is done."),
    ] = None,
    directory: options.Directory = Path(),
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAMESPACE", help="Prove, and restart, in these alone; repeatable."),
    ] = None,
    timeout: options.ProofTimeout = DEFAULT_TIMEOUT,
    wave_size: Annotated[
        str, typer.Option("--wave-size", help="Workloads restarted together: a number, or a share.")
    ] = restart.DEFAULT_WAVE,
    wave_timeout: Annotated[
        float, typer.Option("--wave-timeout", min=1, help="Seconds for each wave to come up, and for evictions.")
    ] = 600,
    recreate_pods: Annotated[
        bool | None,
        typer.Option(
            "--recreate-pods/--keep-pods", help="Evict Pods that lack the reference; by default a terminal is asked."
        ),
    ] = None,
    *,
    reach: options.Cluster,
    restart_workloads: Annotated[
        bool, typer.Option("--restart", help="Then restart the workloads that pull from the registry, in waves.")
    ] = False,
    rollback_on_failure: Annotated[
        bool,
        typer.Option("--rollback-on-failure", help="Write the old credential back when it arrives nowhere, or hurts."),
    ] = False,
    all_or_nothing: Annotated[
        bool, typer.Option("--all-or-nothing", help="Write it back as well when it misses one namespace.")
    ] = False,
    by_content: Annotated[
        bool, typer.Option("--by-content", help="Read the Secrets too and compare bytes; needs `get` on them.")
    ] = False,
    destroy_previous: Annotated[
        bool,
        typer.Option("--destroy-previous", help="Then destroy what was replaced before the grace period, for good."),
    ] = False,
    grace: Annotated[
        str, typer.Option("--grace", metavar="DURATION", help="How long a replaced version stays, such as 24h.")
    ] = retirement.DEFAULT_GRACE,
    given: options.NewCredential,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    json: options.Json = False,
) -> None:
    """Put a new credential into Vault, have ESO deliver it now, and prove that every namespace holds it.

    The credential is checked and written as by `seed`; of two rotations at once one wins and the other changes
    nothing (exit code 3). Delivery is proved by metadata: the digest that ESO wrote, and no other write since. What
    will not arrive for a reason that already exists is reported before the write. Running Pods need no restart: the
    kubelet reads the Secret at each pull. Only Pods that were admitted without the reference are listed, and evicted
    on request, so that their controllers recreate them. If it is interrupted, run it again to finish.

    A sealed registry takes no credential here: what `seal` and `pulumi up` brought into the cluster is delivered now
    and proved. Exit code 1 when a namespace is not proved in time, a restart is not complete, or a Pod that was to be
    evicted is not.

    Examples:

        pull-secrets rotate app-registry-pull --stack prod --from-file ./new.json --rollback-on-failure

        pull-secrets rotate app-registry-pull --stack prod --username platform-bot --verify-login --expires-in 90d

        pull-secrets rotate app-registry-pull --stack prod -f ./new.json --restart --wave-size 5 --yes --json

        pull-secrets rotate app-registry-pull --stack prod -f ./new.json --verify app-registry.example.com/team/app:1
    """
    restart.wave_length(wave_size, 1)
    if all_or_nothing and not rollback_on_failure:
        raise BadInputError("--all-or-nothing: says how far --rollback-on-failure goes; give that one too")
    kept_for = _grace(grace, rollback_on_failure, only) if destroy_previous else None
    config = console.load(stack, directory)
    wanted = frozenset(only) if only else None
    choices = Choices(
        wanted,
        timeout,
        wave_size,
        wave_timeout,
        restart_workloads,
        recreate_pods,
        rollback_on_failure,
        all_or_nothing,
        by_content,
    )
    if any(item.sealed for item in config.registries if item.name == registry):
        never_asked = replace(choices, recreate=bool(recreate_pods))
        if given.given or rollback_on_failure or destroy_previous:
            raise _sealed(registry)
        _deliver_sealed(config, registry, reach, never_asked, verify_image, dry_run=dry_run, json=json)
        return
    source = given.source()
    chosen = credential.registry_of(config, registry, stack)
    expires = given.expiry()
    content = credential.read(source, chosen)
    if given.verify_login:
        credential.verify_login(content, given.registry_ca)
    cluster = reach.connect(config)
    vault = vault_token.open_vault(config)
    target = Target(config, chosen, cluster, vault)
    installation = prechecks.prepare(target, wanted)
    if rollback_on_failure:
        prechecks.require_way_back(target)
    _require_rights(target, choices, verify_image)
    planned = vault_entry.plan(vault, config, chosen, content, expires)
    outlook = prechecks.foresee(target, wanted, timeout)
    if not json:
        show(planned)
    _show_outlook(outlook)
    if dry_run:
        _show_plan(target, planned, outlook, choices, json=json)
        return
    version = planned.version
    if not planned.unchanged:
        confirm_write(planned, yes=yes, piped=source.takes_standard_input)
        version = vault_entry.write(vault, config, chosen, content, planned)
    asked = None if recreate_pods is None and not (yes or json or source.takes_standard_input) else bool(recreate_pods)
    run = Rotation(
        target,
        installation,
        version,
        planned.new_digest,
        replace(choices, recreate=asked),
        wrote=not planned.stored,
        listener=Listener() if json else _Console(chosen.name),
        verify=_verify(target, verify_image),
    )
    named = {"registry": chosen.name, "path": planned.path, "foreseen": dict(outlook.obstacles)}
    _carry_out(run, named, json=json, kept_for=kept_for)


class _Console(Listener):
    """Prints how a rotation goes, and asks the person before the terminal."""

    def __init__(self, registry: str) -> None:
        self._registry = registry

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
        """Ask, where somebody is there."""
        there = console.output.is_terminal and sys.stdin.isatty()
        return there and typer.confirm(f"Evict these {number} Pods?")

    def evicted(self, found: PodsLeft) -> None:
        """Print what became of the Pods."""
        _show_recreated(found.recreated, found.left, found.kept)

    def say(self, text: str) -> None:
        """Print it."""
        console.output.print(text, markup=False)


def _document(outcome: Outcome) -> dict[str, Any]:
    """Return what `--json` prints of a rotation."""
    parts: dict[str, Any] = {"outcome": outcome.result}
    if outcome.error:
        parts["error"] = redaction.redact(str(outcome.error))
    if outcome.delivered:
        parts |= delivering.document(outcome.delivered)
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
        parts["rolledBack"] = delivering.document(outcome.rolled_back)
    if outcome.not_rolled_back:
        parts["notRolledBack"] = outcome.not_rolled_back
    return parts


def _grace(text: str, rollback_on_failure: bool, only: Collection[str] | None) -> timedelta:
    """Return how long replaced versions stay, where they may be destroyed at all."""
    if rollback_on_failure:
        raise BadInputError("--destroy-previous: not with --rollback-on-failure, which may need what it destroys")
    if only:
        raise BadInputError("--destroy-previous: not with --only: other namespaces are not proved to need it no more")
    try:
        return parse_duration(text)
    except ValueError as error:
        raise BadInputError(f"--grace: found {text!r}; allowed: {error}") from None


def _carry_out(run: Rotation, named: dict[str, Any], *, json: bool, kept_for: timedelta | None = None) -> None:
    """Run it to its end, destroy what is out of use once all is proved, tell the outcome, and end as it did."""
    outcome = run.run()
    destroyed: dict[str, Any] = {}
    if kept_for is not None and outcome.result == "done" and not outcome.error:
        destroyed["destroyed"] = retirement.destroy(run.target, kept_for, datetime.now(UTC))
    if json:
        console.print_json({**named, "wrote": run.wrote, **_document(outcome), **destroyed})
    elif destroyed:
        numbers = ", ".join(map(str, destroyed["destroyed"]))
        console.output.print(
            f"destroyed for good: {f'versions {numbers}' if numbers else 'nothing, all is too recent'}"
        )
    if outcome.error:
        raise outcome.error
    if outcome.result != "done":
        raise typer.Exit(ExitCode.PROBLEM)


def _show_outlook(outlook: Outlook) -> None:
    for warning in outlook.warnings:
        console.errors.print(f"[bold yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    if outlook.obstacles:
        number = counted(len(outlook.obstacles), "namespace")
        console.errors.print(f"[bold yellow]warning:[/] {number} will not take it, for a reason that is there already:")
    for name, reason in outlook.obstacles.items():
        console.errors.print(f"  {name}: {reason}", markup=False, soft_wrap=True)


def _deliver_sealed(
    config: StackConfig,
    name: str,
    reach: options.Cluster,
    choices: Choices,
    verify_image: str | None,
    *,
    dry_run: bool,
    json: bool,
) -> None:
    """Have what `seal` and `pulumi up` brought into the cluster delivered now, and prove it."""
    cluster = reach.connect(config)
    target = Target(config, config.registry(name), cluster, None)
    installation = prechecks.prepare(target, choices.only)
    _require_rights(target, choices, verify_image)
    digest = sealed.declared_digest(config, cluster, target.registry)
    if not json:
        console.output.print(f"digest  {digest}, as the cluster's SealedSecret says")
    if dry_run:
        console.output.print("dry run: nothing was changed")
        return
    listener = Listener() if json else _Console(name)
    verify = _verify(target, verify_image)
    run = Rotation(target, installation, 0, digest, choices, wrote=False, listener=listener, verify=verify)
    _carry_out(run, {"registry": name}, json=json)


def _sealed(name: str) -> BadInputError:
    return BadInputError(
        f"registry {name!r} is sealed: its credential, expiry and way back are in the file that git keeps; renew it "
        f"with `pull-secrets seal {name}` and `pulumi up`, then run this without them"
    )


def _require_rights(target: Target, choices: Choices, verify_image: str | None) -> None:
    """Refuse what the caller may not do, before anything is written."""
    if choices.by_content:
        prechecks.require_readable(target)
    if verify_image is not None:
        verification.registry_of_image(target.config, verify_image, target.registry.name)
        prechecks.require_verifier(target)


def _verify(target: Target, image: str | None) -> Verify | None:
    """Return what has a test Pod pull an image in each namespace; None where none is to be pulled."""
    if image is None:
        return None
    trial = Trial(target.config, target.registry, image)

    def pull(namespaces: Collection[str]) -> Mapping[str, str]:
        with ending_on_terminate():
            return verification.failures(verification.run(target.cluster, trial, namespaces))

    return pull


def _show_plan(
    target: Target, planned: vault_entry.SeedPlan, outlook: Outlook, choices: Choices, *, json: bool
) -> None:
    namespaces = sorted(selected_namespaces(target.cluster, target.registry, choices.only))
    lacking = evict.find_lacking(target.cluster, target.config, target.registry, namespaces)
    found = restart.list_workloads(target.cluster, target.registry, namespaces) if choices.restart else []
    if json:
        pods = [f"{pod.namespace}/{pod.name}" for pod in lacking.evictable]
        foreseen = {
            "foreseen": dict(outlook.obstacles),
            "warnings": list(outlook.warnings),
            "unchecked": list(outlook.unchecked),
        }
        plan = {**foreseen, "namespaces": namespaces, "pods": {"kept": pods, "others": dict(lacking.others)}}
        console.print_json(
            {**asdict(planned), **plan, "workloads": [str(item) for item in found], "outcome": "planned"}
        )
        return
    console.output.print(f"{counted(len(namespaces), 'namespace')} would receive it: {delivering.named(namespaces)}")
    _show_lacking(lacking)
    for item in found:
        console.output.print(f"  {item}: {item.untouched or 'would be restarted'}", markup=False)
    for item in outlook.unchecked:
        console.output.print(f"not checked: {item}", markup=False)
    console.output.print("dry run: nothing was written")


def _show_lacking(lacking: LackingPods) -> None:
    if lacking.evictable or lacking.others:
        console.output.print("Pods that were admitted without the reference, so that the new credential does not help:")
    pods = {f"{pod.namespace}/{pod.name}": f"{pod.owner} recreates it" for pod in lacking.evictable}
    delivering.show_each({**pods, **lacking.others})


def _show_recreated(recreated: Sequence[str], left: Evictions, kept: Sequence[str]) -> None:
    if recreated:
        console.output.print(f"[green]✓[/] {counted(len(recreated), 'Pod')} evicted; the controller recreates them")
    if kept:
        console.output.print(f"{counted(len(kept), 'Pod')} left alone; add --recreate-pods to evict them")
    if left.held or left.refused:
        number = counted(len(left.held) + len(left.refused), "Pod")
        console.output.print(f"[red]✗[/] {number} not evicted; fix the cause and run the same command again:")
    delivering.show_each({**left.held, **left.refused})


def _show_restart(result: RestartResult) -> None:
    mark = "[green]✓[/]" if result.complete else "[red]✗[/]"
    before = f", {len(result.already)} before" if result.already else ""
    console.output.print(f"{mark} {counted(len(result.restarted), 'workload')} restarted{before}")
    delivering.show_each({name: f"not restarted: {why}" for name, why in result.untouched.items()})
    delivering.show_each({**result.held, **{name: f"failed: {why}" for name, why in result.failed.items()}})
    if result.remaining:
        console.output.print(f"not done: {', '.join(result.remaining)}", markup=False)
