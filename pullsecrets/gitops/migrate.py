"""Moves a GitOps repository to the shared component: the edits of its files, and what is left."""

import json
import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property, partial
from pathlib import PurePosixPath
from typing import Final

from pullsecrets.config import Registry
from pullsecrets.data import Path as ValuePath
from pullsecrets.data import Values, dig, shown
from pullsecrets.errors import BadInputError, PullSecretsError
from pullsecrets.gitops import component, helm
from pullsecrets.gitops.changes import FileEdit, read, refuse_outside
from pullsecrets.gitops.edits import NotEditableError, add_entries, add_to_kustomization, add_value, remove_entries
from pullsecrets.gitops.proof import problems
from pullsecrets.gitops.repository import LIST, Repository, Root, Workload
from pullsecrets.gitops.survey import Deployment, Survey
from pullsecrets.kube.objects import group_of, kind_of
from pullsecrets.kube.podspec import PodSpec


class Place(StrEnum):
    """Where workloads get the reference."""

    BASE = "base"
    """The component, in each kustomization that lists them."""
    OVERLAY = "overlay"
    """The component, in each folder that is built."""
    MANIFESTS = "manifests"
    """An entry in each manifest."""


@dataclass(frozen=True)
class KeptEntry:
    """A hard-coded entry that stays, and why."""

    file: str
    line: int
    reason: str


@dataclass(frozen=True)
class Left:
    """Something that stays as it is, and what can be done about it."""

    what: str
    reason: str


@dataclass(frozen=True)
class MigrationPlan:
    """Everything that a migration changes."""

    registry: Registry
    edits: tuple[FileEdit, ...]
    referenced: int
    """How many kustomizations and manifests gain the reference."""
    removed: int
    """How many hard-coded entries go."""
    kept: tuple[KeptEntry, ...]
    left: tuple[Left, ...] = ()
    """What is not moved."""
    neighbours: tuple[str, ...] = ()
    """Workloads that gain the entry without pulling from the registry: the same kustomization lists them."""

    def diff(self) -> str:
        """Return the edits as a unified diff."""
        return "".join(line for edit in self.edits for line in edit.diff())


def plan(survey: Survey, registry: Registry, place: Place = Place.BASE, *, charts: bool = False) -> MigrationPlan:
    """Plan the component, the references to it, and the removal of hard-coded entries of its Secret, and prove it.

    Roots that do not build, and those of which more would change than lists of pull Secrets, are left out with
    everything that they take in.

    Args:
        place: where workloads get the reference.
        charts: whether the values of charts that Argo CD or Flux renders are written too.

    Raises:
        BadInputError: when a file to change is a link out of the repository, or nothing of what has to change builds.
        PullSecretsError: when all that could be changed would change more than lists of pull Secrets.
    """
    left = {found.root: found.failure or "" for found in survey.broken}
    broken = len(left)
    while True:
        planner = _Planner(survey, registry, place, frozenset(left), charts)
        planned = planner.plan()
        found = problems(survey, registry, planned.edits, planner.untouched)
        if not found:
            break
        left |= found
    builds = {root for root, built in survey.built.items() if not built.failure}
    told = tuple(
        Left(str(root), reason if root in builds else f"does not build: {reason}; {_BROKEN}")
        for root, reason in left.items()
    )
    if not planned.edits and left:
        text = "\n  ".join(f"{root}: {reason}" for root, reason in left.items())
        if len(left) > broken:
            raise PullSecretsError(
                f"the migration would change more than lists of pull Secrets; nothing was changed:\n  {text}"
            )
        if _Planner(survey, registry, place, frozenset(), charts).plan().edits or not any(survey.deployments):
            raise BadInputError(f"does not build as it is, so a change cannot be proved; fix it first:\n  {text}")
    refuse_outside(survey.repository.root, planned.edits)
    return replace(planned, left=(*told, *planned.left))


_BROKEN: Final = "nothing that it takes in was changed: fix it, or leave it out with --path or --root"


@dataclass(frozen=True)
class _Planner:
    survey: Survey
    registry: Registry
    place: Place
    without: frozenset[Root]
    """Roots that nothing may be changed of."""
    charts: bool
    """Whether the values of charts are written too."""

    def plan(self) -> MigrationPlan:
        edits: dict[PurePosixPath, FileEdit] = {}
        left: list[Left] = []
        owners = self._owners() - self.untouched
        for folder in sorted(owners):
            self._edit(edits, self.repository.kustomizations[folder].file, self._with_component(folder), left)
        for file, wanted in sorted(self._manifests()):
            self._edit(edits, file, wanted, left)
        for folder, items in self._patched().items():
            self._edit(edits, self.repository.kustomizations[folder].file, _with_patches(items), left)
        for file, wanted in self._values(left):
            self._edit(edits, file, wanted, left)
        referenced = len(edits)
        removed, kept = self._without_entries(edits, owners)
        shared = component.folder(self.repository.settings, self.registry.name) / "kustomization.yaml"
        if owners and (before := read(self.repository.root / shared)) != (
            after := component.render(self.registry.name).encode()
        ):
            edits = {shared: FileEdit(shared, before, after), **edits}
        neighbours = tuple(sorted(self._neighbours(owners)))
        return MigrationPlan(
            self.registry, tuple(edits.values()), referenced, removed, tuple(kept), tuple(left), neighbours
        )

    @property
    def repository(self) -> Repository:
        return self.survey.repository

    @cached_property
    def untouched(self) -> frozenset[PurePosixPath]:
        """The files and folders that a root takes in of which nothing may be changed."""
        return frozenset[PurePosixPath]().union(
            *(self.repository.inputs(root) | {root.folder} for root in self.without)
        )

    @property
    def _using(self) -> Iterator[Deployment]:
        """The workloads that are deployed and pull from the registry."""
        return (found for found in self.survey.deployments if found.pulls_from(self.registry))

    def _owners(self) -> set[PurePosixPath]:
        """Return the folders of the kustomizations that need the component.

        That is each one that lists a workload's file. What lists none, such as of a remote base, or generates it, gets
        it where it is built: what a kustomization generates comes after its own components.
        """
        owners: set[PurePosixPath] = set()
        for found in self._using:
            if found.root is None or not component.covers(found.item):
                continue
            listing = self._listing(found)
            if self.place is Place.BASE and listing:
                owners |= listing
            elif self._lacks(found) and not self._is_own(found) and not (self.place is Place.MANIFESTS and listing):
                owners.add(found.root.folder)
        return owners

    def _listing(self, found: Deployment) -> set[PurePosixPath]:
        """Return the folders that a root takes in which list the file that a workload comes from."""
        if found.root is None or found.file is None or found.generated:
            return set()
        folders = self.repository.taken_in(found.root) & self.repository.kustomizations.keys()
        return {folder for folder in folders if found.file in self.repository.kustomizations[folder].resources}

    def _lacks(self, found: Deployment) -> bool:
        return self.registry.name not in found.references

    def _is_own(self, found: Deployment) -> bool:
        """Tell whether the kustomization that is built generates a workload itself."""
        return bool(found.generated and found.root and found.file and found.file.parent == found.root.folder)

    def _manifests(self) -> list[tuple[PurePosixPath, Callable[[str], str]]]:
        """Return the files in which workloads get an entry, and the edit."""
        wanted: dict[PurePosixPath, set[tuple[str, str, ValuePath]]] = {}
        for found in self._using:
            source = self._source(found)
            by_hand = self.place is Place.MANIFESTS or (found.root and not component.covers(found.item))
            if source and by_hand and self._lacks(found) and source.file not in self.untouched:
                wanted.setdefault(source.file, set()).add((source.kind, source.name, found.pod.path))
        return [(file, self._with_entries(names)) for file, names in wanted.items()]

    def _source(self, found: Deployment) -> Workload | None:
        """Return the workload of a file in which the entry can stand: a patch alone may specify its Pods."""
        source = self.survey.source(found)
        return source if source and isinstance(dig(source.item, found.pod.path), Mapping) else None

    def _with_entries(self, names: set[tuple[str, str, ValuePath]]) -> Callable[[str], str]:
        def is_wanted(item: Values, pod: PodSpec) -> bool:
            return (kind_of(item), str(dig(item, ("metadata", "name")) or ""), pod.path) in names

        return lambda text: add_entries(text, self.registry.name, is_wanted, self.repository.table)

    def _values(self, left: list[Left]) -> Iterator[tuple[PurePosixPath, Callable[[str], str]]]:
        """Yield the files in which values of charts get the entry, and the edit; what cannot be told is left."""
        repository, registry = self.repository, self.registry
        for release in helm.releases(repository) if self.charts else ():
            if not helm.uses(repository, release, registry) or helm.has(repository, release, registry):
                continue
            try:
                value = helm.value_of(repository, release)
            except helm.UnknownValueError as error:
                left.append(Left(str(release), str(error)))
                continue
            item = {"name": registry.name} if value.named else registry.name
            # Of several files the last one counts.
            file = release.value_files[-1] if release.value_files else release.file
            number, path = release.manifest.document.index, (*release.manifest.path, *release.values)
            at = (0, *value.key) if release.value_files else (number, *path, *value.key)
            if release.value_files and file.name == "values.yaml" and release.folder == file.parent:
                left.append(Left(str(release), f"{file} is the chart's own; write {shown(value.key)} where it is used"))
            elif dig(release.manifest.item, (*release.values[:-1], "values")) and release.values[-1] == "valuesObject":
                left.append(Left(str(release), f"its values are a text: write {shown(value.key)} there by hand"))
            else:
                yield file, partial(add_value, at=at, item=item)

    def _patched(self) -> Mapping[PurePosixPath, list[Values]]:
        """Return the patches of what is fetched or generated and that the component cannot reach, by folder."""
        patches: dict[PurePosixPath, list[Values]] = {}
        for found in self._using:
            reached = component.covers(found.item) and not self._is_own(found)
            if found.root is None or reached or self._source(found) or found.root.folder in self.untouched:
                continue
            if self._lacks(found):
                patches.setdefault(found.root.folder, []).append(_patch(found, self.registry))
        return patches

    def _with_component(self, folder: PurePosixPath) -> Callable[[str], str]:
        shared = component.folder(self.repository.settings, self.registry.name)
        if shared in self.repository.kustomizations[folder].components:
            return lambda text: text
        return lambda text: add_to_kustomization(text, "components", posixpath.relpath(shared, folder))

    def _edit(
        self, edits: dict[PurePosixPath, FileEdit], file: PurePosixPath, edit: Callable[[str], str], left: list[Left]
    ) -> None:
        before = edits[file].after if file in edits else (self.repository.root / file).read_bytes()
        try:
            after = edit(before.decode()).encode()
        except (NotEditableError, UnicodeDecodeError) as error:
            left.append(Left(str(file), f"cannot be edited ({error}); write the reference there by hand"))
            return
        if after != before:
            edits[file] = FileEdit(file, edits[file].before if file in edits else before, after)

    def _without_entries(
        self, edits: dict[PurePosixPath, FileEdit], owners: set[PurePosixPath]
    ) -> tuple[int, list[KeptEntry]]:
        removed, kept = 0, list[KeptEntry]()
        holding = {item.file: item for item in self.repository.workloads if self.registry.name in item.references}
        if self.place is not Place.BASE:
            return 0, []
        for file, item in holding.items():
            if file in self.untouched or not self._is_covered(item, owners):
                reason = "no kustomization that takes in the component builds it"
                kept.append(KeptEntry(str(file), item.line, reason))
                continue
            before = edits[file].after if file in edits else (self.repository.root / file).read_bytes()
            removal = remove_entries(before.decode(), self.registry.name, component.covers)
            kept.extend(KeptEntry(str(file), left.line, left.reason) for left in removal.kept)
            removed += removal.removed
            if removal.removed:
                edits[file] = FileEdit(file, before, removal.text.encode())
        return removed, kept

    def _is_covered(self, item: Workload, owners: set[PurePosixPath]) -> bool:
        """Tell whether everything that names a file has the component: it lists it, or patches what a part lists."""
        naming = [one for one in self.repository.kustomizations.values() if item.file in (*one.resources, *one.patches)]
        if not item.patch:
            return bool(naming) and all(one.folder in owners for one in naming)
        return any(owners & self.repository.reach(one.folder) for one in naming)

    def _neighbours(self, owners: set[PurePosixPath]) -> set[str]:
        shared = component.folder(self.repository.settings, self.registry.name)
        files = {file for folder in owners for file in self.repository.kustomizations[folder].resources}
        carried = {
            folder for folder in owners if shared not in self.repository.kustomizations[folder].components
        }  # fmt: skip
        return {
            f"{found.kind} {found.name} in {found.root}"
            for found in self.survey.deployments
            if found.root and not found.pulls_from(self.registry) and component.covers(found.item)
            if (found.file in files or found.root.folder in owners) and self._lacks(found)
            if carried & self.repository.taken_in(found.root)
        }


def _patch(found: Deployment, registry: Registry) -> Values:
    """Return a kustomization's patch that adds the entry to one workload, behind those that are there."""
    target = {"group": group_of(found.item), "kind": found.kind, "name": found.name}
    pointer = "/" + "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in (*found.pod.path, LIST))
    entry = {"name": registry.name}
    has_list = dig(found.item, (*found.pod.path, LIST)) is not None
    step = {"op": "add", "path": f"{pointer}/-" if has_list else pointer, "value": entry if has_list else [entry]}
    return {"target": {key: value for key, value in target.items() if value}, "patch": json.dumps([step])}


def _with_patches(patches: list[Values]) -> Callable[[str], str]:
    def edit(text: str) -> str:
        for patch in patches:
            text = add_to_kustomization(text, "patches", patch)
        return text

    return edit
