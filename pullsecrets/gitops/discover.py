"""The audit of a GitOps repository: what its workloads pull, with which Secrets, and what is missing."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml

from pullsecrets.config import Registry, StackConfig
from pullsecrets.data import dig, mapping, sequence
from pullsecrets.gitops import component
from pullsecrets.gitops.repository import APPS, LIST, OVERLAYS, Repository, Workload, service_of
from pullsecrets.guard.targets import Answer, targets_of
from pullsecrets.policy.lint.reading import KUSTOMIZATIONS
from pullsecrets.text import counted

DEFAULT_PATTERN = "{service}-{environment}"


@dataclass(frozen=True)
class RegistryUse:
    """How many workload files pull from one registry."""

    host: str
    files: int
    percent: int


@dataclass(frozen=True)
class SecretUse:
    """How often one pull Secret is named below apps/, and where the repository defines it."""

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
    workload_files: dict[str, int]
    """Number of files by what they hold: deployments, workers, migration jobs, and other kinds by name."""
    registries: tuple[RegistryUse, ...]
    secrets: tuple[SecretUse, ...]
    hard_coded: tuple[HardCoded, ...]
    gaps: tuple[Gap, ...]


def discover(repository: Repository, config: StackConfig, registry: Registry) -> Discovery:
    """Audit a repository for one registry.

    Args:
        repository: the repository as read.
        config: the stack, whose matrices say how a service's namespaces are named.
        registry: the registry whose hosts and Secret count.
    """
    pattern = next((matrix.pattern for matrix in config.tenants.matrices), DEFAULT_PATTERN)
    return Discovery(
        repository.services,
        repository.environments,
        tuple(
            pattern.replace("{service}", service).replace("{environment}", environment)
            for service in repository.services
            for environment in repository.environments
        ),
        _workload_files(repository),
        _registries(repository),
        _secrets(repository),
        tuple(_hard_coded(item) for item in repository.workloads if item.references),
        tuple(_gaps(repository, registry)),
    )


def _workload_files(repository: Repository) -> dict[str, int]:
    first = {item.file: item for item in reversed(repository.resources)}
    return dict(sorted(Counter(map(_role, first.values())).items()))


def _role(workload: Workload) -> str:
    """Name what a file's first workload is for, as people count them."""
    text = f"{workload.file.name} {workload.name}"
    if workload.kind == "Job":
        return "migration jobs" if "migrat" in text else "jobs"
    if workload.kind == "Deployment":
        return "workers" if "worker" in text else "deployments"
    return f"{workload.kind}s"


def _registries(repository: Repository) -> tuple[RegistryUse, ...]:
    files = {item.file for item in repository.resources}
    pairs = {(host, item.file) for item in repository.resources for host in item.hosts}
    counted = Counter(host for host, _ in pairs)
    return tuple(RegistryUse(host, count, round(100 * count / len(files))) for host, count in counted.most_common())


def _secrets(repository: Repository) -> tuple[SecretUse, ...]:
    counted = Counter(name for item in repository.workloads for name in item.references)
    places = {name: tuple(_definitions(repository, name)) for name in counted}
    return tuple(SecretUse(name, count, places[name]) for name, count in counted.most_common())


def _definitions(repository: Repository, name: str) -> Iterator[str]:
    """Yield the files with an object that is the Secret, or whose controller writes it."""
    for file, manifest in repository.manifests:
        for target in targets_of(manifest.item):
            if (target.group, target.kind) == ("", "Secret") and target.name.answer(name) is Answer.CERTAIN:
                yield str(file)
                break


def _hard_coded(item: Workload) -> HardCoded:
    return HardCoded(str(item.file), item.line, f"{item.kind} {item.name}", item.references, item.patch)


def _gaps(repository: Repository, registry: Registry) -> Iterator[Gap]:
    for used in _secrets(repository):
        if not used.defined_in:
            ours = used.name == registry.name
            fix = (
                "let the stack deliver it: `pulumi up`, or `pull-secrets render`"
                if ours
                else "deliver it too, or remove the entries"
            )
            problem = (
                f"Secret {used.name} has {counted(used.references, 'reference')} and no definition in the repository"
            )
            yield Gap("secret-undefined", str(APPS), 1, problem, fix)
    yield from _without_reference(repository, registry)
    yield from _not_built(repository)
    yield from _without_overlay(repository)
    yield from _overwritten(repository)
    for folder in repository.charts:
        fix = "pipe `helm template` into `pull-secrets lint -`"
        yield Gap("chart", str(folder), 1, f"{folder} is a Helm chart, whose templates were not judged", fix)
    for file, found in repository.unread:
        fix = "make it plain YAML, or judge what is built from it: pipe that into `pull-secrets lint -`"
        yield Gap("unread", str(file), found.line, f"{file} could not be read: {found.reason}", fix)


def _without_reference(repository: Repository, registry: Registry) -> Iterator[Gap]:
    given = repository.carrying(component.folder(registry.name))
    for item in repository.resources:
        if item.file in given and component.covers(item.item):
            continue
        if item.hosts & set(registry.hosts) and registry.name not in item.references:
            problem = f"{item.kind} {item.name} pulls from {registry.name}'s registry and does not name that Secret"
            fix = "`pull-secrets gitops migrate` gives it the reference"
            yield Gap("no-reference", str(item.file), item.line, problem, fix)


def _not_built(repository: Repository) -> Iterator[Gap]:
    reached = repository.reached(repository.builds)
    for service in repository.services:
        if not any(APPS / service in folder.parents for folder in repository.kustomizations):
            fix = "add base/kustomization.yaml, which can take in the shared component"
            yield Gap(
                "no-kustomization", f"{APPS}/{service}", 1, f"service {service} has no kustomization to build", fix
            )
    for item in repository.resources:
        if item.file not in reached and _has_kustomization(repository, item):
            problem = f"{item.kind} {item.name} stands in a file that no kustomization names"
            yield Gap("not-built", str(item.file), item.line, problem, "list the file under `resources:`, or remove it")


def _has_kustomization(repository: Repository, item: Workload) -> bool:
    return any(APPS / service_of(item.file) in folder.parents for folder in repository.kustomizations)


def _without_overlay(repository: Repository) -> Iterator[Gap]:
    for service in repository.services:
        overlays = APPS / service / OVERLAYS
        for environment in repository.environments:
            if overlays / environment not in repository.kustomizations:
                problem = f"service {service} has no overlay for {environment}"
                yield Gap(
                    "no-overlay", str(overlays), 1, problem, f"add {overlays / environment}, or leave it out there"
                )


def _overwritten(repository: Repository) -> Iterator[Gap]:
    """Yield JSON patches that set the list: they come after the component and replace what it added."""
    for file, manifest in repository.manifests:
        if APPS not in file.parents or file.name not in KUSTOMIZATIONS:
            continue
        for key in ("patches", "patchesJson6902"):
            for index, entry in enumerate(sequence(manifest.item.get(key))):
                if any(str(mapping(step).get("path")).endswith(f"/{LIST}") for step in _steps(repository, file, entry)):
                    problem = f"a JSON patch sets the whole {LIST}, and with it drops what is there"
                    fix = "use a strategic-merge patch, or add single entries by a path that ends in `/-`"
                    line = manifest.position((key, index))[0]
                    yield Gap("list-replaced", str(file), line, problem, fix)


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
