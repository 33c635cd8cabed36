"""What the fleet commands do with one stack: the same as the commands for a single one, without their dialog."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from pullsecrets import redaction
from pullsecrets.config import Registry, StackConfig, require_registry
from pullsecrets.coverage.audit import audit as audit_stack
from pullsecrets.coverage.audit import credential as recorded
from pullsecrets.coverage.report import document
from pullsecrets.coverage.report.summary import actions as advice
from pullsecrets.coverage.report.summary import headline
from pullsecrets.credential import document as credentials
from pullsecrets.credential import history, vault_token
from pullsecrets.credential.expiry import format_expiry
from pullsecrets.credential.recorded import expected_digest
from pullsecrets.credential.vault import VaultClient
from pullsecrets.delivery import prechecks, rotation
from pullsecrets.delivery.deliver import Delivered, roll_back
from pullsecrets.delivery.plan import Choices, Plan, plan
from pullsecrets.delivery.prechecks import Target
from pullsecrets.delivery.proof import OnProgress, Progress, prove_digest
from pullsecrets.doctor.diagnosis import diagnose
from pullsecrets.doctor.exchange import as_document
from pullsecrets.doctor.model import Severity
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.errors import BadInputError, ConflictError, ExitCode, PullSecretsError
from pullsecrets.fleet import engine
from pullsecrets.fleet.stacks import FleetStack
from pullsecrets.fleet.worker import Done, Say
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.kubeconfig import Reach, read_access
from pullsecrets.text import counted, listed

_T = TypeVar("_T")


def check_run(stack: FleetStack, _: Say) -> Done:
    """Check that Pulumi can begin: the stack's context is there, the backend has the stack, and nobody holds it."""
    read_access(Reach(context=_config(stack).cluster.context))
    engine.require_ready(stack)
    return Done(summary="ready")


def preview(stack: FleetStack, say: Say) -> Done:
    """Preview a stack."""
    check_run(stack, say)
    return engine.preview(stack, say)


def refresh_check(stack: FleetStack, say: Say) -> Done:
    """Look for drift: what of a stack is no longer as its state says."""
    check_run(stack, say)
    return engine.preview(stack, say, refresh=True)


def up(stack: FleetStack, say: Say) -> Done:
    """Bring a stack up."""
    return engine.up(stack, say)


def audit(stack: FleetStack, say: Say) -> Done:
    """Report the coverage of a stack."""
    say("reading the cluster")
    config = _config(stack)
    found = audit_stack(config, _cluster(config), vault_token.open_vault_of(config))
    code = ExitCode.DONE if found.green else ExitCode.PROBLEM
    return Done(code, headline(found), advice(found, stack.name), document.build(found, stack.name, stack.cluster))


def doctor(stack: FleetStack, say: Say) -> Done:
    """Diagnose a stack."""
    config = _config(stack)
    cluster = _cluster(config)
    # Without the cluster there is nothing to diagnose: no check would say more than that.
    cluster.get("/version")
    say("running the checks")
    report = diagnose(Snapshot(config, stack.name, cluster))
    causes = [f"{item.check}: {item.causes[0]}" for item in report.diagnoses]
    unchecked = [f"could not be checked: {item.check}: {item.reason}" for item in report.unchecked]
    code = ExitCode.DONE if report.passes(Severity.TENANT) else ExitCode.PROBLEM
    summary = f"{counted(len(causes), 'cause')} of {counted(len(report.checks), 'check')}" if causes else "healthy"
    return Done(code, summary, (*causes, *unchecked), as_document(report, stack.name, None))


def status(stack: FleetStack, say: Say) -> Done:
    """Say which credential each registry has, until when, and how many namespaces hold it."""
    config = _config(stack)
    cluster, vault = _cluster(config), vault_token.open_vault_of(config)
    say(str(cluster.get("/version").get("gitVersion", "")))
    found = [_registry_status(config, registry, cluster, vault) for registry in config.registries]
    problems = tuple(problem for item in found for problem in item.problems())
    detail = {"registries": [asdict(item) for item in found]}
    return Done(ExitCode.PROBLEM if problems else ExitCode.DONE, "; ".join(map(str, found)), problems, detail)


@dataclass(frozen=True)
class RegistryStatus:
    """One registry of a stack: its credential, and where it has arrived."""

    registry: str
    version: int | None
    """Of its path in Vault; None for a sealed credential."""
    expires_at: str | None
    digest: str | None = None
    namespaces: int = 0
    missing: tuple[str, ...] = ()
    problem: str | None = None
    """Why nothing can be proved."""

    def problems(self) -> Iterator[str]:
        """Say what is wrong."""
        if self.problem:
            yield f"{self.registry}: {self.problem}"
        if self.missing:
            yield f"{self.registry}: not proved in {listed(self.missing)}"

    def __str__(self) -> str:
        """Say it in a few words."""
        if self.problem:
            return f"{self.registry} cannot be proved"
        what = "sealed" if self.version is None else f"version {self.version}"
        expiry = f", expires {self.expires_at[:10]}" if self.expires_at else ""
        return f"{self.registry} {what} in {self.namespaces - len(self.missing)} of {self.namespaces}{expiry}"


def _registry_status(
    config: StackConfig, registry: Registry, cluster: KubernetesClient, vault: VaultClient | None
) -> RegistryStatus:
    stored = vault.read_metadata(config.vault.mount, registry.path) if vault and not registry.sealed else None
    known = recorded(registry, stored)
    expiry = format_expiry(known.expires_at) if known.expires_at else None
    found = RegistryStatus(registry.name, None if registry.sealed else known.version, expiry)
    try:
        digest = expected_digest(config, cluster, vault, registry)
    except PullSecretsError as error:
        return replace(found, problem=str(error))
    progress = prove_digest(cluster, registry, digest, None, timeout=0)
    missing = tuple(sorted(progress.missing))
    return replace(found, digest=digest, namespaces=len(progress.wanted), missing=missing)


@dataclass(frozen=True)
class Rotate:
    """Writes a new credential of one stack's registry to Vault and proves its delivery; called, it only checks."""

    registry: str
    choices: Choices
    content: str | None = field(default=None, repr=False)
    """The document to be stored; None for what is sealed."""
    expires_at: datetime | None = None

    def __call__(self, stack: FleetStack, say: Say) -> Done:
        """Check that the credential fits and would arrive; nothing is written.

        Raises:
            PullSecretsError: when it would not.
        """
        say("checking")
        planned = self._plan(stack)
        if planned.seed:
            prechecks.require_may_write(planned.target, planned.seed.version)
        outlook = planned.outlook
        obstacles = [f"{namespace} will not receive it: {why}" for namespace, why in outlook.obstacles.items()]
        written = "is stored already" if planned.seed and planned.seed.stored else "fits"
        detail = {"digest": planned.digest, "foreseen": dict(outlook.obstacles), "warnings": list(outlook.warnings)}
        return Done(summary=f"{planned.digest} {written}", problems=(*obstacles, *outlook.warnings), detail=detail)

    def carry_out(self, stack: FleetStack, say: Say) -> Done:
        """Rotate.

        Raises:
            PullSecretsError: what ended it before its time.
        """
        # Of two stacks that share a path one writes, and the other finds that it has nothing to write.
        planned, version = _once_more(lambda: self._write(stack))
        listener = _Listener(say)
        run = rotation.Rotation(planned, version, listener)
        outcome = run.run()
        if outcome.error:
            raise outcome.error
        code = ExitCode.DONE if outcome.result == "done" else ExitCode.PROBLEM
        found = outcome.delivered
        prefix = "" if outcome.result == "done" else f"{outcome.result}: "
        summary = f"{prefix}{_arrived(found)}" if found else outcome.result
        problems = (*_lacking(found), *listener.said)
        return Done(code, summary, problems, {"outcome": outcome.result, "wrote": run.wrote, **_detail(found)})

    def _write(self, stack: FleetStack) -> tuple[Plan, int]:
        planned = self._plan(stack)
        return planned, planned.write()

    def _plan(self, stack: FleetStack) -> Plan:
        config = _config(stack)
        registry = require_registry(config, self.registry, stack.name)
        credential = None
        if self.content is not None:
            redaction.register(self.content)
            credential = credentials.parse(self.content)
            credentials.require_hosts(credential, registry.hosts, registry.rejected_hosts, registry.name)
        vault = None if registry.sealed else vault_token.open_vault_of(config)
        return plan(Target(config, registry, _cluster(config), vault), self.choices, credential, self.expires_at)


@dataclass(frozen=True)
class RollBack:
    """Restores an earlier version of one stack's credential and proves its delivery; called, it only checks."""

    registry: str
    timeout: float
    to: int | None = None

    def __call__(self, stack: FleetStack, say: Say) -> Done:
        """Check that there is a version to go back to and that it would arrive; nothing is written.

        Raises:
            PullSecretsError: when there is none, or it would not.
        """
        say("checking")
        target = self._target(stack)
        planned = history.plan(_vault_of(target), target.config, target.registry, self.to)
        prechecks.prepare(target)
        prechecks.require_may_write(target, planned.version)
        if planned.unchanged:
            return Done(summary=f"version {planned.version} holds the content of version {planned.source} already")
        return Done(summary=f"version {planned.source} is to be written as version {planned.version + 1}")

    def carry_out(self, stack: FleetStack, say: Say) -> Done:
        """Roll back.

        Raises:
            PullSecretsError: what ended it before its time.
        """
        target = self._target(stack)
        installation = prechecks.prepare(target)
        with _Listener(say).delivering() as on_progress:
            found = _once_more(
                lambda: roll_back(
                    target,
                    history.plan(_vault_of(target), target.config, target.registry, self.to),
                    installation,
                    self.timeout,
                    on_progress,
                )
            )
        code = ExitCode.PROBLEM if found.missing else ExitCode.DONE
        return Done(code, _arrived(found), _lacking(found), _detail(found))

    def _target(self, stack: FleetStack) -> Target:
        config = _config(stack)
        registry = require_registry(config, self.registry, stack.name)
        prechecks.require_in_vault(registry)
        return Target(config, registry, _cluster(config), vault_token.open_vault_of(config))


class _Listener(rotation.Listener):
    """Tells the table how far a delivery is, and keeps what is said of a failure."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self.said: list[str] = []

    @contextmanager
    def delivering(self) -> Generator[OnProgress | None]:
        """Say how many namespaces are proved."""

        def show(state: Progress) -> None:
            self._say(f"proved {state.proved} of {counted(len(state.wanted), 'namespace')}")

        yield show

    def say(self, text: str) -> None:
        """Keep it for the report."""
        self.said.append(text)


def _once_more(act: Callable[[], _T]) -> _T:
    """Act again where another writer came in between: it may have been another stack of this very run."""
    try:
        return act()
    except ConflictError:
        return act()


def _config(stack: FleetStack) -> StackConfig:
    if stack.config is None:
        raise BadInputError(stack.problem)
    return stack.config


def _cluster(config: StackConfig) -> KubernetesClient:
    return KubernetesClient(Reach(context=config.cluster.context))


def _vault_of(target: Target) -> VaultClient:
    if target.vault is None:
        raise BadInputError(f"registry {target.registry.name}: the stack has no Vault")
    return target.vault


def _arrived(found: Delivered) -> str:
    total = len(found.namespaces) + len(found.missing)
    return f"version {found.version} proved in {len(found.namespaces)} of {counted(total, 'namespace')}"


def _lacking(found: Delivered | None) -> tuple[str, ...]:
    return tuple(f"{namespace} lacks it: {why}" for namespace, why in found.missing.items()) if found else ()


def _detail(found: Delivered | None) -> dict[str, object]:
    return found.document() if found else {}
