"""A rotation after its write: delivered, proved, completed with restarts and evictions, or rolled back."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from pullsecrets import redaction
from pullsecrets.delivery import retirement, verify
from pullsecrets.delivery.deliver import Delivered, compare_bytes, deliver, finish, is_finished, write_back
from pullsecrets.delivery.plan import Plan
from pullsecrets.delivery.prechecks import Target
from pullsecrets.delivery.proof import OnProgress, Progress
from pullsecrets.errors import BadInputError, ConflictError, PullSecretsError
from pullsecrets.kube.waiting import patiently
from pullsecrets.workloads import evict, restart
from pullsecrets.workloads.evict import Evictions, LackingPods
from pullsecrets.workloads.restart import RestartResult, Workload

_T = TypeVar("_T")


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
    destroyed: tuple[int, ...] | None = None
    """Versions that were destroyed; None where none was to be."""
    error: PullSecretsError | None = None
    """What ended a step before its time."""


@dataclass(frozen=True)
class PodsLeft:
    """The Pods that lack the reference, by what was done with them."""

    recreated: tuple[str, ...]
    left: Evictions
    kept: tuple[str, ...]
    """Left alone, because eviction was not requested."""
    others: Mapping[str, str]


class Listener:
    """Receives the events of a rotation; this one ignores them and declines every question."""

    def delivering(self) -> AbstractContextManager[OnProgress | None]:
        """Return what shows the progress of a delivery."""
        return nullcontext()

    def delivered(self, found: Delivered) -> None:
        """A version was delivered, or was not in time."""

    def wave(self, wave: Sequence[Workload], done: RestartResult, after: int) -> None:
        """These workloads are restarted next."""

    def restarted(self, result: RestartResult) -> None:
        """The restart ended."""

    def unpulled(self, found: Mapping[str, str]) -> None:
        """A test Pod pulled everywhere but in these namespaces."""

    def lacking(self, found: LackingPods) -> None:
        """These Pods lack the reference."""

    def wants_eviction(self, number: int) -> bool:
        """Return whether that many Pods are to be evicted."""
        del number
        return False

    def evicted(self, found: PodsLeft) -> None:
        """Pods were evicted, or left alone."""

    def destroyed(self, versions: Sequence[int]) -> None:
        """These versions were destroyed."""

    def say(self, text: str) -> None:
        """A failure is handled in this way."""


def pull_everywhere(target: Target, image: str, namespaces: Collection[str]) -> Mapping[str, str]:
    """Have a test Pod pull an image in each namespace; return where it could not, with the kubelet's message."""
    trial = verify.Trial(target.config, target.registry, image)
    return verify.failures(verify.run(target.cluster, trial, namespaces))


@dataclass(frozen=True)
class Effects:
    """What a rotation does that takes its time in a real cluster; a test passes its own."""

    deliver: Callable[..., Delivered] = deliver
    pull: Callable[[Target, str, Collection[str]], Mapping[str, str]] = pull_everywhere
    list_workloads: Callable[..., list[Workload]] = restart.list_workloads
    restart: Callable[..., RestartResult] = restart.restart


@dataclass
class Rotation:
    """Everything after the write: proof, restarts, Pods, and the way back."""

    plan: Plan
    version: int
    """As `Plan.write` returned it."""
    listener: Listener = field(default_factory=Listener)
    effects: Effects = field(default_factory=Effects)
    outcome: Outcome = field(default_factory=Outcome)
    _unfinished: bool = False
    """Whether something was left to do: a namespace lacked the content, or an earlier run had begun the restart."""

    @property
    def wrote(self) -> bool:
        """Whether the credential was written, and not only delivered again."""
        return self.plan.seed is not None and not self.plan.seed.stored

    def run(self) -> Outcome:
        """Carry it to its end and return how it ended.

        Raises:
            ConflictError: when another client wrote meanwhile: what happens next is theirs.
        """
        arrived = self._attempt(self._arrive)
        if arrived is None:
            self.outcome.result = self._take_back()
        elif self._attempt(lambda: self._complete(arrived)):
            self.outcome.result = "done"
            self._attempt(self._destroy)
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
        if self.plan.choices.image and found.namespaces:
            self.outcome.unpulled = self.effects.pull(self.plan.target, self.plan.choices.image, found.namespaces)
            self.listener.unpulled(self.outcome.unpulled)
        good = not (found.missing or self.outcome.unpulled) and (not self.plan.choices.restart or self._restart(found))
        return found if good else None

    def _complete(self, arrived: Delivered) -> bool:
        """Record the success, and evict Pods; False when one of them is left."""
        # What was proved in some namespaces alone may still fail in the others.
        if self.plan.choices.only is None:
            patiently(self._deadline(), finish, self.plan.target, self.version)
        return self._recreate(arrived)

    def _destroy(self) -> None:
        if (grace := self.plan.choices.grace) is not None:
            period = self.plan.choices.grace_period(grace)
            self.outcome.destroyed = retirement.destroy(self.plan.target, period, datetime.now(UTC))
            self.listener.destroyed(self.outcome.destroyed)

    def _deliver(self) -> Delivered:
        plan, choices = self.plan, self.plan.choices
        with self.listener.delivering() as show:

            def on_progress(state: Progress) -> None:
                self._unfinished |= bool(state.missing)
                if show:
                    show(state)

            found = self.effects.deliver(
                plan.target,
                plan.installation,
                self.version,
                plan.digest,
                choices.timeout,
                only=choices.only,
                on_progress=on_progress,
            )
        if choices.by_content:
            found = patiently(self._deadline(), compare_bytes, plan.target, found)
        self._unfinished |= found.synced
        self.outcome.delivered = found
        self.listener.delivered(found)
        return found

    def _restart(self, arrived: Delivered) -> bool:
        target, choices = self.plan.target, self.plan.choices
        workloads = patiently(
            self._deadline(), self.effects.list_workloads, target.cluster, target.registry, arrived.namespaces
        )
        reason = f"{target.registry.name}@{self.version or self.plan.digest}"
        self._unfinished |= any(item.restarted_for == reason for item in workloads)
        result = self.effects.restart(
            target.cluster, workloads, reason, choices.wave_size, choices.wave_timeout, self.listener.wave
        )
        self.outcome.restart = result
        self.listener.restarted(result)
        return result.complete

    def _recreate(self, arrived: Delivered) -> bool:
        target = self.plan.target
        lacking = patiently(
            self._deadline(),
            evict.find_lacking,
            target.cluster,
            target.config,
            target.registry,
            arrived.namespaces,
        )
        self.listener.lacking(lacking)
        chosen = self.plan.choices.recreate
        if chosen is None:
            chosen = bool(lacking.evictable) and self.listener.wants_eviction(len(lacking.evictable))
        left = Evictions({}, {})
        if chosen:
            left = evict.evict(target.cluster, lacking.evictable, self.plan.choices.wave_timeout)
        evictable = sorted(f"{pod.namespace}/{pod.name}" for pod in lacking.evictable)
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
        plan, timeout = self.plan, self.plan.choices.timeout
        if plan.target.vault is None:
            self.listener.say(
                "the sealed credential stays; run the same command again, or restore the old file with git"
            )
            return "failed"
        try:
            if reason := self._stays():
                self.listener.say(reason)
                return "failed"
            restored, digest = write_back(plan.target, self.version, timeout)
            with self.listener.delivering() as on_progress:
                found = self.effects.deliver(
                    plan.target, plan.installation, restored, digest, timeout, on_progress=on_progress
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
        name, found = self.plan.target.registry.name, self.outcome.delivered
        again = f"version {self.version} stays; run the same command again, or `pull-secrets rollback {name}`"
        if not self.plan.choices.take_back or not self._is_ours():
            return again
        if self._arrived_in_part() and not self.plan.choices.all_or_nothing:
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
        name = self.plan.target.registry.name
        self.listener.say(f"not rolled back to the end: {text}; see `pull-secrets rollback {name} --dry-run`")
        self.outcome.error = self.outcome.error or error

    def _is_ours(self) -> bool:
        """Tell whether this rotation, or an earlier run of it, brought the version in.

        One that had arrived before, by whatever way, is not taken back: what fails now is something else.
        """
        result = self.outcome.restart
        if (result and result.held and not result.failed) or not (self.wrote or self._unfinished):
            return False
        return not patiently(self._deadline(), is_finished, self.plan.target, self.version)

    def _deadline(self) -> float:
        """Until when a single request is tried again."""
        return time.monotonic() + self.plan.choices.timeout
