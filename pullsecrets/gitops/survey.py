"""What of a repository is deployed, as it is built: the one reading that discovery, migration and check go by."""

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from pullsecrets.config import Registry, StackConfig
from pullsecrets.errors import BadInputError
from pullsecrets.gitops.builds import Built, build_all
from pullsecrets.gitops.kustomize import Builder, find_builder
from pullsecrets.gitops.repository import Pulling, Repository, Root, Workload
from pullsecrets.kube.podspec import pod_specs
from pullsecrets.text import listed


@dataclass(frozen=True)
class Deployment(Pulling):
    """A workload as it is deployed: as a root builds it, or as it stands in a file that nothing builds."""

    root: Root | None = None
    generated: bool = False
    """Whether the file says how it is generated, such as from a chart."""


@dataclass(frozen=True)
class Survey:
    """A repository and what it builds."""

    repository: Repository
    builder: Builder
    built: Mapping[Root, Built]

    @cached_property
    def deployments(self) -> tuple[Deployment, ...]:
        """Every workload that is deployed, those of each root first."""
        made = (
            Deployment(item.item, pod, item.origin, found.root, item.generated)
            for found in self.built.values()
            for item in found.objects
            for pod in pod_specs(item.item, self.repository.table)
        )
        plain = (Deployment(item.item, item.pod, item.file) for item in self.repository.plain)
        return (*made, *plain)

    @property
    def broken(self) -> Iterator[Built]:
        """What does not build."""
        return (found for found in self.built.values() if found.failure)

    def source(self, deployed: Deployment) -> Workload | None:
        """Return the workload of a file that a deployed one comes from."""
        if deployed.file is None or deployed.generated:
            return None
        sources = self.repository.workloads_in(deployed.file)
        # An overlay may have put something before or behind its name.
        alike = (found for found in sources if found.kind == deployed.kind and found.name in deployed.name)
        return max(alike, key=lambda found: len(found.name), default=None)

    def registries(self, config: StackConfig, name: str | None) -> tuple[Registry, ...]:
        """Return the registry of a name, or those of the stack that the repository pulls from.

        Raises:
            BadInputError: when the stack has no registry of that name.
        """
        if name is None:
            used = (one for one in config.registries if any(found.pulls_from(one) for found in self.deployments))
            return tuple(used)
        try:
            return (config.registry(name),)
        except KeyError:
            raise BadInputError(f"--registry: found {name!r}; allowed in this stack: {_known(config)}") from None

    def registry(self, config: StackConfig, name: str | None) -> Registry:
        """Return the registry of a name, or the only one of the stack that the repository pulls from.

        Raises:
            BadInputError: when the stack has no such registry, or the repository pulls from several or none.
        """
        used = self.registries(config, name)
        if len(used) == 1:
            return used[0]
        hosts = listed(sorted({host for found in self.deployments for host in found.hosts}))
        several = f"pulls from {len(used)} of the stack's registries"
        none = f"pulls from none of the stack's registries, but from {hosts or 'nowhere that was found'}"
        raise BadInputError(
            f"{self.repository.root}: {several if used else none}; name one with --registry: {_known(config)}"
        )


def _known(config: StackConfig) -> str:
    return ", ".join(registry.name for registry in config.registries)


def survey(repository: Repository, *, kept_in: Path | None = None, changed_since: str | None = None) -> Survey:
    """Build what a repository deploys.

    Args:
        kept_in: folder of what earlier runs built.
        changed_since: a revision of git; roots of which nothing changed since are left out.

    Raises:
        BadInputError: when there is nothing to build with, or git knows no such revision.
    """
    builder = find_builder(repository.settings.build, repository)
    roots = repository.roots
    if changed_since is not None:
        changed = _changed(repository.root, changed_since)
        roots = tuple(root for root in roots if not changed.isdisjoint(repository.inputs(root)))
    return Survey(repository, builder, build_all(repository, roots, builder, kept_in=kept_in))


def _changed(root: Path, revision: str) -> set[PurePosixPath]:
    """Return the files that differ from a revision, those that git does not know yet included."""
    commands = (
        ("diff", "--name-only", "--relative", "-z", revision, "--"),
        ("ls-files", "--others", "-z", "--exclude-standard"),
    )
    found: set[PurePosixPath] = set()
    for command in commands:
        try:
            ended = subprocess.run(["git", "-C", str(root), *command], capture_output=True, check=False)
        except FileNotFoundError:
            raise BadInputError("git: not installed; --changed-since asks it what changed") from None
        if ended.returncode:
            reason = ended.stderr.decode(errors="replace").strip().splitlines()[0]
            raise BadInputError(
                f"--changed-since {revision}: {reason}; name a commit, branch or tag of this repository"
            )
        found |= {PurePosixPath(name) for name in ended.stdout.decode(errors="surrogateescape").split("\0") if name}
    return found
