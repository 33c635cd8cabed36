"""The validation for pipelines: every workload that the overlays build refers to its registry's pull Secret."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from pullsecrets.config import Registry, StackConfig
from pullsecrets.gitops.kustomize import Built, build_all
from pullsecrets.gitops.repository import APPS, Repository, Workload
from pullsecrets.lint import UNREAD, Report, Violation, settings_of
from pullsecrets.rules import workloads
from pullsecrets.rules.model import Finding, Level, PolicyInfo, Settings
from pullsecrets.rules.targets import describe, kind_of
from pullsecrets.rules.values import Values, dig, mapping

_ANYWHERE: Final = "anywhere"
"""A namespace that every registry permits here: one stack's file does not know the other environments' namespaces."""


def check(repository: Repository, config: StackConfig, registry: Registry) -> Report:
    """Build every overlay, and each base without one, and judge the workloads in what comes out.

    Workloads in files that no kustomization names are judged as they stand.

    Raises:
        BadInputError: when nothing is installed to build with.
    """
    settings = _settings(config, registry)
    built = build_all(repository.root, repository.builds)
    reached = repository.reached(repository.builds)
    violations: list[Violation] = []
    judged = 0
    for found in built.values():
        violations.extend(_of_build(repository, found, settings))
        judged += sum(workloads.pod_spec_of(item) is not None for item in found.objects)
    plain = [item for item in repository.resources if item.file not in reached]
    for item in plain:
        violations.extend(_of_file(repository, item, settings))
    for file, unread in repository.unread:
        if APPS in file.parents:
            problem = f"{file} was not judged: {unread.reason}"
            violations.append(
                _violation(repository, UNREAD, file, (unread.line, 1), Finding(problem, UNREAD.remediation))
            )
    violations.sort(key=lambda item: (item.file, item.line, item.problem))
    files = [*(repository.kustomizations[folder].file for folder in built), *(item.file for item in plain)]
    shown = dict.fromkeys((repository.root / file).as_posix() for file in files)
    return Report(tuple(shown), judged + len(plain), tuple(violations))


def _settings(config: StackConfig, registry: Registry) -> Settings:
    given = settings_of(config)[workloads.REFERENCES.name]["registries"]
    return {"registries": [{**item, "namespaces": ["*"]} for item in given if item["name"] == registry.name]}


def _of_build(repository: Repository, found: Built, settings: Settings) -> Iterator[Violation]:
    file = repository.kustomizations[found.folder].file
    if found.failure:
        finding = Finding(f"{found.folder} does not build: {found.failure}", "repair it, so that it can be judged")
        yield _violation(repository, UNREAD, file, (1, 1), finding, Level.MANDATORY)
        return
    sources = repository.reached([found.folder])
    candidates = [item for item in repository.resources if item.file in sources]
    for item in found.objects:
        for policy, finding in _judge(item, settings):
            source = _source(item, candidates)
            place = (source.line, 1) if source else (1, 1)
            text = Finding(f"{found.folder}: {finding.problem}", finding.fix)
            yield _violation(repository, policy, source.file if source else file, place, text)


def _of_file(repository: Repository, item: Workload, settings: Settings) -> Iterator[Violation]:
    for policy, finding in _judge(item.item, settings):
        yield _violation(repository, policy, item.file, item.manifest.position(finding.path), finding)


def _judge(item: Values, settings: Settings) -> Iterator[tuple[PolicyInfo, Finding]]:
    moved = {**item, "metadata": {**mapping(item.get("metadata")), "namespace": _ANYWHERE}}
    for name in workloads.missing_references(moved, settings):
        problem = f"{describe(item)} pulls from the registry of {name} and does not refer to that Secret"
        fix = "run `pull-secrets gitops migrate`, and let no patch replace the list that its component adds to"
        yield workloads.REFERENCES, Finding(problem, fix, workloads.pod_spec_of(item) or ())
    for finding in workloads.judge_hosts(item, settings):
        yield workloads.HOSTS, finding


def _source(item: Values, candidates: list[Workload]) -> Workload | None:
    """Find the file that a built workload comes from; an overlay may have put something before or behind its name."""
    name = str(dig(item, ("metadata", "name")))
    same_kind = [found for found in candidates if found.kind == kind_of(item) and found.name in name]
    return max(same_kind, key=lambda found: len(found.name), default=None)


def _violation(
    repository: Repository,
    policy: PolicyInfo,
    file: PurePosixPath,
    place: tuple[int, int],
    finding: Finding,
    level: Level | None = None,
) -> Violation:
    # What is remediated in a preview cannot be in a repository.
    own = level or (policy.level if policy.level is Level.ADVISORY else Level.MANDATORY)
    shown = (repository.root / file).as_posix()
    return Violation(policy, own, shown, *place, finding.problem, finding.fix)
