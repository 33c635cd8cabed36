"""Judging manifests by the rules of the policy packs."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pullsecrets.policy import cluster_pull_secret, complete_delivery, credentials, delivery, workloads
from pullsecrets.policy.lint.reading import Manifest, Unread, files_in, read, shown_name
from pullsecrets.policy.model import Finding, Level, ObjectRule, PolicyInfo, Settings, Severity

UNREAD: Final = PolicyInfo(
    name="report-unread-files",
    title="Report files that could not be judged",
    description="A file with objects that is not plain YAML cannot be judged.",
    level=Level.ADVISORY,
    severity=Severity.LOW,
    remediation="Lint what is applied: pipe `kustomize build` or `helm template` into `pull-secrets lint -`.",
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
    _Rule(delivery.BINDING, delivery.judge_binding, Level.MANDATORY),
    _Rule(workloads.HOSTS, workloads.judge_hosts, Level.MANDATORY),
    _Rule(workloads.SIMILAR_HOSTS, workloads.judge_similar_hosts, Level.ADVISORY),
    # Nothing puts a file right, and a ServiceAccount may bring the reference along.
    _Rule(workloads.REFERENCES, workloads.judge_references, Level.ADVISORY),
)
"""The rules that a single object can be judged by, each with what breaking it does here."""

POLICIES: Final = (*(rule.policy for rule in RULES), complete_delivery.COMPLETE, UNREAD)


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


@dataclass(frozen=True)
class Report:
    """What a lint looked at and found."""

    files: tuple[str, ...]
    objects: int
    violations: tuple[Violation, ...]

    @property
    def mandatory(self) -> int:
        """How many violations fail the lint."""
        return sum(violation.level is Level.MANDATORY for violation in self.violations)


def lint(paths: Iterable[Path], settings: Mapping[str, Settings]) -> Report:
    """Judge every Kubernetes object in files and folders.

    Args:
        paths: files, folders, or `-` for standard input.
        settings: settings by the policy's name; a policy that is left out has its defaults.

    Raises:
        BadInputError: when a path names nothing, or cannot be read.
    """
    files = list(dict.fromkeys(files_in(paths)))
    manifests: list[Manifest] = []
    violations: list[Violation] = []
    for found in (part for file in files for part in read(file)):
        if isinstance(found, Unread):
            violations.append(_unread(found))
        else:
            manifests.append(found)
            violations.extend(_judge(found, settings))
    violations.extend(_without_egress(manifests))
    violations.sort(key=lambda found: (found.file, found.line, found.column, found.policy.name))
    return Report(tuple(shown_name(file) for file in files), len(manifests), tuple(violations))


def _judge(manifest: Manifest, settings: Mapping[str, Settings]) -> Iterator[Violation]:
    for rule in RULES:
        for finding in rule.judge(manifest.item, settings.get(rule.policy.name, {})):
            yield _violation(rule.policy, rule.level, manifest, finding)


def _without_egress(manifests: list[Manifest]) -> Iterator[Violation]:
    """Yield stores without an egress rule; advisory, because the rule may stand where the lint did not look."""
    places = {str(index): manifest for index, manifest in enumerate(manifests)}
    for finding in complete_delivery.stores_without_egress((item.item, place) for place, item in places.items()):
        yield _violation(complete_delivery.COMPLETE, Level.ADVISORY, places[finding.urn or ""], finding)


def _violation(policy: PolicyInfo, level: Level, manifest: Manifest, finding: Finding) -> Violation:
    line, column = manifest.position(finding.path)
    return Violation(policy, level, manifest.file, line, column, finding.problem, finding.fix)


def _unread(found: Unread) -> Violation:
    problem = f"{found.file} was not judged from here on: {found.reason}"
    return Violation(UNREAD, UNREAD.level, found.file, found.line, 1, problem, UNREAD.remediation)
