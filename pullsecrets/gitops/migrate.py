"""Moves a GitOps repository to the shared component: planned as a diff, proved by building, written all or nothing."""

import difflib
import json
import os
import posixpath
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any, Final, cast

from pullsecrets.config import Registry
from pullsecrets.data import Path as ValuePath
from pullsecrets.data import Values, dig, mapping, shown
from pullsecrets.errors import BadInputError, ConflictError, PullSecretsError
from pullsecrets.gitops import component, helm
from pullsecrets.gitops.builds import Built, Made, build_all
from pullsecrets.gitops.edits import NotEditableError, add_entries, add_to_kustomization, add_value, remove_entries
from pullsecrets.gitops.repository import LIST, Repository, Root, Workload, references_of
from pullsecrets.gitops.survey import Deployment, Survey
from pullsecrets.kube.objects import group_of, kind_of
from pullsecrets.kube.podspec import PodSpec, pod_specs


class Place(StrEnum):
    """Where workloads get the reference."""

    BASE = "base"
    """The component, in each kustomization that lists them."""
    OVERLAY = "overlay"
    """The component, in each folder that is built."""
    MANIFESTS = "manifests"
    """An entry in each manifest."""


@dataclass(frozen=True)
class FileEdit:
    """One file before and after; before is None for a new one."""

    file: PurePosixPath
    before: bytes | None
    after: bytes


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
        return "".join(line for edit in self.edits for line in _diff(edit))


def plan(survey: Survey, registry: Registry, place: Place = Place.BASE, *, charts: bool = False) -> MigrationPlan:
    """Plan the component, the references to it, and the removal of hard-coded entries of its Secret, and prove it.

    Roots that do not build, and those of which more would change than lists of pull Secrets, are left out with
    everything that they take in.

    Args:
        survey: the repository and what it builds, whole.
        registry: the registry.
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
        problems = _problems(survey, planned, planner.untouched)
        if not problems:
            break
        left |= problems
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
    found = MigrationPlan(
        registry,
        planned.edits,
        planned.referenced,
        planned.removed,
        planned.kept,
        (*told, *planned.left),
        planned.neighbours,
    )
    _refuse_outside(survey.repository.root, found.edits)
    return found


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
        if owners and (before := _read(self.repository.root / shared)) != (after := _rendered(self.registry)):
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
            elif self._is_without(found) and not (self.place is Place.MANIFESTS and listing):
                owners.add(found.root.folder)
        return owners

    def _listing(self, found: Deployment) -> set[PurePosixPath]:
        """Return the folders that a root takes in which list the file that a workload comes from."""
        if found.root is None or found.file is None or found.generated:
            return set()
        folders = self.repository.taken_in(found.root) & self.repository.kustomizations.keys()
        return {folder for folder in folders if found.file in self.repository.kustomizations[folder].resources}

    def _is_without(self, found: Deployment) -> bool:
        return self.registry.name not in found.references and not self._is_own(found)

    def _is_own(self, found: Deployment) -> bool:
        """Tell whether the kustomization that is built generates a workload itself."""
        return bool(found.generated and found.root and found.file and found.file.parent == found.root.folder)

    def _manifests(self) -> list[tuple[PurePosixPath, Callable[[str], str]]]:
        """Return the files in which workloads get an entry, and the edit."""
        wanted: dict[PurePosixPath, set[tuple[str, str, ValuePath]]] = {}
        for found in self._using:
            source = self._source(found)
            by_hand = self.place is Place.MANIFESTS or (found.root and not component.covers(found.item))
            if source and by_hand and self.registry.name not in found.references and source.file not in self.untouched:
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
                yield file, partial(_with_value, at, item)

    def _patched(self) -> Mapping[PurePosixPath, list[Values]]:
        """Return the patches of what is fetched or generated and that the component cannot reach, by folder."""
        patches: dict[PurePosixPath, list[Values]] = {}
        for found in self._using:
            reached = component.covers(found.item) and not self._is_own(found)
            if found.root is None or reached or self._source(found) or found.root.folder in self.untouched:
                continue
            if self.registry.name not in found.references:
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
            f"{kind_of(found.item)} {dig(found.item, ('metadata', 'name'))} in {found.root}"
            for found in self.survey.deployments
            if found.root and not found.pulls_from(self.registry) and component.covers(found.item)
            if (found.file in files or found.root.folder in owners) and self.registry.name not in found.references
            if carried & self.repository.taken_in(found.root)
        }


def _rendered(registry: Registry) -> bytes:
    return component.render(registry.name).encode()


def _patch(found: Deployment, registry: Registry) -> Values:
    """Return a kustomization's patch that adds the entry to one workload, behind those that are there."""
    target = {"group": group_of(found.item), "kind": kind_of(found.item), "name": dig(found.item, ("metadata", "name"))}
    pointer = "/" + "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in (*found.pod.path, LIST))
    entry = {"name": registry.name}
    has_list = dig(found.item, (*found.pod.path, LIST)) is not None
    step = {"op": "add", "path": f"{pointer}/-" if has_list else pointer, "value": entry if has_list else [entry]}
    return {"target": {key: value for key, value in target.items() if value}, "patch": json.dumps([step])}


def _with_value(at: ValuePath, item: Values | str, text: str) -> str:
    return add_value(text, at, item)


def _with_patches(patches: list[Values]) -> Callable[[str], str]:
    def edit(text: str) -> str:
        for patch in patches:
            text = add_to_kustomization(text, "patches", patch)
        return text

    return edit


def refuse_dirty(root: Path, planned: MigrationPlan) -> None:
    """Refuse to change a folder whose changes could not be told from what was there, or undone.

    Raises:
        BadInputError: when it is in no git work tree.
        ConflictError: when files are modified, or untracked in a folder in which something is written.
    """
    tops = {edit.file.parts[0] for edit in planned.edits if len(edit.file.parts) > 1}
    changed = _git_status(root, "--untracked-files=no", ".")
    changed += _git_status(root, "--untracked-files=all", *sorted(tops)) if tops else []
    if changed:
        shown_files = ", ".join(dict.fromkeys(changed[:5]))
        more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise ConflictError(
            f"{root}: the work tree has uncommitted changes ({shown_files}{more}); commit or stash them first"
        )


def _problems(survey: Survey, planned: MigrationPlan, untouched: frozenset[PurePosixPath]) -> dict[Root, str]:
    """Build in a copy what the edits reach, and return what would change that should not, by root."""
    repository = survey.repository
    edited = {edit.file for edit in planned.edits}
    roots = [root for root, built in survey.built.items() if not built.failure]
    roots = [root for root in roots if not edited.isdisjoint(repository.inputs(root))]
    if not roots:
        return {}
    with tempfile.TemporaryDirectory(prefix="pull-secrets-") as folder:
        copy = Path(folder, "repository").resolve()
        shutil.copytree(repository.root, copy, symlinks=True, ignore=shutil.ignore_patterns(".git"))
        _keep_links_inside(copy, repository.root)
        for edit in planned.edits:
            _write(copy / edit.file, edit.after)
        after = build_all(repository, roots, survey.builder, top=copy)
    proof = _Proof(planned.registry, repository, untouched)
    found = {root: list(proof.differences(survey.built[root], after[root])) for root in roots}
    return {root: "; ".join(texts) for root, texts in found.items() if texts}


def apply(root: Path, planned: MigrationPlan) -> None:
    """Write the planned edits; when one cannot be written, those before it are taken back.

    Raises:
        ConflictError: when a file changed since the plan was made.
        PullSecretsError: when a file cannot be written.
    """
    for edit in planned.edits:
        if _read(root / edit.file) != edit.before:
            raise ConflictError(
                f"{edit.file}: changed by another process meanwhile; nothing was changed, run this again"
            )
    done: list[FileEdit] = []
    try:
        for edit in planned.edits:
            _write(root / edit.file, edit.after)
            done.append(edit)
    except BaseException as error:
        # An interrupt, too, must leave nothing half done.
        for edit in done:
            _restore(root / edit.file, edit.before)
        if not isinstance(error, OSError):
            raise
        raise PullSecretsError(
            f"{error.filename}: {error.strerror}; nothing was changed, make it writable and run this again"
        ) from None


@dataclass(frozen=True)
class _Proof:
    registry: Registry
    repository: Repository
    untouched: frozenset[PurePosixPath]
    """Files of which nothing was changed: what they hold may lack the reference as before."""

    def differences(self, before: Built, after: Built) -> Iterator[str]:
        """Yield what differs between two builds of a root beyond new entries of the registry's Secret."""
        if after.failure:
            yield f"would not build: {after.failure}"
            return
        old, new = _by_identity(before), _by_identity(after)
        for identity in sorted(old.keys() ^ new.keys()):
            yield f"{' '.join(identity)} would {'disappear' if identity in old else 'appear'}"
        for identity in sorted(old.keys() & new.keys()):
            yield from (f"{_named(identity)} {text}" for text in self._changes(old[identity].item, new[identity]))

    def _changes(self, old: Values, made: Made) -> Iterator[str]:
        new, name = made.item, self.registry.name
        pods = pod_specs(old, self.repository.table)
        ignored = {(*pod.path, LIST) for pod in pods} | helm.value_paths(old, self.repository.settings)
        if (path := _first_difference(old, new, ignored)) is not None:
            yield f"would change at {shown(path) or 'the whole object'}; try `--place overlay` or `--place manifests`"
        for pod in pods:
            found = Deployment(new, pod, None, None)
            held, holds = set(references_of(old, pod)), set(found.references)
            lost = sorted(held - holds)
            if lost:
                yield f"would lose {', '.join(lost)} from {LIST}"
            if found.pulls_from(self.registry) and name not in {*holds, *lost} and made.origin not in self.untouched:
                yield f"would still be without {name}: a patch or another transformer replaces its list afterwards"
            if holds - held - {name}:
                yield f"would gain more than {name} in {LIST}"


def _refuse_outside(root: Path, edits: tuple[FileEdit, ...]) -> None:
    for edit in edits:
        target = (root / edit.file).resolve()
        if not target.is_relative_to(root.resolve()):
            raise BadInputError(
                f"{edit.file}: leads to {target}, outside the repository, where a change could not be undone with it; "
                "put the file itself into the repository"
            )


def _keep_links_inside(copy: Path, root: Path) -> None:
    """Let absolute links of a copy that point into the original point into the copy instead."""
    for folder, folders, files in os.walk(copy):
        for link in (path for name in (*folders, *files) if (path := Path(folder, name)).is_symlink()):
            target = link.readlink()
            inside = Path(os.path.realpath(target))
            if target.is_absolute() and inside.is_relative_to(root.resolve()):
                link.unlink()
                link.symlink_to(copy / inside.relative_to(root.resolve()))


def _diff(edit: FileEdit) -> Iterator[str]:
    before = (edit.before or b"").decode().splitlines(keepends=True)
    after = edit.after.decode().splitlines(keepends=True)
    old = f"a/{edit.file}" if edit.before is not None else "/dev/null"
    for line in difflib.unified_diff(before, after, old, f"b/{edit.file}"):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _git_status(root: Path, *arguments: str) -> list[str]:
    untracked, *places = arguments
    command = ["git", "-C", str(root), "status", "--porcelain", untracked, "--", *places]
    try:
        ended = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        raise BadInputError(
            "git: not installed; install it, so that a change of the repository can be undone"
        ) from None
    if ended.returncode:
        reason = ended.stderr.decode(errors="replace").strip().splitlines()[0]
        raise BadInputError(f"{root}: {reason}; a change is made in a git work tree only, where it can be undone")
    return [line[3:] for line in ended.stdout.decode(errors="replace").splitlines()]


Identity = tuple[str, str, str, str]


def _by_identity(built: Built) -> Mapping[Identity, Made]:
    return {_identity(made.item): made for made in built.objects}


def _identity(item: Values) -> Identity:
    metadata = mapping(item.get("metadata"))
    parts = (item.get("apiVersion"), item.get("kind"), metadata.get("namespace"), metadata.get("name"))
    version, kind, namespace, name = (str(part or "") for part in parts)
    return version, kind, namespace, name


def _named(identity: Identity) -> str:
    return f"{identity[1]} {identity[3]}"


def _first_difference(old: Any, new: Any, ignored: set[ValuePath], path: ValuePath = ()) -> ValuePath | None:
    """Return where two objects differ first, but for lists at some paths and fields that a merge drops: null ones."""
    if path in ignored:
        return None
    if old is None and isinstance(new, Mapping):
        old = {}
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        left, right = cast("Values", old), cast("Values", new)
        for key in dict.fromkeys([*left, *right]):
            found = _first_difference(left.get(key), right.get(key), ignored, (*path, key))
            if found is not None:
                return found
        return None
    if isinstance(old, list) and isinstance(new, list):
        before, after = cast("list[Any]", old), cast("list[Any]", new)
        for index, (one, other) in enumerate(zip(before, after, strict=False)):
            found = _first_difference(one, other, ignored, (*path, index))
            if found is not None:
                return found
        return None if len(before) == len(after) else path
    old, new = cast("tuple[object, object]", (old, new))
    return None if old == new and type(old) is type(new) else path


_NEW_FILE_MODE: Final = 0o644


def _write(file: Path, content: bytes) -> None:
    """Write a file at once or not at all, with the permissions that it has."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # A link stays one: what it points to is written.
    target = file.resolve()
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        draft.write_bytes(content)
        draft.chmod(target.stat().st_mode & 0o777 if target.exists() else _NEW_FILE_MODE)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _restore(file: Path, before: bytes | None) -> None:
    if before is None:
        file.unlink(missing_ok=True)
    else:
        _write(file, before)


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
