"""One registry in one namespace: what is there, in steps that need each other, and what keeps its Pods from pulling."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from pullsecrets.kube.marks import PULL_SECRET_TYPE
from pullsecrets.manifests.guard import ADMISSION
from pullsecrets.text import listed

_TYPE = PULL_SECRET_TYPE.rpartition("/")[2]


class State(StrEnum):
    """How a step is."""

    GOOD = "good"
    BROKEN = "broken"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Step:
    """One link of the chain from the opt-in label to the Pods."""

    name: str
    state: State
    text: str
    """What was found; never empty, as it is all that somebody is told of a step that is not good."""

    @property
    def good(self) -> bool:
        """Whether the next step has what it needs."""
        return self.state is State.GOOD

    def __str__(self) -> str:
        """Return how messages say it."""
        return f"{self.name}: {self.text}"


def judged(name: str, good: bool, text: str) -> Step:
    """Return a step that is either good or broken."""
    return Step(name, State.GOOD if good else State.BROKEN, text)


@dataclass(frozen=True)
class Coverage:
    """One registry in one namespace."""

    namespace: str
    registry: str
    declared: bool
    labelled: bool
    ready: bool
    reason: str
    """What the ExternalSecret says of its last sync."""
    secret: bool
    typed: bool
    digest: str | None
    seeded_digest: str | None
    binding: str
    """How Pods get the entry: by their `serviceAccounts`, or by `admission` whatever ServiceAccount they run as."""
    bound: tuple[str, ...]
    unbound: tuple[str, ...]
    awaited: tuple[str, ...]
    """Wanted ServiceAccounts that do not exist yet, so that no Pod can run under them."""
    doubt: str | None = None
    """Why the digest beside the Secret does not prove its content; None where it does."""
    pulled: str | None = None
    """What proves that a kubelet pulled with the Secret since the delivery: a run of `verify`, or a Pod made since."""

    @property
    def proved(self) -> bool:
        """Whether the delivered content is the seeded content."""
        return self._content.good

    @property
    def green(self) -> bool:
        """Whether the Secret is delivered, bound and current."""
        return not self.faults

    @property
    def gap(self) -> Step | None:
        """The first step of the delivery that is not good; None when the seeded content is delivered."""
        return next((step for step in self._delivery() if not step.good), None)

    @property
    def faults(self) -> tuple[str, ...]:
        """What keeps Pods of this namespace from pulling: the first gap in the delivery, and the missing entries."""
        return tuple(str(step) for step in (self.gap, self._accounts) if step and not step.good)

    def steps(self) -> Iterator[Step]:
        """Yield every step, in the order in which they need each other."""
        yield from self._delivery()
        yield self._accounts

    def _delivery(self) -> Iterator[Step]:
        yield judged("label", self.labelled, "set" if self.labelled else "not set, or there is no such namespace")
        yield judged(
            "ExternalSecret", self.ready, "Ready" if self.ready else f"not Ready: {self.reason or 'it says no reason'}"
        )
        yield judged("Secret", self.secret, "there" if self.secret else "there is none")
        if self.secret:
            yield judged("type", self.typed, _TYPE if self.typed else f"not {_TYPE}")
        else:
            yield Step("type", State.UNKNOWN, "no Secret")
        yield self._content

    @property
    def _content(self) -> Step:
        if self.digest is None or self.seeded_digest is None:
            unknown = "beside the Secret" if self.digest is None else "of what was seeded"
            return Step("content", State.UNKNOWN, f"no digest {unknown} to compare")
        if self.digest != self.seeded_digest:
            return Step("content", State.BROKEN, f"{self.digest}, seeded {self.seeded_digest}")
        doubt = f"; {self.doubt}" if self.doubt else ""
        return judged("content", not doubt, f"{self.digest}, as seeded{doubt}")

    @property
    def _accounts(self) -> Step:
        how = " (by Pod admission)" if self.binding == ADMISSION else ""
        if self.unbound:
            return Step("ServiceAccounts", State.BROKEN, f"{listed(self.unbound)} without the entry{how}")
        later = "to be bound by `pulumi up` or `pull-secrets bind` once it exists"
        awaited = f"; not made yet: {listed(self.awaited)}, {later}" if self.awaited else ""
        return Step("ServiceAccounts", State.GOOD, f"{listed(self.bound)}{how}{awaited}")
