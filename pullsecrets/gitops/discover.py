"""The audit of a GitOps repository: what its workloads pull, with which Secrets, and what is missing."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml

from pullsecrets.config import Registry, StackConfig
from pullsecrets.data import dig, mapping, sequence, shown
from pullsecrets.gitops import helm
from pullsecrets.gitops.check import fix_of
from pullsecrets.gitops.repository import LIST, Repository, Workload
from pullsecrets.gitops.survey import Survey
from pullsecrets.guard.targets import Answer, targets_of
from pullsecrets.text import counted

DEFAULT_PATTERN = "{service}-{environment}"


@dataclass(frozen=True)
class RegistryUse:
    """How many workload files pull from one registry as they are deployed."""

    host: str
    files: int
    percent: int


@dataclass(frozen=True)
class SecretUse:
    """How often one pull Secret is named, and where the repository defines it."""

    name: str
    references: int
    defined_in: tuple[str, ...]


@dataclass(frozen=True)
class HardCoded:
    """A list of pull Secrets that a file spells out."""

    file: str
    line: int
    workload: str
    names: tuple[str, ...]
    patch: bool


@dataclass(frozen=True)
class Gap:
    """Something that keeps Pods from their pull Secret, or this audit from seeing whether it does."""

    kind: str
    file: str
    line: int
    problem: str
    fix: str


@dataclass(frozen=True)
class Discovery:
    """What the audit found."""

    services: tuple[str, ...]
    environments: tuple[str, ...]
    namespaces: tuple[str, ...]
    roots: tuple[str, ...]
    """What is built by itself."""
    workload_files: dict[str, int]
    """Number of files by what they hold: deployments, workers, migration jobs, and other kinds by name."""
    registries: tuple[RegistryUse, ...]
    secrets: tuple[SecretUse, ...]
    hard_coded: tuple[HardCoded, ...]
    gaps: tuple[Gap, ...]
    not_looked_at: tuple[str, ...]


def discover(survey: Survey, config: StackConfig, registries: Sequence[Registry]) -> Discovery:
    """Audit a repository.

    Args:
        config: the stack, whose matrices say how a service's namespaces are named.
        registries: the registries whose hosts and Secrets count.
    """
    repository = survey.repository
    pattern = next((matrix.pattern for matrix in config.tenants.matrices), DEFAULT_PATTERN)
    return Discovery(
        repository.services,
        repository.environments,
        tuple(
            pattern.replace("{service}", service).replace("{environment}", environment)
            for service in repository.services
            for environment in repository.environments
        ),
        tuple(map(str, survey.built)),
        _workload_files(repository),
        _registries(survey),
        _secrets(repository),
        tuple(
            HardCoded(str(item.file), item.line, f"{item.kind} {item.name}", item.references, item.patch)
            for item in repository.workloads
            if item.references
        ),
        tuple(_gaps(survey, registries)),
        repository.not_looked_at,
    )


def _workload_files(repository: Repository) -> dict[str, int]:
    resources = [item for item in repository.workloads if not item.patch and item.hosts]
    first = {item.file: item for item in reversed(resources)}
    return dict(sorted(Counter(map(_role, first.values())).items()))


def _role(workload: Workload) -> str:
    """Name what a file's first workload is for, as people count them."""
    text = f"{workload.file.name} {workload.name}"
    if workload.kind == "Job":
        return "migration jobs" if "migrat" in text else "jobs"
    if workload.kind == "Deployment":
        return "workers" if "worker" in text else "deployments"
    return f"{workload.kind}s"


def _registries(survey: Survey) -> tuple[RegistryUse, ...]:
    """Count where images come from as they are deployed; what was fetched counts for the root that builds it."""
    pairs = {(host, found.file or found.root) for found in survey.deployments for host in found.hosts}
    places = {place for _, place in pairs}
    counts = Counter(host for host, _ in pairs)
    return tuple(RegistryUse(host, count, round(100 * count / len(places))) for host, count in counts.most_common())


def _secrets(repository: Repository) -> tuple[SecretUse, ...]:
    counted = Counter(name for item in repository.workloads for name in item.references)
    places = {name: tuple(_definitions(repository, name)) for name in counted}
    return tuple(SecretUse(name, count, places[name]) for name, count in counted.most_common())


def _definitions(repository: Repository, name: str) -> Iterator[str]:
    """Yield the files with an object that is the Secret, or whose controller writes it."""
    for file in repository.mentioning(name):
        targets = (target for manifest in repository.manifests(file) for target in targets_of(manifest.item))
        secrets = (target for target in targets if (target.group, target.kind) == ("", "Secret"))
        if any(target.name.answer(name) is Answer.CERTAIN for target in secrets):
            yield str(file)


def _gaps(survey: Survey, registries: Sequence[Registry]) -> Iterator[Gap]:
    repository = survey.repository
    for used in _secrets(repository):
        if not used.defined_in:
            ours = any(used.name == registry.name for registry in registries)
            fix = (
                "let the stack deliver it: `pulumi up`, or `pull-secrets render`"
                if ours
                else "deliver it too, or remove the entries"
            )
            problem = (
                f"Secret {used.name} has {counted(used.references, 'reference')} and no definition in the repository"
            )
            yield Gap("secret-undefined", ".", 1, problem, fix)
    for registry in registries:
        yield from _without_reference(survey, registry)
    yield from _broken(survey)
    yield from _not_built(repository)
    yield from _without_overlay(repository)
    yield from _overwritten(repository)
    for registry in registries:
        yield from _charts(repository, registry)
    for folder in repository.charts:
        fix = "pipe `helm template` into `pull-secrets lint -`"
        yield Gap("chart", str(folder), 1, f"{folder} is a Helm chart, whose templates were not judged", fix)
    # What is built was read by kustomize.
    for file in (file for file in repository.files if file not in repository.built):
        for found in repository.unread(file):
            fix = "make it plain YAML, or check what is built from it: pipe that into `pull-secrets lint -`"
            yield Gap("unread", str(file), found.line, f"{file} could not be read: {found.reason}", fix)


def _without_reference(survey: Survey, registry: Registry) -> Iterator[Gap]:
    told: set[tuple[str, str]] = set()
    for found in survey.deployments:
        if not found.pulls_from(registry) or registry.name in found.references:
            continue
        source = survey.source(found)
        file = str(source.file if source else found.file or found.root)
        name = f"{found.kind} {source.name if source else found.name}"
        if (file, name) not in told:
            told.add((file, name))
            problem = f"{name} pulls from {registry.name}'s registry and does not name that Secret"
            fix = fix_of(survey.repository, found, registry)
            yield Gap("no-reference", file, source.line if source else 1, problem, fix)


def _charts(repository: Repository, registry: Registry) -> Iterator[Gap]:
    for release in helm.releases(repository):
        if not helm.uses(repository, release, registry) or helm.has(repository, release, registry):
            continue
        problem = f"{release}, names {registry.name}'s registry in its values and not that Secret"
        try:
            value = helm.value_of(repository, release)
            fix = f"set {shown(value.key)}, by hand or with `pull-secrets gitops migrate --charts`"
        except helm.UnknownValueError as error:
            fix = str(error)
        yield Gap("chart-value", str(release.file), release.manifest.position(release.values)[0], problem, fix)


def _broken(survey: Survey) -> Iterator[Gap]:
    for found in survey.broken:
        fix = "repair it, or give the options that its controller builds it with"
        yield Gap("not-building", str(found.root), 1, f"{found.root} does not build: {found.failure}", fix)


def _not_built(repository: Repository) -> Iterator[Gap]:
    for service in repository.services:
        if not any(repository.service_of(folder) == service for folder in repository.kustomizations):
            folder = repository.settings.services.format(service=service)
            fix = "add base/kustomization.yaml, which can take in the shared component"
            yield Gap("no-kustomization", folder, 1, f"service {service} has no kustomization to build", fix)
    for item in repository.plain:
        if _has_kustomization(repository, item):
            problem = f"{item.kind} {item.name} is in a file that no kustomization lists"
            yield Gap("not-built", str(item.file), item.line, problem, "list the file under `resources:`, or remove it")


def _has_kustomization(repository: Repository, item: Workload) -> bool:
    service = repository.service_of(item.file)
    return any(
        folder in item.file.parents or (service is not None and repository.service_of(folder) == service)
        for folder in repository.kustomizations
    )


def _without_overlay(repository: Repository) -> Iterator[Gap]:
    for service in repository.services:
        for environment in repository.environments:
            overlay = repository.overlay(service, environment)
            if overlay not in repository.kustomizations:
                problem = f"service {service} has no overlay for {environment}"
                yield Gap("no-overlay", str(overlay.parent), 1, problem, f"add {overlay}, or leave it out there")


def _overwritten(repository: Repository) -> Iterator[Gap]:
    """Yield JSON patches that set the list: they come after the component and replace what it added."""
    for item in repository.kustomizations.values():
        for key in ("patches", "patchesJson6902"):
            for index, entry in enumerate(sequence(item.manifest.item.get(key))):
                steps = _steps(repository, item.file, entry)
                if any(str(mapping(step).get("path")).endswith(f"/{LIST}") for step in steps):
                    problem = f"a JSON patch sets the whole {LIST}, and drops the existing entries"
                    fix = "use a strategic-merge patch, or add single entries by a path that ends in `/-`"
                    line = item.manifest.position((key, index))[0]
                    yield Gap("list-replaced", str(item.file), line, problem, fix)


def _steps(repository: Repository, file: PurePosixPath, entry: Any) -> Sequence[Any]:
    """Return the steps of a JSON patch, written in place or in a file of its own; none for a patch of another form."""
    text = dig(entry, ("patch",))
    try:
        if text is None:
            text = (repository.root / file.parent / str(dig(entry, ("path",)))).read_text(encoding="utf-8")
        return sequence(yaml.safe_load(str(text)))
    except (OSError, ValueError, yaml.YAMLError):
        # What cannot be read does not build either, and is told where it is built.
        return ()
