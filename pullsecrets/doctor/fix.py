"""Applies the safe fixes of a diagnosis, looks until they took effect, and applies what they made possible."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pullsecrets.doctor.diagnosis import Report
from pullsecrets.doctor.model import Remedy
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.errors import PullSecretsError
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.waiting import RETRY_SECONDS, look_until

SETTLE_SECONDS = 20.0
"""How long after a fix the controllers may take to show that it helped."""
ROUNDS = 3
"""How often fixes are applied: once label and entry are there, Pods that were made without them can be evicted."""

Seen = tuple[Snapshot, Report]


@dataclass(frozen=True)
class Outcome:
    """Whether a remedy was applied."""

    description: str
    applied: bool
    error: str | None = None


def apply_each(cluster: KubernetesClient, remedies: Iterable[Remedy]) -> list[Outcome]:
    """Apply each remedy; one that fails does not keep the others from helping."""
    return [_apply(cluster, item) for item in remedies]


def follow_up(
    seen: Seen,
    look: Callable[[], Seen],
    fix: Callable[[Sequence[Remedy]], list[Outcome]],
    on_look: Callable[[Seen], None],
    pause: float = RETRY_SECONDS,
) -> tuple[Seen, list[Outcome]]:
    """Fix what was seen, and look and fix again while that makes other fixes possible; none is applied twice.

    Args:
        fix: applies remedies, or only lists them in a dry run.
        on_look: shows each further diagnosis.
        pause: seconds between two looks while a fix takes effect.

    Returns:
        The last diagnosis, and the outcome of every remedy.
    """
    outcomes = last = fix(seen[1].remedies())
    for left in reversed(range(ROUNDS)):
        if not any(item.applied for item in last):
            break
        tried = {item.description for item in outcomes}
        seen = look_until(look, lambda now, tried=tried: _settled(now, tried), SETTLE_SECONDS, pause)
        on_look(seen)
        fresh = _untried(seen, tried) if left else ()
        last = fix(fresh) if fresh else []
        outcomes = [*outcomes, *last]
    return seen, outcomes


def _apply(cluster: KubernetesClient, remedy: Remedy) -> Outcome:
    try:
        remedy.apply(cluster)
    except PullSecretsError as error:
        return Outcome(remedy.description, applied=False, error=str(error))
    return Outcome(remedy.description, applied=True)


def _settled(seen: Seen, tried: set[str]) -> bool:
    return not seen[1].remedies() or bool(_untried(seen, tried))


def _untried(seen: Seen, tried: set[str]) -> tuple[Remedy, ...]:
    return tuple(item for item in seen[1].remedies() if item.description not in tried)
