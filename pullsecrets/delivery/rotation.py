"""Rotation: makes what Vault holds arrive in every namespace, proves it, and takes it back when that fails."""

import base64
import binascii
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast

from pullsecrets import redaction
from pullsecrets.credential import history
from pullsecrets.credential.document import content_digest
from pullsecrets.delivery.prechecks import Target
from pullsecrets.delivery.proof import OnProgress, Progress, prove_digest
from pullsecrets.errors import BadInputError, ConflictError, PullSecretsError
from pullsecrets.kube import eso
from pullsecrets.kube.eso import Installation, external_secret_path
from pullsecrets.kube.marks import CONTENT_DIGEST_ANNOTATION, PULL_SECRET_KEY
from pullsecrets.kube.objects import annotations_of, secret_path
from pullsecrets.kube.ownership import Delivery, not_synced, read_deliveries
from pullsecrets.kube.waiting import patiently
from pullsecrets.workloads import evict, restart
from pullsecrets.workloads.evict import Evictions, LackingPods
from pullsecrets.workloads.pods import PodPull
from pullsecrets.workloads.restart import RestartResult, Workload

DEFAULT_TIMEOUT = 300
"""Seconds to wait for the proof of a delivery."""

LOOK_AT_VAULT_SECONDS = 15.0
"""How often the wait looks whether somebody else has written: then it would never end well."""

_POLL_SECONDS = 0.5
_PARALLEL = 8
_FINISHED_PREFIX = "rotated-in-"

_T = TypeVar("_T")


@dataclass(frozen=True)
class Delivered:
    """How a version arrived."""

    version: int
    digest: str
    namespaces: tuple[str, ...]
    """Those that hold the content."""
    missing: Mapping[str, str]
    """Those that do not, and what ESO says of each."""
    seconds: float
    synced: bool = field(default=True)
    """Whether ESO had to be told; False when all of them held the content already."""


def deliver(
    target: Target,
    installation: Installation,
    version: int,
    digest: str,
    timeout: float,
    *,
    only: Collection[str] | None = None,
    on_progress: OnProgress | None = None,
) -> Delivered:
    """Make ESO sync a version now and wait until every namespace is proved to hold it.

    Where all hold it already, ESO is left alone.

    Args:
        target: what is delivered, and where.
        installation: as `prepare` gives it.
        version: the version in Vault; 0 for what was sealed.
        digest: of its content.
        timeout: seconds.
        only: wait for these namespaces alone.
        on_progress: told whenever what is missing changes.

    Raises:
        ConflictError: when another version was written meanwhile.
    """
    began = time.monotonic()
    deadline = began + timeout

    def look(seconds: float) -> Progress:
        left = max(0.0, min(seconds, deadline - time.monotonic()))
        return prove_digest(target.cluster, target.registry, digest, only, timeout=left, on_progress=on_progress)

    progress = patiently(deadline, look, 0)
    synced = bool(progress.missing)
    if synced:
        if target.registry.relayed:
            _pass_relay(target, version, digest, deadline)
        _sync(target, installation, progress, deadline)
        while progress.missing and time.monotonic() < deadline:
            progress = patiently(deadline, look, LOOK_AT_VAULT_SECONDS)
            if progress.missing:
                patiently(deadline, _require_current, target, version)
                if not installation.hands_on:
                    _sync(target, installation, progress, deadline)
    return Delivered(
        version=version,
        digest=digest,
        # What was seen together: a namespace that joined since is not proved.
        namespaces=tuple(sorted(progress.wanted - progress.missing)),
        missing=_explained(target, digest, progress.missing),
        seconds=time.monotonic() - began,
        synced=synced,
    )


def compare_bytes(target: Target, delivered: Delivered) -> Delivered:
    """Read each Secret that is proved by its metadata, and leave out those that hold other bytes than were written."""

    def differs(namespace: str) -> bool:
        found = target.cluster.find(secret_path(namespace, target.registry.name)) or {}
        encoded = cast("dict[str, str]", found.get("data") or {}).get(PULL_SECRET_KEY, "")
        redaction.register(encoded)
        try:
            content = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return True
        redaction.register(content)
        return content_digest(content) != delivered.digest

    names = delivered.namespaces
    with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
        others = {name for name, other in zip(names, pool.map(differs, names), strict=True) if other}
    text = "its bytes are not those that were written, whatever its metadata says"
    return replace(
        delivered,
        namespaces=tuple(name for name in names if name not in others),
        missing={**delivered.missing, **dict.fromkeys(sorted(others), text)},
    )


def take_back(
    target: Target,
    installation: Installation,
    version: int,
    timeout: float,
    *,
    only: Collection[str] | None = None,
    on_progress: OnProgress | None = None,
) -> Delivered:
    """Write the content before a version that did not arrive as a new version, and prove that one.

    Raises:
        ConflictError: when somebody else wrote after that version; theirs is left alone.
        BadInputError: when there is no earlier version to go back to.
    """
    if target.vault is None:
        raise BadInputError("a sealed credential is taken back in git, where its file is kept, and by `pulumi up`")
    deadline = time.monotonic() + timeout
    planned = patiently(deadline, history.plan, target.vault, target.config, target.registry)
    if planned.version != version:
        _require_current(target, version)
    restored = history.restore(target.vault, target.config, target.registry, planned)
    return deliver(target, installation, restored, planned.digest, timeout, only=only, on_progress=on_progress)


def finish(target: Target, version: int) -> None:
    """Record that a version was rotated in to the end in this cluster, so that no later failure takes it back.

    Only where it was proved in every namespace: one that was proved in some may still fail in the others.
    """
    key = f"{_FINISHED_PREFIX}{target.config.cluster.name}"
    if target.vault and _records(target).get(key) != str(version):
        target.vault.patch_metadata(target.config.vault.mount, target.registry.path, {key: str(version)})


def is_finished(target: Target, version: int) -> bool:
    """Tell whether a rotation of that version ended well before, in this cluster or another one.

    Clusters may share a path, and each is rotated by itself: what has arrived in one is not for another to take back.
    """
    found = {value for key, value in _records(target).items() if key.startswith(_FINISHED_PREFIX)}
    return str(version) in found


def _records(target: Target) -> Mapping[str, str]:
    found = target.vault.read_metadata(target.config.vault.mount, target.registry.path) if target.vault else None
    return found.custom if found else {}


def explain(target: Target, digest: str, missing: Iterable[str]) -> dict[str, str]:
    """Return, for each namespace that is not proved to hold a content, why."""
    names = sorted(missing)
    if not names:
        return {}
    name = target.registry.name
    found = read_deliveries(target.cluster, name)
    relay = found.get(target.config.eso.namespace) if target.registry.relayed else None
    if relay and relay.external_secret and (problem := not_synced(relay.external_secret)):
        # What is not even in the one Secret that all others are made from is no fault of theirs.
        return dict.fromkeys(names, redaction.redact(f"its relay in {target.config.eso.namespace}: {problem}"))
    doubts = {item: found.get(item, Delivery(name, None, None)).unproved(digest) for item in names}
    return {item: redaction.redact(doubt or "it arrived when the time was over") for item, doubt in doubts.items()}


def _explained(target: Target, digest: str, missing: frozenset[str]) -> dict[str, str]:
    try:
        return explain(target, digest, missing)
    except PullSecretsError as error:
        # That they lack the content is known all the same.
        return dict.fromkeys(sorted(missing), redaction.redact(f"its ExternalSecret cannot be read: {error}"))


def _sync(target: Target, installation: Installation, progress: Progress, deadline: float) -> None:
    patiently(deadline, eso.force_sync, target.cluster, target.registry, installation, progress.missing)


def _require_current(target: Target, version: int) -> None:
    if target.vault is None:
        return
    found = target.vault.read_metadata(target.config.vault.mount, target.registry.path)
    current = found.current_version if found else 0
    if current != version:
        raise ConflictError(
            f"Vault path {target.config.vault.mount}/{target.registry.path}: version {current} was written while "
            f"version {version} was being delivered; look at who wrote it, then rotate again"
        )


def _pass_relay(target: Target, version: int, digest: str, deadline: float) -> None:
    """Refresh the one Secret in ESO's namespace that the tenants' copies are made from, before they are refreshed."""
    namespace, name = target.config.eso.namespace, target.registry.name
    if not target.registry.sealed:
        patiently(deadline, target.cluster.merge_patch, external_secret_path(namespace, name), eso.sync_request())
    while patiently(deadline, _relayed_digest, target) != digest and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    patiently(deadline, _require_current, target, version)


def _relayed_digest(target: Target) -> str | None:
    query = {"fieldSelector": f"metadata.name={target.registry.name}"}
    path = f"/api/v1/namespaces/{target.config.eso.namespace}/secrets"
    items = target.cluster.items(path, query, metadata_only=True)
    return next((annotations_of(item).get(CONTENT_DIGEST_ANNOTATION) for item in items), None)


@dataclass(frozen=True)
class Choices:
    """What the caller chose for the time after the write."""

    only: frozenset[str] | None
    timeout: float
    wave_size: str
    wave_timeout: float
    restart: bool
    recreate: bool | None
    """Whether Pods without the reference are evicted; None to ask."""
    take_back: bool
    """Whether the content before is written again where the new one arrived nowhere, or hurts where it arrived."""
    all_or_nothing: bool = False
    """Whether it is taken back as well where it arrived in some namespaces and not in others."""
    by_content: bool = False


@dataclass
class Outcome:
    """How far a rotation came; each part is None until it was reached."""

    result: str = "failed"
    """`done`, `failed` or `rolled back`."""
    delivered: Delivered | None = None
    restart: RestartResult | None = None
    unpulled: Mapping[str, str] | None = None
    """Namespaces in which the test Pod could not pull, and the kubelet's words; None where none was asked for."""
    pods: "PodsLeft | None" = None
    rolled_back: Delivered | None = None
    not_rolled_back: str | None = None
    error: PullSecretsError | None = None
    """What ended a step before its time."""


@dataclass(frozen=True)
class PodsLeft:
    """What became of the Pods that lack the reference."""

    recreated: tuple[str, ...]
    left: Evictions
    kept: tuple[str, ...]
    """Left alone, because nobody wanted them evicted."""
    others: Mapping[str, str]


class Listener:
    """Is told how a rotation goes; this one keeps it to itself, and asks nobody."""

    def delivering(self) -> AbstractContextManager[OnProgress | None]:
        """Give what shows the progress of a delivery."""
        return nullcontext()

    def delivered(self, found: Delivered) -> None:
        """Hear how a version arrived."""

    def wave(self, wave: Sequence[Workload], done: RestartResult, after: int) -> None:
        """Hear which workloads are restarted next."""

    def restarted(self, result: RestartResult) -> None:
        """Hear how the restart ended."""

    def unpulled(self, found: Mapping[str, str]) -> None:
        """Hear where a test Pod could not pull."""

    def lacking(self, found: LackingPods) -> None:
        """Hear which Pods lack the reference."""

    def wants_eviction(self, number: int) -> bool:
        """Ask whether Pods are to be evicted."""
        del number
        return False

    def evicted(self, found: PodsLeft) -> None:
        """Hear what became of the Pods."""

    def say(self, text: str) -> None:
        """Hear what happens with a failure."""


Verify = Callable[[Collection[str]], Mapping[str, str]]
"""Has a test Pod pull in each namespace; returns where it could not, and why."""


@dataclass
class Rotation:
    """Everything after the write: proof, restarts, Pods, and the way back."""

    target: Target
    installation: Installation
    version: int
    digest: str
    choices: Choices
    wrote: bool
    listener: Listener = field(default_factory=Listener)
    verify: Verify | None = None
    outcome: Outcome = field(default_factory=Outcome)
    _unfinished: bool = False
    """Whether something was left to do: a namespace lacked the content, or an earlier run had begun the restart."""

    def run(self) -> Outcome:
        """Carry it to its end and return how it ended.

        Raises:
            ConflictError: when somebody else wrote meanwhile: what happens next is theirs.
        """
        arrived = self._attempt(self._arrive)
        if arrived is None:
            self.outcome.result = self._take_back()
        elif self._attempt(lambda: self._complete(arrived)):
            self.outcome.result = "done"
        return self.outcome

    def _attempt(self, step: Callable[[], _T]) -> _T | None:
        """Take a step; an error that ends it does not keep what must follow from being done and told."""
        try:
            return step()
        except ConflictError:
            raise
        except PullSecretsError as error:
            self.outcome.error = error
            return None

    def _arrive(self) -> Delivered | None:
        """Have the version delivered, tried by a pull, and workloads restarted; None when one is not complete."""
        found = self._deliver()
        if self.verify and found.namespaces:
            self.outcome.unpulled = self.verify(found.namespaces)
            self.listener.unpulled(self.outcome.unpulled)
        good = not (found.missing or self.outcome.unpulled) and (not self.choices.restart or self._restart(found))
        return found if good else None

    def _complete(self, arrived: Delivered) -> bool:
        """Record the success, and make Pods anew; False when one of them is left."""
        # What was proved in some namespaces alone may still fail in the others.
        if self.choices.only is None:
            patiently(self._deadline(), finish, self.target, self.version)
        return self._recreate(arrived)

    def _deliver(self) -> Delivered:
        choices = self.choices
        with self.listener.delivering() as show:

            def on_progress(state: Progress) -> None:
                self._unfinished |= bool(state.missing)
                if show:
                    show(state)

            found = deliver(
                self.target,
                self.installation,
                self.version,
                self.digest,
                choices.timeout,
                only=choices.only,
                on_progress=on_progress,
            )
        if choices.by_content:
            found = patiently(self._deadline(), compare_bytes, self.target, found)
        self._unfinished |= found.synced
        self.outcome.delivered = found
        self.listener.delivered(found)
        return found

    def _restart(self, arrived: Delivered) -> bool:
        target, choices = self.target, self.choices
        workloads = patiently(
            self._deadline(), restart.list_workloads, target.cluster, target.registry, arrived.namespaces
        )
        reason = f"{target.registry.name}@{self.version or self.digest}"
        self._unfinished |= any(item.restarted_for == reason for item in workloads)
        result = restart.restart(
            target.cluster, workloads, reason, choices.wave_size, choices.wave_timeout, self.listener.wave
        )
        self.outcome.restart = result
        self.listener.restarted(result)
        return result.complete

    def _recreate(self, arrived: Delivered) -> bool:
        target = self.target
        lacking = patiently(
            self._deadline(),
            evict.find_lacking,
            target.cluster,
            target.config,
            target.registry,
            arrived.namespaces,
        )
        self.listener.lacking(lacking)
        chosen = self.choices.recreate
        if chosen is None:
            chosen = bool(lacking.evictable) and self.listener.wants_eviction(len(lacking.evictable))
        left = Evictions({}, {})
        if chosen:
            left = evict.evict(target.cluster, lacking.evictable, self.choices.wave_timeout)
        evictable = sorted(_named(lacking.evictable))
        found = PodsLeft(
            recreated=tuple(name for name in evictable if chosen and name not in {*left.held, *left.refused}),
            left=left,
            kept=() if chosen else tuple(evictable),
            others=dict(lacking.others),
        )
        self.outcome.pods = found
        self.listener.evicted(found)
        return not (left.held or left.refused)

    def _take_back(self) -> str:
        """Say how a failure ends: `failed`, or `rolled back` when the old content was written and proved again."""
        if self.target.vault is None:
            self.listener.say(
                "the sealed credential stays; run the same command again, or put the old file back with git"
            )
            return "failed"
        try:
            if reason := self._stays():
                self.listener.say(reason)
                return "failed"
            with self.listener.delivering() as on_progress:
                found = take_back(
                    self.target, self.installation, self.version, self.choices.timeout, on_progress=on_progress
                )
        except ConflictError:
            raise
        except PullSecretsError as error:
            self._tell_not_taken_back(error)
            return "failed"
        self.outcome.rolled_back = found
        self.listener.say(f"rolled back: the content before version {self.version} is version {found.version} now")
        self.listener.delivered(found)
        return "failed" if found.missing else "rolled back"

    def _stays(self) -> str | None:
        """Say why the version stays although something failed; None when it is to be taken back."""
        name, found = self.target.registry.name, self.outcome.delivered
        again = f"version {self.version} stays; run the same command again, or `pull-secrets rollback {name}`"
        if not self.choices.take_back or not self._is_ours():
            return again
        if self._arrived_in_part() and not self.choices.all_or_nothing:
            lacking = ", ".join(sorted(found.missing)) if found else ""
            return f"{again}: it arrived everywhere but in {lacking}, and --all-or-nothing was not given"
        return None

    def _arrived_in_part(self) -> bool:
        """Tell whether nothing is wrong with the version but that it has not reached every namespace."""
        found, result = self.outcome.delivered, self.outcome
        whole = result.error is None and result.restart is None and not result.unpulled
        return whole and found is not None and bool(found.namespaces)

    def _tell_not_taken_back(self, error: PullSecretsError) -> None:
        text = redaction.redact(str(error))
        self.outcome.not_rolled_back = text
        if isinstance(error, BadInputError):
            self.listener.say(f"not rolled back: {text}")
            return
        # It may have ended before or after its write.
        name = self.target.registry.name
        self.listener.say(f"not rolled back to the end: {text}; see `pull-secrets rollback {name} --dry-run`")
        self.outcome.error = self.outcome.error or error

    def _is_ours(self) -> bool:
        """Tell whether this rotation, or an earlier run of it, brought the version in.

        One that had arrived before, by whatever way, is not taken back: what fails now is something else.
        """
        result = self.outcome.restart
        if (result and result.held and not result.failed) or not (self.wrote or self._unfinished):
            return False
        return not patiently(self._deadline(), is_finished, self.target, self.version)

    def _deadline(self) -> float:
        """Until when a single request is tried again."""
        return time.monotonic() + self.choices.timeout


def _named(pods: Iterable[PodPull]) -> Iterator[str]:
    return (f"{pod.namespace}/{pod.name}" for pod in pods)
