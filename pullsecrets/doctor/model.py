"""What a check is and what it finds: symptom, cause, evidence, fix and prevention."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum
from inspect import cleandoc
from typing import TYPE_CHECKING

from pullsecrets.kube.client import KubernetesClient

if TYPE_CHECKING:
    from pullsecrets.doctor.snapshot import Snapshot


PAGE = "docs/diagnoses.md"


def link(name: str) -> str:
    """Return where a check of that name is described, in this project's repository."""
    return f"{PAGE}#{name}"


class Severity(IntEnum):
    """How much a finding stops; higher is diagnosed first."""

    WARNING = 1
    """Pulls work now and will not forever."""
    TENANT = 2
    """Pods of a namespace cannot pull."""
    CLUSTER = 3
    """No namespace receives a new or a changed credential."""


@dataclass(frozen=True)
class Remedy:
    """A fix that loses nothing and is safe to apply unattended."""

    description: str
    """What it does, as shown before it is applied."""
    apply: Callable[[KubernetesClient], None]


@dataclass(frozen=True)
class Finding:
    """One diagnosis. No text in it ever holds a credential."""

    severity: Severity
    symptom: str
    """What somebody sees who does not know the cause yet."""
    cause: str
    evidence: tuple[str, ...]
    """What was read, each line with where it was read."""
    fix: tuple[str, ...]
    """Commands, ready to run."""
    prevention: str
    namespace: str | None = None
    """The namespace that it concerns; None when it is the cluster."""
    registry: str | None = None
    remedy: Remedy | None = field(default=None, compare=False)
    check: str = ""
    """Name of the check, which `check` fills in."""


Find = Callable[["Snapshot"], Iterable[Finding]]
"""Looks at a snapshot and yields what is wrong."""


class Phase(Enum):
    """When a check can look."""

    BEFORE = "before the first `pulumi up`"
    RUNNING = "once a stack is up"
    ALWAYS = "before the first `pulumi up` and afterwards"


@dataclass(frozen=True)
class Check:
    """One check, as the decorator `check` makes it."""

    name: str
    """Verb-free name of the fault, such as `vault-sealed`: the stable code of each finding."""
    title: str
    find: Find
    explains: tuple[str, ...] = ()
    """Checks whose findings follow from this one's: they are shown below it and not as causes of their own."""
    page: str = ""
    """What it judges, for docs/diagnoses.md."""
    phase: Phase = Phase.RUNNING

    @property
    def link(self) -> str:
        """Where docs/diagnoses.md describes it."""
        return link(self.name)


def check(title: str, *, explains: tuple[str, ...] = (), phase: Phase = Phase.RUNNING) -> Callable[[Find], Check]:
    """Make a check of a function that finds a fault: it is named after the function, and its docstring is its page.

    Args:
        title: what is so when the fault is not there.
        explains: names of the checks whose findings follow from this one's.
        phase: when it can look.
    """

    def made(find: Find) -> Check:
        name = find.__name__.replace("_", "-")

        def named(snapshot: "Snapshot") -> Iterator[Finding]:
            return (replace(found, check=name) for found in find(snapshot))

        return Check(name, title, named, explains, cleandoc(find.__doc__ or ""), phase)

    return made
