"""Judging manifests by the rules of the policy packs."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from pullsecrets.errors import BadInputError
from pullsecrets.policy import cluster_pull_secret, complete_delivery, credentials, delivery, workloads
from pullsecrets.policy.lint.reading import STANDARD_INPUT, Manifest, Unread, files_in, generated, read, shown_name
from pullsecrets.policy.model import Finding, Level, ObjectRule, PolicyInfo, Settings, Severity

UNREAD: Final = PolicyInfo(
    name="report-unread-files",
    title="Report files that could not be judged",
    description="What kubectl would not read either, or is bounded here, was not checked, which is not a pass.",
    level=Level.MANDATORY,
    severity=Severity.MEDIUM,
    remediation=(
        "Lint what is applied: pipe `kustomize build` or `helm template` into `pull-secrets lint -`; or pass "
        "`--lenient` for files that are no manifests."
    ),
    url="https://kubectl.docs.kubernetes.io/references/kustomize/cmd/build/",
    tags=("lint",),
)


@dataclass(frozen=True)
class _Rule:
    policy: PolicyInfo
    judge: ObjectRule
    level: Level


RULES: Final = (
    _Rule(cluster_pull_secret.WRITES, cluster_pull_secret.judge_object_writes, Level.MANDATORY),
    _Rule(cluster_pull_secret.MENTIONS, cluster_pull_secret.judge_object_mentions, Level.ADVISORY),
    _Rule(cluster_pull_secret.UNJUDGED, cluster_pull_secret.judge_object_opaque, Level.ADVISORY),
    _Rule(delivery.OPT_IN, delivery.judge_opt_in, Level.MANDATORY),
    _Rule(delivery.DELIVERY, delivery.judge_delivery, Level.MANDATORY),
    _Rule(credentials.CREDENTIALS, credentials.judge_credentials, Level.MANDATORY),
    _Rule(credentials.SECRETS, credentials.judge_secrets, Level.ADVISORY),
    _Rule(delivery.BINDING, delivery.judge_binding, Level.MANDATORY),
    _Rule(workloads.HOSTS, workloads.judge_hosts, Level.MANDATORY),
    _Rule(workloads.SIMILAR_HOSTS, workloads.judge_similar_hosts, Level.ADVISORY),
    # Nothing puts a file right, and a ServiceAccount may bring the reference along.
    _Rule(workloads.REFERENCES, workloads.judge_references, Level.ADVISORY),
)
"""The rules that a single object can be judged by, each with what breaking it does here."""

POLICIES: Final = (*(rule.policy for rule in RULES), complete_delivery.COMPLETE, UNREAD)

_SMALL: Final = 1 << 20
"""Bytes of files that one process has judged before others have started."""


@dataclass(frozen=True)
class Violation:
    """A rule that an object of a file breaks."""

    policy: PolicyInfo
    level: Level
    file: str
    line: int
    column: int
    problem: str
    fix: str
    accepted: str = ""
    """Why it does not count: the reason of a comment, or that a baseline has it."""

    @property
    def is_refused(self) -> bool:
        """Whether it fails the lint."""
        return self.level is Level.MANDATORY and not self.accepted


@dataclass(frozen=True)
class Report:
    """What a lint looked at and found."""

    files: tuple[str, ...]
    objects: int
    violations: tuple[Violation, ...]
    not_looked_at: tuple[str, ...] = ()
    """What stands there and was not judged, such as `3 files with a name that ends in .tpl`."""
    gone: tuple[str, ...] = ()
    """What a baseline has and nothing has any more."""

    @property
    def mandatory(self) -> int:
        """How many violations fail the lint."""
        return sum(violation.is_refused for violation in self.violations)

    @property
    def told(self) -> tuple[Violation, ...]:
        """The violations that nobody accepted."""
        return tuple(violation for violation in self.violations if not violation.accepted)


@dataclass(frozen=True)
class _Judged:
    """What one or more files came to."""

    objects: int = 0
    violations: list[Violation] = field(default_factory=list[Violation])
    parts: list[Manifest] = field(default_factory=list[Manifest])
    """The objects that are judged together, when all files are read."""
    generating: int = 0


def lint(
    paths: Iterable[Path],
    settings: Mapping[str, Settings],
    *,
    rules: Sequence[str] = (),
    lenient: bool = False,
) -> Report:
    """Judge every Kubernetes object in files and folders.

    Args:
        paths: files, folders, or `-` for standard input.
        settings: settings by the policy's name, `enforcementLevel` among them; what is left out has its defaults.
        rules: names of the rules to judge by; all of them when none is named.
        lenient: whether files that cannot be read are only told.

    Raises:
        BadInputError: when a path names nothing, or cannot be read, or a rule does not exist.
    """
    known = [policy.name for policy in POLICIES]
    for name in rules:
        if name not in known:
            raise BadInputError(f"rule {name}: found no rule of that name; allowed: {', '.join(known)}")
    files, passed = files_in(paths)
    judged = list(_in_parallel(files, partial(_judge_file, settings)))
    violations = [violation for one in judged for violation in one.violations]
    violations += _without_egress([part for one in judged for part in one.parts], settings)
    if generating := sum(one.generating for one in judged):
        passed = [*passed, f"what kustomizations generate or fetch ({generating})"]
    chosen = [_at_level(found, settings, lenient) for found in violations if not rules or found.policy.name in rules]
    counting = [found for found in chosen if found is not None]
    counting.sort(key=lambda found: (found.file, found.line, found.column, found.policy.name))
    objects = sum(one.objects for one in judged)
    return Report(tuple(shown_name(file) for file in files), objects, tuple(counting), tuple(passed))


def _in_parallel(files: list[Path], judge: Callable[[Path], _Judged]) -> Iterator[_Judged]:
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # One process reads standard input, and is not parallel.
    alone = workers == 1 or Path(STANDARD_INPUT) in files
    if alone or sum(file.stat().st_size for file in files) < _SMALL:
        yield from map(judge, files)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(judge, files, chunksize=max(1, min(_CHUNK, len(files) // (workers * 4))))


_CHUNK: Final = 50
"""Files that a process takes at a time at the most."""


def _judge_file(settings: Mapping[str, Settings], file: Path) -> _Judged:
    objects, generating = 0, 0
    violations: list[Violation] = []
    parts: list[Manifest] = []
    for found in read(file):
        if isinstance(found, Unread):
            violations.append(_unread(found))
            continue
        objects += 1
        generating += generated(found)
        violations.extend(_judge(found, settings))
        if complete_delivery.takes_part(found.item):
            parts.append(found)
    return _Judged(objects, violations, parts, generating)


def _judge(manifest: Manifest, settings: Mapping[str, Settings]) -> Iterator[Violation]:
    for rule in RULES:
        for finding in rule.judge(manifest.item, settings.get(rule.policy.name, {})):
            yield _violation(rule.policy, rule.level, manifest, finding)


def _without_egress(manifests: list[Manifest], settings: Mapping[str, Settings]) -> Iterator[Violation]:
    """Yield stores without an egress rule; advisory, because the rule may stand where the lint did not look."""
    places = {str(index): manifest for index, manifest in enumerate(manifests)}
    items = ((item.item, place) for place, item in places.items())
    own = settings.get(complete_delivery.COMPLETE.name, {})
    for finding in complete_delivery.stores_without_egress(items, own):
        yield _violation(complete_delivery.COMPLETE, Level.ADVISORY, places[finding.urn or ""], finding)


def _violation(policy: PolicyInfo, level: Level, manifest: Manifest, finding: Finding) -> Violation:
    line, column = manifest.position(finding.path)
    reason = manifest.allows(policy.name) or ""
    return Violation(policy, level, manifest.file, line, column, finding.problem, finding.fix, reason)


def _unread(found: Unread) -> Violation:
    problem = f"{found.file} was not judged from here on: {found.reason}"
    return Violation(UNREAD, UNREAD.level, found.file, found.line, 1, problem, UNREAD.remediation)


def _at_level(found: Violation, settings: Mapping[str, Settings], lenient: bool) -> Violation | None:
    """Return a violation at the level that the settings give its policy; None where that is `disabled`."""
    level = settings.get(found.policy.name, {}).get("enforcementLevel", found.level)
    if level == "disabled":
        return None
    if found.policy is UNREAD and lenient:
        level = Level.ADVISORY
    return replace(found, level=Level.ADVISORY if level == Level.ADVISORY else Level.MANDATORY)
