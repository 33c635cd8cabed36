"""The validation for pipelines: every workload that the overlays build refers to its registry's pull Secret."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from pullsecrets.config import Registry, StackConfig
from pullsecrets.data import Values, mapping
from pullsecrets.gitops import component
from pullsecrets.gitops.kustomize import Built, build_all
from pullsecrets.gitops.repository import APPS, Repository, Workload, source_of
from pullsecrets.guard.targets import describe
from pullsecrets.kube.podspec import pod_path
from pullsecrets.policy import workloads
from pullsecrets.policy.lint import UNREAD, Report, Violation, settings_of
from pullsecrets.policy.lint.reading import KUSTOMIZATIONS
from pullsecrets.policy.model import Finding, Level, PolicyInfo, Settings

_ANYWHERE: Final = "anywhere"
"""A namespace that every registry permits here: one stack's file does not know the other environments' namespaces."""


def check(repository: Repository, config: StackConfig, registry: Registry) -> Report:
    """Build every overlay, and each base without one, and judge the workloads in what comes out.

    Workloads in files that nothing builds are judged as they stand, and as the component changes them where the
    kustomization that names the file takes it in.

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
        judged += sum(pod_path(item) is not None for item in found.objects)
    plain = [item for item in repository.resources if item.file not in reached]
    carrying = repository.carrying(component.folder(registry.name))
    for item in plain:
        given = item.file in carrying and component.covers(item.item)
        violations.extend(_of_file(repository, item, settings, given=given))
    for file, unread in repository.unread:
        if APPS in file.parents:
            finding = Finding(f"{file} was not judged: {unread.reason}", UNREAD.remediation)
            # Any other file may be a template; a kustomization of which nothing can be read does not build.
            level = Level.MANDATORY if file.name in KUSTOMIZATIONS else Level.ADVISORY
            violations.append(_violation(repository, UNREAD, file, (unread.line, 1), finding, level))
    violations.sort(key=lambda item: (item.file, item.line, item.problem))
    files = [*(repository.kustomizations[folder].file for folder in built), *(item.file for item in plain)]
    shown = dict.fromkeys((repository.root / file).as_posix() for file in files)
    return Report(tuple(shown), judged + len(plain), tuple(violations))


def _settings(config: StackConfig, registry: Registry) -> Settings:
    given = settings_of(config)[workloads.REFERENCES.name]["registries"]
    # The stack's other registries count too: their hosts are no other names of this one.
    return {
        "registries": [{**item, "namespaces": ["*"] if item["name"] == registry.name else []} for item in given],
    }


def _of_build(repository: Repository, found: Built, settings: Settings) -> Iterator[Violation]:
    file = repository.kustomizations[found.folder].file
    if found.failure:
        finding = Finding(f"{found.folder} does not build: {found.failure}", "repair it, so that it can be judged")
        yield _violation(repository, UNREAD, file, (1, 1), finding, Level.MANDATORY)
        return
    sources = repository.sources(found.folder)
    for item in found.objects:
        for policy, finding in _judge(item, settings):
            source = source_of(item, sources)
            place = (source.line, 1) if source else (1, 1)
            text = Finding(f"{found.folder}: {finding.problem}", finding.fix)
            yield _violation(repository, policy, source.file if source else file, place, text)


def _of_file(repository: Repository, item: Workload, settings: Settings, *, given: bool) -> Iterator[Violation]:
    for policy, finding in _judge(item.item, settings):
        if given and policy is workloads.REFERENCES:
            continue
        yield _violation(repository, policy, item.file, item.manifest.position(finding.path), finding)


def _judge(item: Values, settings: Settings) -> Iterator[tuple[PolicyInfo, Finding]]:
    moved = {**item, "metadata": {**mapping(item.get("metadata")), "namespace": _ANYWHERE}}
    for name in workloads.missing_references(moved, settings):
        problem = f"{describe(item)} pulls from the registry of {name} and does not refer to that Secret"
        fix = "run `pull-secrets gitops migrate`, and let no patch replace the list that its component adds to"
        yield workloads.REFERENCES, Finding(problem, fix, pod_path(item) or ())
    for finding in workloads.judge_hosts(item, settings):
        yield workloads.HOSTS, finding
    for finding in workloads.judge_similar_hosts(item, settings):
        yield workloads.SIMILAR_HOSTS, finding


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
