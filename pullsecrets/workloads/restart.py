"""Rolls workloads in waves, as `kubectl rollout restart` does, and stops at the first one that fails."""

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from pullsecrets import redaction
from pullsecrets.config import Registry
from pullsecrets.data import dig
from pullsecrets.errors import BadInputError, PullSecretsError
from pullsecrets.image import any_from
from pullsecrets.kube.client import KubernetesApiError, KubernetesClient, unless_refused
from pullsecrets.kube.objects import annotations_of, collection, conditions_of, is_leaving, labels_of, status_of
from pullsecrets.kube.podspec import DAEMON_SET, DEPLOYMENT, STATEFUL_SET, images_of, template_of
from pullsecrets.kube.selectors import selects
from pullsecrets.kube.waiting import passes, patiently

RESTARTED_AT_ANNOTATION = "kubectl.kubernetes.io/restartedAt"
"""On the Pod template; the same that `kubectl rollout restart` sets, so that its history reads alike."""

RESTARTED_FOR_ANNOTATION = "apps.platform/restarted-for"
"""On the workload: for which version of which registry it was restarted, so that no run restarts it twice."""

RESTARTED_FROM_ANNOTATION = "apps.platform/restarted-from"
"""On the workload: what `restartedAt` was before, so that a restart can be taken back to the very same template."""

KINDS = (DEPLOYMENT, STATEFUL_SET, DAEMON_SET)
DEFAULT_WAVE = "10%"
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Workload:
    """A workload whose Pods pull from a registry."""

    kind: str
    namespace: str
    name: str
    restarted_for: str | None
    """Reason of the last restart by this project, such as `app-registry-pull@7`."""
    untouched: str | None
    """Why a restart would not reach its Pods, or is not ours to make; None when it can be restarted."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    """Of its Pods, by which PodDisruptionBudgets select them."""
    restarted_at: str = ""
    """When it was restarted last, as its Pod template says."""
    restarted_from: str = ""
    """What that was before the restart for `restarted_for`."""

    @property
    def path(self) -> str:
        """Path of the object."""
        return f"{collection('apps/v1', self.kind, self.namespace)}/{self.name}"

    def __str__(self) -> str:
        """Name it as `kubectl` would."""
        return f"{self.kind.lower()}/{self.name} in {self.namespace}"


@dataclass
class RestartResult:
    """What became of each workload. One that is in `failed` or `held` means that the restart is not complete."""

    restarted: list[str] = field(default_factory=list[str])
    already: list[str] = field(default_factory=list[str])
    """Restarted for this version by an earlier run."""
    untouched: dict[str, str] = field(default_factory=dict[str, str])
    held: dict[str, str] = field(default_factory=dict[str, str])
    """Kept waiting by a PodDisruptionBudget until the time was over."""
    failed: dict[str, str] = field(default_factory=dict[str, str])
    remaining: list[str] = field(default_factory=list[str])
    """Not started or not yet ready, because another one failed."""

    @property
    def complete(self) -> bool:
        """Whether everything that can be restarted was restarted and came up."""
        return not (self.failed or self.held or self.remaining)


OnWave = Callable[[Sequence[Workload], RestartResult, int], None]
"""Called with the wave that begins, what is done so far, and how many workloads come after it."""


def wave_length(size: str, total: int) -> int:
    """Return how many workloads a wave has.

    Args:
        size: a number such as `5`, or a share such as `10%`.
        total: how many workloads there are.

    Raises:
        BadInputError: when it is neither, or less than one.
    """
    number, share = size.removesuffix("%"), size.endswith("%")
    if not number.isdecimal() or not 0 < int(number) <= (100 if share else 10_000):
        raise BadInputError(f"--wave-size: found {size!r}; allowed: a number of workloads such as 5, or a share as 10%")
    return max(1, math.ceil(total * int(number) / 100)) if share else int(number)


def list_workloads(cluster: KubernetesClient, registry: Registry, namespaces: Collection[str]) -> list[Workload]:
    """Return the Deployments, StatefulSets and DaemonSets of some namespaces whose images come from a registry."""
    found = [
        _workload(kind.kind, item)
        for kind in KINDS
        for item in cluster.items(kind.collection())
        if item["metadata"]["namespace"] in namespaces and any_from(images_of(kind.spec(item)), registry.hosts)
    ]
    return sorted(found, key=lambda workload: (workload.namespace, workload.kind, workload.name))


def restart(
    cluster: KubernetesClient,
    workloads: Iterable[Workload],
    reason: str,
    wave_size: str,
    timeout: float,
    on_wave: OnWave | None = None,
) -> RestartResult:
    """Restart workloads wave by wave, each wave awaited, until all are up or one fails.

    Those that an earlier run restarted for the same reason are not restarted again, only awaited. One whose Pods may
    not be disrupted now (a PodDisruptionBudget allows none) waits behind the others. One that the API server refuses
    to change (a webhook, say) has failed. An API server that is away for a moment is waited for.

    Args:
        cluster: the cluster, as an operator.
        workloads: as `list_workloads` gives them.
        reason: what the restart is for; the same for each run that shall finish the same restart.
        wave_size: see `wave_length`.
        timeout: seconds for each wave, and for budgets to allow what is held.
        on_wave: called with each wave.

    Raises:
        UnreachableError: when the API server stays away while workloads are changed or budgets are read.
    """
    return _Restart(cluster, reason, timeout, on_wave).run(list(workloads), wave_size)


def take_back(cluster: KubernetesClient, workloads: Iterable[Workload], reason: str, timeout: float) -> RestartResult:
    """Give workloads the Pod template back that they had before a restart, and wait until they are up.

    A template that is equal to an earlier one is that revision: the controller rolls back to it.

    Args:
        cluster: the cluster, as an operator.
        workloads: as `list_workloads` gives them; those not restarted for the reason are left alone.
        reason: what the restart was for.
        timeout: seconds until all are up again.
    """
    return _Restart(cluster, reason, timeout, None).back([item for item in workloads if item.restarted_for == reason])


class _Restart:
    """One run over the workloads."""

    def __init__(self, cluster: KubernetesClient, reason: str, timeout: float, on_wave: OnWave | None) -> None:
        self._cluster = cluster
        self._reason = reason
        self._timeout = timeout
        self._on_wave = on_wave
        self._result = RestartResult()

    def run(self, workloads: list[Workload], wave_size: str) -> RestartResult:
        result = self._result
        result.untouched = {str(item): item.untouched for item in workloads if item.untouched}
        able = [item for item in workloads if not item.untouched]
        begun = [item for item in able if item.restarted_for == self._reason]
        pending = [item for item in able if item.restarted_for != self._reason]
        size = wave_length(wave_size, len(able))
        if begun:
            self._wave(begun, len(pending), result.already)
        while pending and not result.failed:
            wave = self._next_wave(pending, size)
            if not wave:
                break
            pending = [item for item in pending if item not in wave]
            self._wave(wave, len(pending), result.restarted, begin=True)
        if result.failed:
            result.remaining += [str(item) for item in pending]
        return result

    def back(self, workloads: list[Workload]) -> RestartResult:
        deadline = time.monotonic() + self._timeout
        able = [
            item
            for item in workloads
            if self._change(item, deadline, None, None, item.restarted_from or None) is not None
        ]
        self._wave(able, 0, self._result.restarted)
        return self._result

    def _next_wave(self, pending: list[Workload], size: int) -> list[Workload]:
        """Return workloads that may be disrupted; while there are none, wait for a budget, and name them when late."""
        deadline = time.monotonic() + self._timeout
        while True:
            free, held = patiently(deadline, self._by_budget, pending, size)
            if free or time.monotonic() >= deadline:
                break
            time.sleep(POLL_SECONDS)
        if not free:
            self._result.held = {
                str(item): f"PodDisruptionBudget {name} allows no disruption" for item, name in held.items()
            }
        return free

    def _by_budget(self, pending: Sequence[Workload], size: int) -> tuple[list[Workload], dict[Workload, str]]:
        """Return a wave that takes no more workloads than each budget allows disruptions, and what it keeps waiting.

        A restart counts as one disruption, whatever pace a workload's own update strategy sets.
        """
        budgets = {
            namespace: [
                _Budget.of(item)
                for item in self._cluster.items(f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets")
            ]
            for namespace in {item.namespace for item in pending}
        }
        free: list[Workload] = []
        held: dict[Workload, str] = {}
        for item in pending:
            covering = [budget for budget in budgets[item.namespace] if selects(budget.selector, item.labels)]
            exhausted = next((budget for budget in covering if budget.allowed <= 0), None)
            if exhausted:
                held[item] = exhausted.name
            elif len(free) < size:
                free.append(item)
                for budget in covering:
                    budget.allowed -= 1
        return free, held

    def _wave(self, wave: Sequence[Workload], after: int, done: list[str], *, begin: bool = False) -> None:
        """Restart a wave if it is to begin, and wait until each of it is up or has failed."""
        if self._on_wave:
            self._on_wave(wave, self._result, after)
        awaited, skipped = self._begin(wave) if begin else (list(wave), [])
        deadline = time.monotonic() + self._timeout
        states = dict.fromkeys(awaited, "")
        while states and not self._result.failed:
            states = self._settle(states, done)
            if states and time.monotonic() >= deadline:
                self._result.failed |= {str(item): f"not up in {self._timeout:g} s: {s}" for item, s in states.items()}
            elif states:
                time.sleep(POLL_SECONDS)
        remaining = [str(item) for item in (*states, *skipped)]
        self._result.remaining += [name for name in remaining if name not in self._result.failed]

    def _begin(self, wave: Sequence[Workload]) -> tuple[list[Workload], list[Workload]]:
        """Restart workloads until one is refused; return those to await, and those that are not begun."""
        deadline = time.monotonic() + self._timeout
        awaited: list[Workload] = []
        for index, item in enumerate(wave):
            now = datetime.now(UTC).isoformat(timespec="seconds")
            done = self._change(item, deadline, self._reason, item.restarted_at, now)
            if done is None:
                return awaited, list(wave[index + 1 :])
            if done:
                awaited.append(item)
        return awaited, []

    def _change(
        self, item: Workload, deadline: float, reason: str | None, before: str | None, restarted_at: str | None
    ) -> bool | None:
        """Change a workload as `_patch` does; None when the API server refuses it, so that it has failed."""
        try:
            return patiently(deadline, _patch, self._cluster, item, reason, before, restarted_at)
        except KubernetesApiError as error:
            self._result.failed[str(item)] = redaction.redact(str(error))
            return None

    def _settle(self, states: Mapping[Workload, str], done: list[str]) -> dict[Workload, str]:
        """Look at each workload; return those that are still on their way."""
        left: dict[Workload, str] = {}
        away = ""
        for item in states:
            try:
                # Where the API server is away, to ask it for each workload would outlast the wave.
                found = None if away else self._cluster.find(item.path)
                state = rollout_state(item.kind, found) if found else away
            except RolloutFailedError as error:
                self._result.failed[str(item)] = str(error)
                continue
            except PullSecretsError as error:
                # The next look may tell; if not, this is what is known when the wave is late.
                if not passes(error):
                    raise
                state = away = str(error)
            if state:
                left[item] = state
            else:
                done.append(str(item))
        return left


class RolloutFailedError(Exception):
    """A workload's controller gave up; the message is its own."""


def rollout_state(kind: str, workload: Mapping[str, Any]) -> str | None:
    """Tell what a rollout still waits for, by the conditions that `kubectl rollout status` goes by.

    Args:
        kind: Deployment, StatefulSet or DaemonSet.
        workload: the object.

    Returns:
        What it waits for; None when it is complete.

    Raises:
        RolloutFailedError: when a Deployment exceeded its progress deadline. Other kinds have none.
    """
    if workload["metadata"]["generation"] > int(status_of(workload).get("observedGeneration") or 0):
        return "its controller has not seen the change"
    return _STATES[kind](workload)


def _deployment_state(workload: Mapping[str, Any]) -> str | None:
    spec, status = workload["spec"], status_of(workload)
    late = [item for item in conditions_of(workload) if item.get("reason") == "ProgressDeadlineExceeded"]
    if late:
        raise RolloutFailedError(f"exceeded its progress deadline: {late[0].get('message', '')}")
    wanted, updated, available = int(spec.get("replicas", 1)), _count(status, "updated"), _count(status, "available")
    if updated < wanted:
        return f"{updated} of {wanted} replicas updated"
    if (old := _count(status) - updated) > 0:
        return f"{old} old replicas still end"
    return f"{available} of {updated} updated replicas available" if available < updated else None


def _stateful_set_state(workload: Mapping[str, Any]) -> str | None:
    spec, status = workload["spec"], status_of(workload)
    wanted, ready, updated = int(spec.get("replicas", 1)), _count(status, "ready"), _count(status, "updated")
    partition = int(dig(spec, ("updateStrategy", "rollingUpdate", "partition")) or 0)
    if ready < wanted:
        return f"{ready} of {wanted} replicas ready"
    if partition:
        due = wanted - partition
        return f"{updated} of {due} replicas above the partition updated" if updated < due else None
    complete = status.get("updateRevision") == status.get("currentRevision")
    return None if complete else f"{updated} of {wanted} replicas updated"


def _daemon_set_state(workload: Mapping[str, Any]) -> str | None:
    status = status_of(workload)
    wanted = int(status.get("desiredNumberScheduled") or 0)
    updated, available = int(status.get("updatedNumberScheduled") or 0), int(status.get("numberAvailable") or 0)
    if updated < wanted:
        return f"{updated} of {wanted} Pods updated"
    return f"{available} of {wanted} Pods available" if available < wanted else None


_STATES: Mapping[str, Callable[[Mapping[str, Any]], str | None]] = {
    "Deployment": _deployment_state,
    "StatefulSet": _stateful_set_state,
    "DaemonSet": _daemon_set_state,
}


def _count(status: Mapping[str, Any], which: str = "") -> int:
    return int(status.get(f"{which}Replicas" if which else "replicas") or 0)


def _patch(
    cluster: KubernetesClient, workload: Workload, reason: str | None, before: str | None, restarted_at: str | None
) -> bool:
    """Annotate a workload so that its controller makes new Pods; False when it is gone. May be done twice."""
    noted = {RESTARTED_FOR_ANNOTATION: reason, RESTARTED_FROM_ANNOTATION: before}
    change = {
        "metadata": {"annotations": noted},
        "spec": {"template": {"metadata": {"annotations": {RESTARTED_AT_ANNOTATION: restarted_at}}}},
    }
    return unless_refused(lambda: cluster.merge_patch(workload.path, change), 404) is not None


def _workload(kind: str, item: Mapping[str, Any]) -> Workload:
    metadata, annotations, template = item["metadata"], annotations_of(item), template_of(item)
    return Workload(
        kind=kind,
        namespace=metadata["namespace"],
        name=metadata["name"],
        restarted_for=annotations.get(RESTARTED_FOR_ANNOTATION),
        untouched=_untouched(item),
        labels=labels_of(template),
        restarted_at=annotations_of(template).get(RESTARTED_AT_ANNOTATION, ""),
        restarted_from=annotations.get(RESTARTED_FROM_ANNOTATION, ""),
    )


def _untouched(item: Mapping[str, Any]) -> str | None:
    spec = item["spec"]
    if is_leaving(item):
        return "is being deleted"
    if spec.get("paused"):
        return "is paused; `kubectl rollout resume` it first"
    if dig(spec, ("updateStrategy", "type")) == "OnDelete":
        return "has updateStrategy OnDelete; delete its Pods by hand, one at a time"
    if spec.get("replicas") == 0:
        return "is scaled to 0"
    return None


@dataclass
class _Budget:
    """A PodDisruptionBudget, and how many disruptions it still allows."""

    name: str
    selector: Mapping[str, Any] | None
    allowed: int

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Self:
        allowed = int(status_of(item).get("disruptionsAllowed") or 0)
        return cls(item["metadata"]["name"], item["spec"].get("selector"), allowed)
