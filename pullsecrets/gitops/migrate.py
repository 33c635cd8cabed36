"""Moves a GitOps repository to the shared component: planned as a diff, proved by building, written all or nothing."""

import difflib
import os
import posixpath
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, cast

from pullsecrets.config import Registry
from pullsecrets.data import Path as ValuePath
from pullsecrets.data import Values, dig, mapping, sequence
from pullsecrets.errors import BadInputError, ConflictError, PullSecretsError
from pullsecrets.gitops import component
from pullsecrets.gitops.edits import NotEditableError, add_component, remove_entries
from pullsecrets.gitops.kustomize import Built, build_all
from pullsecrets.gitops.repository import APPS, LIST, Kustomization, Repository, Workload, service_of, source_of
from pullsecrets.image import written_host
from pullsecrets.kube.podspec import images_at, pod_path


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
class MigrationPlan:
    """Everything that a migration changes."""

    registry: Registry
    edits: tuple[FileEdit, ...]
    referenced: int
    """How many kustomizations gain the component."""
    removed: int
    """How many hard-coded entries go."""
    kept: tuple[KeptEntry, ...]
    before: Mapping[PurePosixPath, Built]
    """What everything below apps/ builds as it is."""

    def diff(self) -> str:
        """Return the edits as a unified diff."""
        return "".join(line for edit in self.edits for line in _diff(edit))


def plan(repository: Repository, registry: Registry) -> MigrationPlan:
    """Plan the component, the references to it, and the removal of hard-coded entries of its Secret.

    Raises:
        BadInputError: when a kustomization that needs the component cannot be edited, a file to change is a link out of
            the repository, or nothing is installed to build with.
    """
    built = build_all(repository.root, repository.builds)
    owners = _owners(repository, registry, built)
    texts = {item.file: _component_added(repository, item, registry) for item in owners}
    edits = [FileEdit(file, before, after) for file, (before, after) in texts.items() if before != after]
    referenced = len(edits)
    removed = 0
    kept: list[KeptEntry] = []
    holding = {item.file: item for item in repository.workloads if registry.name in item.references}
    for file, item in holding.items():
        if not _is_covered(item, owners):
            kept.append(KeptEntry(str(file), item.line, "no kustomization that takes in the component builds it"))
            continue
        before = (repository.root / file).read_bytes()
        removal = remove_entries(before.decode(), registry.name, component.covers)
        kept.extend(KeptEntry(str(file), left.line, left.reason) for left in removal.kept)
        removed += removal.removed
        if removal.removed:
            edits.append(FileEdit(file, before, removal.text.encode()))
    if owners:
        edits = [*_component_written(repository, registry), *edits]
    _refuse_outside(repository.root, edits)
    return MigrationPlan(registry, tuple(edits), referenced, removed, tuple(kept), built)


def refuse_dirty(root: Path) -> None:
    """Refuse to change a folder whose changes could not be told from what was there, or undone.

    Raises:
        BadInputError: when it is in no git work tree.
        ConflictError: when files are modified, or untracked below apps/ or components/.
    """
    changed = _git_status(root, "--untracked-files=no", ".")
    changed += _git_status(root, "--untracked-files=all", str(APPS), component.FOLDER.parts[0])
    if changed:
        shown = ", ".join(dict.fromkeys(changed[:5]))
        more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise ConflictError(f"{root}: the work tree has changes of its own ({shown}{more}); commit or stash them first")


def prove(repository: Repository, planned: MigrationPlan) -> None:
    """Build everything below apps/ in a copy as it would be, and compare with what it builds as it is.

    Raises:
        BadInputError: when something does not build as it is.
        PullSecretsError: when more would change than lists of pull Secrets, or an entry would be lost.
    """
    before = planned.before
    broken = [f"{found.folder}: {found.failure}" for found in before.values() if found.failure]
    if broken:
        text = "\n  ".join(broken)
        raise BadInputError(f"does not build as it is, so a change cannot be proved; repair it first:\n  {text}")
    with tempfile.TemporaryDirectory(prefix="pull-secrets-") as folder:
        copy = Path(folder, "repository")
        shutil.copytree(repository.root, copy, symlinks=True, ignore=shutil.ignore_patterns(".git"))
        _keep_links_inside(copy, repository.root)
        for edit in planned.edits:
            _write(copy / edit.file, edit.after)
        after = build_all(copy, repository.builds)
    problems = [text for name, found in after.items() for text in differences(before[name], found, planned.registry)]
    if problems:
        text = "\n  ".join(problems)
        raise PullSecretsError(f"the migration would do more than it should; nothing was changed:\n  {text}")


def apply(root: Path, planned: MigrationPlan) -> None:
    """Write the planned edits; when one cannot be written, those before it are taken back.

    Raises:
        ConflictError: when a file changed since the plan was made.
        PullSecretsError: when a file cannot be written.
    """
    for edit in planned.edits:
        if _read(root / edit.file) != edit.before:
            raise ConflictError(f"{edit.file}: changed by somebody else meanwhile; nothing was changed, run this again")
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


def differences(before: Built, after: Built, registry: Registry) -> Iterator[str]:
    """Yield what differs between two builds of a folder beyond new entries of the registry's Secret."""
    if after.failure:
        yield f"{after.folder} would not build: {after.failure}"
        return
    old, new = _by_identity(before), _by_identity(after)
    for identity in sorted(old.keys() ^ new.keys()):
        yield f"{after.folder}: {' '.join(identity)} would {'disappear' if identity in old else 'appear'}"
    for identity in sorted(old.keys() & new.keys()):
        yield from (
            f"{after.folder}: {_named(identity)} {text}" for text in _changes(old[identity], new[identity], registry)
        )


def _changes(old: Values, new: Values, registry: Registry) -> Iterator[str]:
    pod = pod_path(old)
    if pod is None:
        if old != new:
            yield "would change"
        return
    if _without_list(old, pod) != _without_list(new, pod):
        yield f"would change in more than {LIST}"
    held, holds = _names(old, pod), _names(new, pod)
    lost = sorted(held - holds)
    if lost:
        yield f"would lose {', '.join(lost)} from {LIST}"
    if _uses(new, pod, registry) and component.covers(new) and registry.name not in holds and registry.name not in lost:
        yield f"would still be without {registry.name}: a patch or another transformer replaces its list afterwards"
    if holds - held - {registry.name}:
        yield f"would gain more than {registry.name} in {LIST}"


def _owners(repository: Repository, registry: Registry, built: Mapping[PurePosixPath, Built]) -> list[Kustomization]:
    """Return the kustomizations below apps/ that need the component for workloads which pull from the registry.

    That is each one that names a workload's file. Whether a workload pulls from the registry is determined by its file
    and by what is built from it, as its image may be set by an overlay. Where no file below apps/ is its source, as
    for a remote base, the folder that is built needs the component itself.
    """
    users = {
        item.file for item in repository.resources if item.hosts & set(registry.hosts) and component.covers(item.item)
    }
    folders: set[PurePosixPath] = set()
    for folder, found in built.items():
        sources = repository.sources(folder)
        for item in found.objects:
            pod = pod_path(item)
            if pod is None or not component.covers(item) or not _uses(item, pod, registry):
                continue
            if source := source_of(item, sources):
                users.add(source.file)
            elif registry.name not in _names(item, pod):
                folders.add(folder)
    below = (item for item in repository.kustomizations.values() if APPS in item.folder.parents)
    return [item for item in below if users & set(item.resources) or item.folder in folders]


def _uses(item: Values, pod: ValuePath, registry: Registry) -> bool:
    return any(written_host(image) in registry.hosts for _, image in images_at(item, pod))


def _is_covered(item: Workload, owners: list[Kustomization]) -> bool:
    if item.patch:
        return any(service_of(owner.file) == service_of(item.file) for owner in owners)
    return any(item.file in owner.resources for owner in owners)


def _component_added(repository: Repository, item: Kustomization, registry: Registry) -> tuple[bytes, bytes]:
    path = posixpath.relpath(component.folder(registry.name), item.folder)
    before = (repository.root / item.file).read_bytes()
    if component.folder(registry.name) in item.components:
        return before, before
    try:
        return before, add_component(before.decode(), path).encode()
    except NotEditableError as error:
        raise BadInputError(
            f"{item.file}: cannot be edited ({error}); add {path} to its `components:` by hand"
        ) from None


def _component_written(repository: Repository, registry: Registry) -> Iterator[FileEdit]:
    file = component.folder(registry.name) / "kustomization.yaml"
    before, after = _read(repository.root / file), component.render(registry.name).encode()
    if before != after:
        yield FileEdit(file, before, after)


def _refuse_outside(root: Path, edits: list[FileEdit]) -> None:
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


def _by_identity(built: Built) -> Mapping[Identity, Values]:
    return {_identity(item): item for item in built.objects}


def _identity(item: Values) -> Identity:
    metadata = mapping(item.get("metadata"))
    parts = (item.get("apiVersion"), item.get("kind"), metadata.get("namespace"), metadata.get("name"))
    version, kind, namespace, name = (str(part or "") for part in parts)
    return version, kind, namespace, name


def _named(identity: Identity) -> str:
    return f"{identity[1]} {identity[3]}"


def _names(item: Values, pod: tuple[str | int, ...]) -> set[str]:
    return {str(mapping(entry).get("name")) for entry in sequence(dig(item, (*pod, LIST)))}


def _without_list(item: Any, pod: tuple[str | int, ...]) -> Any:
    """Return an object without the list in the specification of its Pods."""
    if not isinstance(item, Mapping):
        return item
    values = cast("Mapping[str, Any]", item)
    if not pod:
        return {key: value for key, value in values.items() if key != LIST}
    return {key: _without_list(value, pod[1:]) if key == pod[0] else value for key, value in values.items()}


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
