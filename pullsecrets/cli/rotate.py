"""`pull-secrets rotate`: a new credential in Vault, proved in every namespace, and the Pods that need it made anew."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from pullsecrets import delivery, preflight, recreate, redaction, restart, rotation, sealed, seed
from pullsecrets.cli import console, credential, delivering
from pullsecrets.cli.seed import confirm_write, show
from pullsecrets.config import StackConfig
from pullsecrets.credential.sources import Source
from pullsecrets.errors import BadInputError, ConflictError, ExitCode, PullSecretsError
from pullsecrets.eso import Installation
from pullsecrets.kube import KubernetesClient
from pullsecrets.patience import patiently
from pullsecrets.recreate import Evictions, LackingPods
from pullsecrets.restart import RestartResult, Workload
from pullsecrets.rotation import Delivered, Target
from pullsecrets.words import counted

_T = TypeVar("_T")


def command(  # noqa: PLR0913 - each option of the command line is a parameter
    registry: Annotated[str, typer.Argument(help="Registry of the stack, such as app-registry-pull.")],
    stack: console.Stack,
    from_file: credential.FromFile = None,
    from_docker_config: credential.FromDockerConfig = None,
    username: credential.Username = None,
    password_fd: credential.PasswordFd = None,
    expires_at: credential.ExpiresAt = None,
    expires_in: credential.ExpiresIn = None,
    registry_ca: credential.RegistryCa = None,
    directory: console.Directory = Path(),
    context: Annotated[
        str | None, typer.Option("--context", help="kubeconfig context of an operator; cluster.context by default.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAMESPACE", help="Prove, and restart, in these alone; repeatable."),
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait for the proof.")] = 300,
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
    restart_workloads: Annotated[
        bool, typer.Option("--restart", help="Then restart the workloads that pull from the registry, in waves.")
    ] = False,
    rollback_on_failure: Annotated[
        bool, typer.Option("--rollback-on-failure", help="Write the old credential back when proof or restart fails.")
    ] = False,
    password_stdin: credential.PasswordStdin = False,
    verify_login: credential.VerifyLogin = False,
    dry_run: console.DryRun = False,
    yes: console.Yes = False,
    json: console.Json = False,
) -> None:
    """Put a new credential into Vault, have ESO deliver it now, and prove that every namespace holds it.

    The credential is checked and written as by `seed`; of two rotations at once one wins and the other changes
    nothing (exit code 3). Delivery is proved by the digest beside each Secret, never by reading Secrets. Running Pods
    need no restart: the kubelet reads the Secret at each pull. Only Pods that were admitted without the reference are
    listed, and made anew by eviction if you want. Killed at any point, running it again finishes the job.

    A sealed registry takes no credential here: what `seal` and `pulumi up` brought into the cluster is delivered now
    and proved. Exit code 1 when a namespace is not proved in time, a restart is not complete, or a Pod that was to be
    made anew is not evicted.

    Examples:

        pull-secrets rotate app-registry-pull --stack prod --from-file ./new.json --rollback-on-failure

        pull-secrets rotate app-registry-pull --stack prod --username platform-bot --verify-login --expires-in 90d

        pull-secrets rotate app-registry-pull --stack prod -f ./new.json --restart --wave-size 5 --yes --json
    """
    restart.wave_length(wave_size, 1)
    config = console.load(stack, directory)
    wanted = frozenset(only) if only else None
    if any(item.sealed for item in config.registries if item.name == registry):
        given = (from_file, from_docker_config, username, expires_at, expires_in, verify_login, rollback_on_failure)
        choices = _Choices(
            wanted,
            timeout,
            wave_size,
            wave_timeout,
            restart_workloads,
            bool(recreate_pods),
            take_back=False,
            quiet=json,
        )
        _deliver_sealed(config, registry, context, choices, plain=not any(given), dry_run=dry_run)
        return
    source = Source(from_file, from_docker_config, username, password_fd, password_stdin)
    chosen = credential.registry_of(config, registry, stack)
    expires = credential.expiry(expires_at, expires_in)
    content = credential.read(source, chosen)
    if verify_login:
        credential.verify_login(content, registry_ca)
    cluster = KubernetesClient(context or config.cluster.context)
    vault = preflight.open_vault(config)
    target = Target(config, chosen, cluster, vault)
    installation = rotation.prepare(target, wanted)
    planned = seed.plan(vault, config, chosen, content, expires)
    if not json:
        show(planned)
    if dry_run:
        _show_plan(target, planned, wanted, restart_workloads=restart_workloads, json=json)
        return
    version = planned.version
    if not planned.unchanged:
        confirm_write(planned, yes=yes, piped=source.takes_standard_input)
        version = seed.write(vault, config, chosen, content, planned)
    asked = None if recreate_pods is None and not (yes or json or source.takes_standard_input) else bool(recreate_pods)
    run = _Run(
        target,
        installation,
        version,
        planned.new_digest,
        _Choices(wanted, timeout, wave_size, wave_timeout, restart_workloads, asked, rollback_on_failure, json),
        wrote=not planned.stored,
    )
    _carry_out(run, {"registry": chosen.name, "path": planned.path})


@dataclass(frozen=True)
class _Choices:
    """What the caller chose for the time after the write."""

    only: frozenset[str] | None
    timeout: float
    wave_size: str
    wave_timeout: float
    restart: bool
    recreate: bool | None
    """Whether Pods without the reference are evicted; None to ask."""
    take_back: bool
    quiet: bool


@dataclass
class _Run:
    """Everything after the write: proof, restarts, Pods, and the way back."""

    target: Target
    installation: Installation
    version: int
    digest: str
    choices: _Choices
    wrote: bool
    unfinished: bool = False
    """Whether something was left to do: a namespace lacked the content, or an earlier run had begun the restart."""
    error: PullSecretsError | None = None
    """What ended a step before its time."""
    found: dict[str, Any] = field(default_factory=dict[str, Any])

    def run(self) -> dict[str, Any]:
        """Return what `--json` prints.

        Raises:
            ConflictError: when somebody else wrote meanwhile: what happens next is theirs.
        """
        delivered = self._attempt(self._arrive)
        if delivered is None:
            outcome = self._take_back()
        else:
            outcome = "done" if self._attempt(lambda: self._complete(delivered)) else "failed"
        return {**self.found, "outcome": outcome}

    def _attempt(self, step: Callable[[], _T]) -> _T | None:
        """Take a step; an error that ends it does not keep what must follow from being done and told."""
        try:
            return step()
        except ConflictError:
            raise
        except PullSecretsError as error:
            self.error = error
            self.found["error"] = redaction.redact(str(error))
            return None

    def _arrive(self) -> Delivered | None:
        """Have the version delivered, and workloads restarted; None when either is not complete."""
        delivered = self._deliver()
        good = not delivered.missing and (not self.choices.restart or self._restart(delivered))
        return delivered if good else None

    def _complete(self, delivered: Delivered) -> bool:
        """Record the success, and make Pods anew; False when one of them is left."""
        # What was proved in some namespaces alone may still fail in the others.
        if self.choices.only is None:
            patiently(self._deadline(), rotation.finish, self.target, self.version)
        return self._recreate(delivered)

    def _deliver(self) -> Delivered:
        with delivering.progress(quiet=self.choices.quiet) as show_progress:

            def on_progress(state: delivery.Progress) -> None:
                self.unfinished |= bool(state.missing)
                if show_progress:
                    show_progress(state)

            delivered = rotation.deliver(
                self.target,
                self.installation,
                self.version,
                self.digest,
                self.choices.timeout,
                only=self.choices.only,
                on_progress=on_progress,
            )
        self.unfinished |= delivered.synced
        self.found |= delivering.document(delivered)
        if not self.choices.quiet:
            delivering.show(delivered, self.target.registry.name)
        return delivered

    def _restart(self, delivered: Delivered) -> bool:
        target, choices = self.target, self.choices
        workloads = patiently(
            self._deadline(), restart.list_workloads, target.cluster, target.registry, delivered.namespaces
        )
        reason = f"{target.registry.name}@{self.version or self.digest}"
        self.unfinished |= any(item.restarted_for == reason for item in workloads)
        result = restart.restart(
            target.cluster,
            workloads,
            reason,
            choices.wave_size,
            choices.wave_timeout,
            None if choices.quiet else _show_wave,
        )
        self.found["restart"] = asdict(result)
        if not choices.quiet:
            _show_restart(result)
        return result.complete

    def _recreate(self, delivered: Delivered) -> bool:
        target = self.target
        lacking = patiently(
            self._deadline(),
            recreate.find_lacking,
            target.cluster,
            target.config,
            target.registry,
            delivered.namespaces,
        )
        evictable = {f"{pod.namespace}/{pod.name}": pod for pod in lacking.evictable}
        if not self.choices.quiet:
            _show_lacking(lacking)
        chosen = self.choices.recreate
        if chosen is None and evictable:
            chosen = (
                console.output.is_terminal
                and sys.stdin.isatty()
                and typer.confirm(f"Evict these {len(evictable)} Pods?")
            )
        left = Evictions({}, {})
        if chosen:
            left = recreate.evict(target.cluster, lacking.evictable, self.choices.wave_timeout)
        recreated = sorted(evictable.keys() - left.held.keys() - left.refused.keys()) if chosen else []
        kept = [] if chosen else sorted(evictable)
        evictions = {"recreated": recreated, "held": dict(left.held), "refused": dict(left.refused)}
        self.found["pods"] = {**evictions, "kept": kept, "others": dict(lacking.others)}
        if not self.choices.quiet:
            _show_recreated(recreated, left, kept)
        return not (left.held or left.refused)

    def _take_back(self) -> str:
        """Say how a failure ends: `failed`, or `rolled back` when the old content was written and proved again."""
        target, choices = self.target, self.choices
        name = target.registry.name
        if target.vault is None:
            self._say("the sealed credential stays; run the same command again, or put the old file back with git")
            return "failed"
        try:
            if not choices.take_back or not self._is_ours():
                self._say(
                    f"version {self.version} stays; run the same command again, or `pull-secrets rollback {name}`"
                )
                return "failed"
            with delivering.progress(quiet=choices.quiet) as on_progress:
                delivered = rotation.take_back(
                    target, self.installation, self.version, choices.timeout, on_progress=on_progress
                )
        except ConflictError:
            raise
        except PullSecretsError as error:
            self._tell_not_taken_back(error)
            return "failed"
        self.found["rolledBack"] = delivering.document(delivered)
        self._say(f"rolled back: the content before version {self.version} is version {delivered.version} now")
        if not choices.quiet:
            delivering.show(delivered, name)
        return "failed" if delivered.missing else "rolled back"

    def _tell_not_taken_back(self, error: PullSecretsError) -> None:
        text = redaction.redact(str(error))
        self.found["notRolledBack"] = text
        if isinstance(error, BadInputError):
            self._say(f"not rolled back: {text}")
            return
        # It may have ended before or after its write.
        name = self.target.registry.name
        self._say(f"not rolled back to the end: {text}; see `pull-secrets rollback {name} --dry-run`")
        self.error = self.error or error

    def _is_ours(self) -> bool:
        """Tell whether this rotation, or an earlier run of it, brought the version in.

        One that had arrived before, by whatever way, is not taken back: what fails now is something else.
        """
        held = self.found.get("restart", {}).get("held") and not self.found["restart"]["failed"]
        if held or not (self.wrote or self.unfinished):
            return False
        return not patiently(self._deadline(), rotation.is_finished, self.target, self.version)

    def _deadline(self) -> float:
        """Until when a single request is tried again."""
        return time.monotonic() + self.choices.timeout

    def _say(self, text: str) -> None:
        if not self.choices.quiet:
            console.output.print(text, markup=False)


def _carry_out(run: _Run, named: dict[str, str]) -> None:
    """Run it to its end, tell the outcome, and end as it did."""
    outcome = run.run()
    if run.choices.quiet:
        console.print_json({**named, "wrote": run.wrote, **outcome})
    if run.error:
        raise run.error
    if outcome["outcome"] != "done":
        raise typer.Exit(ExitCode.PROBLEM)


def _deliver_sealed(
    config: StackConfig, name: str, context: str | None, choices: _Choices, *, plain: bool, dry_run: bool
) -> None:
    """Have what `seal` and `pulumi up` brought into the cluster delivered now, and prove it."""
    if not plain:
        raise BadInputError(
            f"registry {name!r} is sealed: its credential, expiry and way back are in the file that git keeps; renew "
            f"it with `pull-secrets seal {name}` and `pulumi up`, then run this without them"
        )
    cluster = KubernetesClient(context or config.cluster.context)
    target = Target(config, config.registry(name), cluster, None)
    installation = rotation.prepare(target, choices.only)
    digest = sealed.declared_digest(config, cluster, target.registry)
    if not choices.quiet:
        console.output.print(f"digest  {digest}, as the cluster's SealedSecret says")
    if dry_run:
        console.output.print("dry run: nothing was changed")
        return
    _carry_out(_Run(target, installation, 0, digest, choices, wrote=False), {"registry": name})


def _show_plan(
    target: Target, planned: seed.SeedPlan, only: frozenset[str] | None, *, restart_workloads: bool, json: bool
) -> None:
    namespaces = sorted(rotation.selected_namespaces(target.cluster, target.registry, only))
    lacking = recreate.find_lacking(target.cluster, target.config, target.registry, namespaces)
    found = restart.list_workloads(target.cluster, target.registry, namespaces) if restart_workloads else []
    if json:
        pods = [f"{pod.namespace}/{pod.name}" for pod in lacking.evictable]
        plan = {"namespaces": namespaces, "pods": {"kept": pods, "others": dict(lacking.others)}}
        console.print_json(
            {**asdict(planned), **plan, "workloads": [str(item) for item in found], "outcome": "planned"}
        )
        return
    console.output.print(f"{counted(len(namespaces), 'namespace')} would receive it: {delivering.named(namespaces)}")
    _show_lacking(lacking)
    for item in found:
        console.output.print(f"  {item}: {item.untouched or 'would be restarted'}", markup=False)
    console.output.print("dry run: nothing was written")


def _show_lacking(lacking: LackingPods) -> None:
    if lacking.evictable or lacking.others:
        console.output.print("Pods that were admitted without the reference, so that the new credential does not help:")
    pods = {f"{pod.namespace}/{pod.name}": f"{pod.owner} makes it again" for pod in lacking.evictable}
    delivering.show_each({**pods, **lacking.others})


def _show_recreated(recreated: Sequence[str], left: Evictions, kept: Sequence[str]) -> None:
    if recreated:
        console.output.print(f"[green]✓[/] {counted(len(recreated), 'Pod')} evicted, to be made anew")
    if kept:
        console.output.print(f"{counted(len(kept), 'Pod')} left alone; add --recreate-pods to evict them")
    if left.held or left.refused:
        number = counted(len(left.held) + len(left.refused), "Pod")
        console.output.print(f"[red]✗[/] {number} not evicted; mend the cause and run the same command again:")
    delivering.show_each({**left.held, **left.refused})


def _show_wave(wave: Sequence[Workload], _done: RestartResult, after: int) -> None:
    console.output.print(f"restarting {', '.join(map(str, wave))}; {after} after them", markup=False)


def _show_restart(result: RestartResult) -> None:
    mark = "[green]✓[/]" if result.complete else "[red]✗[/]"
    before = f", {len(result.already)} before" if result.already else ""
    console.output.print(f"{mark} {counted(len(result.restarted), 'workload')} restarted{before}")
    delivering.show_each({name: f"not restarted: {why}" for name, why in result.untouched.items()})
    delivering.show_each({**result.held, **{name: f"failed: {why}" for name, why in result.failed.items()}})
    if result.remaining:
        console.output.print(f"not done: {', '.join(result.remaining)}", markup=False)
