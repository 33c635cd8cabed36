"""The validation for pipelines: every workload that is deployed refers to its registry's pull Secret."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from pullsecrets.config import Registry, StackConfig
from pullsecrets.data import Values, mapping, shown
from pullsecrets.errors import BadInputError
from pullsecrets.gitops import component
from pullsecrets.gitops.builds import Built
from pullsecrets.gitops.repository import LIST, Repository, Root
from pullsecrets.gitops.survey import Deployment, Survey
from pullsecrets.guard.targets import describe
from pullsecrets.policy import workloads
from pullsecrets.policy.lint import UNREAD, Report, Violation, settings_of
from pullsecrets.policy.lint.reading import KUSTOMIZATIONS, Unread
from pullsecrets.policy.model import Finding, Level, PolicyInfo, Settings

_ANYWHERE: Final = "anywhere"
"""A namespace that every registry permits here: one stack's file does not know the other environments' namespaces."""


def check(survey: Survey, config: StackConfig, registry: Registry, *, partly: bool = False) -> Report:
    """Judge every workload as it is built, and those in files that nothing builds as they stand.

    Args:
        registry: the registry whose hosts and Secret count.
        partly: whether only what changed was built, which can be nothing.

    Raises:
        BadInputError: when no workload was there to be judged: that is no pass.
    """
    repository, settings = survey.repository, _settings(config, registry)
    violations = [_of_failure(repository, found) for found in survey.broken]
    told: dict[tuple[PurePosixPath | None, str, str], list[Root]] = {}
    # What takes in another root has what is wrong there too; that is told once, where it is.
    judged = sorted(survey.deployments, key=lambda found: len(repository.reach(found.root.folder)) if found.root else 0)
    for found in judged:
        for policy, finding in _judge(found.item, settings):
            roots = told.setdefault((found.file, policy.name, finding.problem), [])
            if found.root is None or not any(root.folder in repository.reach(found.root.folder) for root in roots):
                violations.extend(_of(survey, found, registry, policy, finding))
            if found.root:
                roots.append(found.root)
    violations.extend(_unread(repository))
    if not judged and not violations and not partly:
        looked = "; not checked: " + "; ".join(repository.not_looked_at) if repository.not_looked_at else ""
        raise BadInputError(
            f"{repository.root}: no workload was found, so nothing was checked; name the folders to build with --root, "
            f"or the repository that has them{looked}"
        )
    violations.sort(key=lambda item: (item.file, item.line, item.problem))
    files = [repository.kustomizations[root.folder].file for root in survey.built]
    files += [item.file for item in repository.plain]
    names = dict.fromkeys((repository.root / file).as_posix() for file in files)
    passed = (*repository.not_looked_at, *(f"{folder} is a Helm chart" for folder in repository.charts))
    return Report(tuple(names), len(judged), tuple(violations), passed)


def _settings(config: StackConfig, registry: Registry) -> Settings:
    given = settings_of(config)[workloads.REFERENCES.name]["registries"]
    # The stack's other registries count too: their hosts are no other names of this one.
    return {
        "registries": [{**item, "namespaces": ["*"] if item["name"] == registry.name else []} for item in given],
    }


def _of_failure(repository: Repository, found: Built) -> Violation:
    fix = "repair it, so that it can be judged; where its controller builds it with options, give them too"
    finding = Finding(f"{found.root} does not build: {found.failure}", fix)
    file = repository.kustomizations[found.root.folder].file
    return _violation(repository, UNREAD, file, (1, 1), finding, Level.MANDATORY)


def _of(
    survey: Survey, found: Deployment, registry: Registry, policy: PolicyInfo, finding: Finding
) -> Iterator[Violation]:
    repository = survey.repository
    source = survey.source(found)
    own = repository.kustomizations[found.root.folder].file if found.root else None
    file = source.file if source else found.file or own or PurePosixPath()
    if policy is workloads.REFERENCES:
        if found.root is None and _carried(repository, found, registry):
            return
        finding = Finding(finding.problem, fix_of(repository, found, registry), finding.path)
    line = source.line if source else 1
    place = source.manifest.position(finding.path) if source and found.root is None else (line, 1)
    text = f"{found.root}: {finding.problem}" if found.root else finding.problem
    yield _violation(repository, policy, file, place, Finding(text, finding.fix))


def _carried(repository: Repository, found: Deployment, registry: Registry) -> bool:
    """Tell whether the one kustomization that names a file, itself not built, takes in the component."""
    shared = component.folder(repository.settings, registry.name)
    using = (item for item in repository.kustomizations.values() if shared in item.components)
    return component.covers(found.item) and any(found.file in item.resources for item in using)


def fix_of(repository: Repository, found: Deployment, registry: Registry) -> str:
    """Return what gives a workload the reference where it stands."""
    entry = f"add `- name: {registry.name}` to {shown((*found.pod.path, LIST))}"
    if found.root is None:
        return f"{entry} in this file, by hand or with `pull-secrets gitops migrate --place manifests`"
    shared = component.folder(repository.settings, registry.name)
    if component.covers(found.item) and shared in repository.taken_in(found.root):
        return f"a patch replaces the list that the component adds to: let it append, by a path that ends in {LIST}/-"
    return f"run `pull-secrets gitops migrate`, or {entry}"


def _unread(repository: Repository) -> Iterator[Violation]:
    looked_at = {*repository.candidates, *(file for file in repository.files if file.name in KUSTOMIZATIONS)}
    for file in sorted(looked_at - repository.built):
        for unread in repository.unread(file):
            yield _of_unread(repository, file, unread)


def _of_unread(repository: Repository, file: PurePosixPath, unread: Unread) -> Violation:
    finding = Finding(f"{file} was not judged: {unread.reason}", UNREAD.remediation)
    # Any other file may be a template; a kustomization of which nothing can be read does not build.
    level = Level.MANDATORY if file.name in KUSTOMIZATIONS else Level.ADVISORY
    return _violation(repository, UNREAD, file, (unread.line, 1), finding, level)


def _judge(item: Values, settings: Settings) -> Iterator[tuple[PolicyInfo, Finding]]:
    moved = {**item, "metadata": {**mapping(item.get("metadata")), "namespace": _ANYWHERE}}
    for pod, name in workloads.missing_references(moved, settings):
        problem = f"{describe(item)} pulls from the registry of {name} and does not refer to that Secret"
        yield workloads.REFERENCES, Finding(problem, "", pod.path)
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
    return Violation(policy, own, (repository.root / file).as_posix(), *place, finding.problem, finding.fix)
