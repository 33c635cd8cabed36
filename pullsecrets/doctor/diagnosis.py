"""Runs the checks side by side and makes one ranked diagnosis of what they find: causes first, consequences below."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from pullsecrets.doctor.checks import checks_of
from pullsecrets.doctor.model import Check, Finding, Phase, Remedy, Severity, link
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.suppression import Suppression
from pullsecrets.errors import PullSecretsError

WORKERS = 16
EXAMPLES = 3
EVERYWHERE = "<namespace>"
"""Stands for the namespace in the text of a finding that concerns several."""

_NAME = re.compile(r"[\w-]+")


@dataclass(frozen=True)
class Unchecked:
    """A check that could not look, and so found nothing: never the same as healthy."""

    check: str
    title: str
    reason: str


@dataclass(frozen=True)
class Diagnosis:
    """The findings of one check that have the same cause, and what follows from them."""

    findings: tuple[Finding, ...]
    consequences: tuple["Diagnosis", ...] = ()

    @property
    def check(self) -> str:
        """Name of the check."""
        return self.findings[0].check

    @property
    def link(self) -> str:
        """Where docs/diagnoses.md describes the check."""
        return link(self.check)

    @property
    def severity(self) -> Severity:
        """How much it stops."""
        return self.findings[0].severity

    @property
    def registry(self) -> str | None:
        """The registry that it concerns, or None."""
        return self.findings[0].registry

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The namespaces that it concerns; empty when it is the cluster."""
        return tuple(sorted({item.namespace for item in self.findings if item.namespace}))

    @property
    def symptom(self) -> str:
        """What somebody sees who does not know the cause yet."""
        return self._examples(lambda item: [item.symptom])[0]

    @property
    def causes(self) -> tuple[str, ...]:
        """Why; more than one where namespaces differ in it."""
        return self._examples(lambda item: [item.cause])

    @property
    def evidence(self) -> tuple[str, ...]:
        """What was read, of the first few namespaces."""
        return _distinct(line for item in self.findings[:EXAMPLES] for line in item.evidence)

    @property
    def fix(self) -> tuple[str, ...]:
        """Commands, of the first few namespaces."""
        return _distinct(line for item in self.findings[:EXAMPLES] for line in item.fix)

    @property
    def prevention(self) -> str:
        """How it does not come back."""
        return self._examples(lambda item: [item.prevention])[0]

    def remedies(self) -> tuple[Remedy, ...]:
        """Return the safe fixes, those of the cause before those of its consequences."""
        own = [item.remedy for item in self.findings if item.remedy]
        return (*own, *(remedy for below in self.consequences for remedy in below.remedies()))

    def all_findings(self) -> Iterator[Finding]:
        """Yield the findings, then those of the consequences."""
        yield from self.findings
        for below in self.consequences:
            yield from below.all_findings()

    def _examples(self, part: Callable[[Finding], Iterable[str]]) -> tuple[str, ...]:
        """Return what the findings say, without repeating it for each namespace."""
        several = len(self.namespaces) > 1
        texts = ((item, text) for item in self.findings for text in part(item))
        return _distinct(_anywhere(text, item) if several else text for item, text in texts)[:EXAMPLES]


@dataclass(frozen=True)
class Report:
    """What all checks together say."""

    diagnoses: tuple[Diagnosis, ...]
    """Most severe first."""
    unchecked: tuple[Unchecked, ...]
    checks: tuple[Check, ...] = ()
    """Those that ran."""
    suppressed: tuple[tuple[Finding, Suppression], ...] = ()
    """What was found and is accepted, with who accepts it."""

    @property
    def healthy(self) -> bool:
        """Whether every check could look and none found more than a warning."""
        return self.passes(Severity.TENANT)

    @property
    def passed(self) -> tuple[Check, ...]:
        """The checks that looked and found nothing, be it accepted or not."""
        silent = {item.check for item in (*self.unchecked, *self.findings(), *(found for found, _ in self.suppressed))}
        return tuple(check for check in self.checks if check.name not in silent)

    def passes(self, fail_on: Severity) -> bool:
        """Tell whether every check could look and none found anything of a severity or above it."""
        return not self.unchecked and all(item.severity < fail_on for item in self.all_diagnoses())

    def all_diagnoses(self) -> Iterator[Diagnosis]:
        """Yield causes, each followed by its consequences."""
        for item in self.diagnoses:
            yield item
            yield from item.consequences

    def findings(self) -> tuple[Finding, ...]:
        """Return every finding, causes before their consequences."""
        return tuple(found for item in self.diagnoses for found in item.all_findings())

    def remedies(self) -> tuple[Remedy, ...]:
        """Return every safe fix once, those of causes first."""
        found = [remedy for item in self.diagnoses for remedy in item.remedies()]
        return tuple({remedy.description: remedy for remedy in found}.values())


def diagnose(
    snapshot: Snapshot, checks: Sequence[Check] | None = None, suppressions: Iterable[Suppression] = ()
) -> Report:
    """Run the checks at once and rank what they find.

    Where the snapshot asks about one namespace, findings of others are left out and those of the cluster stay. What is
    suppressed explains nothing: what follows from it is shown by itself.

    Args:
        checks: by default all that look at a stack that is up.
    """
    chosen = checks_of(Phase.RUNNING) if checks is None else tuple(checks)
    accepted = [item for item in suppressions if item.until >= snapshot.now.date()]
    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        outcomes = list(pool.map(partial(_run, snapshot), chosen))
    findings = [found for outcome in outcomes if not isinstance(outcome, Unchecked) for found in outcome]
    wanted = [found for found in findings if snapshot.only in {None, found.namespace} or found.namespace is None]
    by = {found: next((item for item in accepted if item.covers(found)), None) for found in _unique(wanted)}
    return Report(
        diagnoses=rank((found for found in by if by[found] is None), {check.name: check for check in chosen}),
        unchecked=tuple(outcome for outcome in outcomes if isinstance(outcome, Unchecked)),
        checks=chosen,
        suppressed=tuple((found, item) for found, item in by.items() if item),
    )


def rank(findings: Iterable[Finding], checks: Mapping[str, Check]) -> tuple[Diagnosis, ...]:
    """Put consequences below their causes, group what repeats over namespaces, and sort.

    A finding about the cluster is taken to concern every namespace. Among equals, what may follow from something else
    comes after what never does: a store that is still not Ready tells less than the policy that is gone.
    """
    known = _unique(findings)
    causes = _Causes(known, checks)
    below: dict[tuple[object, ...], list[Finding]] = {}
    roots: list[Finding] = []
    for found in known:
        root = causes.root(found)
        if root == found:
            roots.append(found)
        else:
            below.setdefault(_group(root), []).append(found)
    symptoms = {name for check in checks.values() for name in check.explains}
    return _ranked(
        (
            Diagnosis(group, _ranked((Diagnosis(part) for part in _grouped(below.get(_group(group[0]), ()))), symptoms))
            for group in _grouped(roots)
        ),
        symptoms,
    )


class _Causes:
    """Finds which finding another one follows from."""

    def __init__(self, findings: Iterable[Finding], checks: Mapping[str, Check]) -> None:
        self._by_place: dict[tuple[str, str | None], list[Finding]] = {}
        for found in findings:
            self._by_place.setdefault((found.check, found.namespace), []).append(found)
        self._explained_by: dict[str, list[str]] = {}
        for check in checks.values():
            for consequence in check.explains:
                self._explained_by.setdefault(consequence, []).append(check.name)

    def root(self, found: Finding) -> Finding:
        """Follow causes to the one that nothing explains; the most severe where there are several."""
        passed: list[Finding] = []
        while found not in passed:
            passed.append(found)
            found = min(self._causes(found), key=_finding_rank, default=found)
        # Checks that explain each other would send us round: of those the most severe is the cause, wherever we began.
        return min(passed[passed.index(found) :], key=_finding_rank)

    def _causes(self, found: Finding) -> Iterator[Finding]:
        for check in self._explained_by.get(found.check, ()):
            for place in dict.fromkeys((None, found.namespace)):
                for cause in self._by_place.get((check, place), ()):
                    if cause.registry is None or found.registry is None or cause.registry == found.registry:
                        yield cause


def _run(snapshot: Snapshot, check: Check) -> tuple[Finding, ...] | Unchecked:
    try:
        return tuple(check.find(snapshot))
    except PullSecretsError as error:
        return Unchecked(check.name, check.title, str(error))
    except Exception as error:  # noqa: BLE001 - an object of a shape nobody expected must not cost the other checks
        # Without the exception's text, which could hold anything that was read.
        return Unchecked(check.name, check.title, f"doctor failed with {type(error).__name__}; report this as a defect")


def _unique(findings: Iterable[Finding]) -> list[Finding]:
    return list(dict.fromkeys(findings))


def _group(found: Finding) -> tuple[object, ...]:
    # Findings about the cluster have nothing to be grouped over, so each keeps its own cause.
    cause = found.cause if found.namespace is None else None
    return (found.check, found.severity, found.registry, found.namespace is None, cause)


def _grouped(findings: Iterable[Finding]) -> list[tuple[Finding, ...]]:
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for found in findings:
        groups.setdefault(_group(found), []).append(found)
    return [tuple(sorted(group, key=lambda found: found.namespace or "")) for group in groups.values()]


def _ranked(diagnoses: Iterable[Diagnosis], symptoms: Set[str]) -> tuple[Diagnosis, ...]:
    def key(item: Diagnosis) -> tuple[object, ...]:
        concerned = len(item.namespaces)
        first = (-item.severity, concerned > 0, -concerned, item.check in symptoms)
        return (*first, item.check, item.registry or "", item.findings[0].cause)

    return tuple(sorted(diagnoses, key=key))


def _finding_rank(found: Finding) -> tuple[object, ...]:
    # All that tells findings apart, so that the order never depends on the order in which checks ended.
    texts = (found.cause, found.symptom, found.evidence, found.fix, found.prevention)
    return (-found.severity, found.namespace or "", found.check, found.registry or "", *texts)


def _anywhere(text: str, found: Finding) -> str:
    # As a whole name only: one namespace's name may be part of another's.
    return _NAME.sub(lambda name: EVERYWHERE if name[0] == found.namespace else name[0], text)


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
