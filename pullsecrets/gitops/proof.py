"""Proves a migration by building what it reaches before and after: nothing may differ but lists of pull Secrets."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from pullsecrets.config import Registry
from pullsecrets.data import Path as ValuePath
from pullsecrets.data import Values, mapping, shown
from pullsecrets.files import write_whole
from pullsecrets.gitops import helm
from pullsecrets.gitops.builds import Built, Made, build_all
from pullsecrets.gitops.changes import FileEdit
from pullsecrets.gitops.repository import LIST, Repository, Root
from pullsecrets.gitops.survey import Deployment, Survey
from pullsecrets.kube.podspec import pod_specs


def problems(
    survey: Survey, registry: Registry, edits: Iterable[FileEdit], untouched: frozenset[PurePosixPath]
) -> dict[Root, str]:
    """Build in a copy what the edits reach, and return what would change that should not, by root."""
    repository = survey.repository
    edited = {edit.file: edit.after for edit in edits}
    roots = [root for root, built in survey.built.items() if not built.failure]
    roots = [root for root in roots if edited.keys() & repository.inputs(root)]
    if not roots:
        return {}
    with tempfile.TemporaryDirectory(prefix="pull-secrets-") as folder:
        copy = Path(folder, "repository").resolve()
        shutil.copytree(repository.root, copy, symlinks=True, ignore=shutil.ignore_patterns(".git"))
        _keep_links_inside(copy, repository.root)
        for file, content in edited.items():
            write_whole(copy / file, content)
        after = build_all(repository, roots, survey.builder, top=copy)
    proof = _Proof(registry, repository, untouched)
    found = {root: list(proof.differences(survey.built[root], after[root])) for root in roots}
    return {root: "; ".join(texts) for root, texts in found.items() if texts}


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
            yield from (
                f"{identity[1]} {identity[3]} {text}" for text in self._changes(old[identity].item, new[identity])
            )

    def _changes(self, old: Values, made: Made) -> Iterator[str]:
        new, name = made.item, self.registry.name
        pods = pod_specs(old, self.repository.table)
        ignored = {(*pod.path, LIST) for pod in pods} | helm.value_paths(old, self.repository.settings)
        if (path := _first_difference(old, new, ignored)) is not None:
            yield f"would change at {shown(path) or 'the whole object'}; try `--place overlay` or `--place manifests`"
        for pod in pods:
            found = Deployment(new, pod, None)
            held, holds = {*Deployment(old, pod, None).references}, {*found.references}
            lost = sorted(held - holds)
            if lost:
                yield f"would lose {', '.join(lost)} from {LIST}"
            if found.pulls_from(self.registry) and name not in {*holds, *lost} and made.origin not in self.untouched:
                yield f"would still be without {name}: a patch or another transformer replaces its list afterwards"
            if holds - held - {name}:
                yield f"would gain more than {name} in {LIST}"


def _keep_links_inside(copy: Path, root: Path) -> None:
    """Let absolute links of a copy that point into the original point into the copy instead."""
    for folder, folders, files in os.walk(copy):
        for link in (path for name in (*folders, *files) if (path := Path(folder, name)).is_symlink()):
            target = link.readlink()
            inside = Path(os.path.realpath(target))
            if target.is_absolute() and inside.is_relative_to(root.resolve()):
                link.unlink()
                link.symlink_to(copy / inside.relative_to(root.resolve()))


Identity = tuple[str, str, str, str]


def _by_identity(built: Built) -> Mapping[Identity, Made]:
    return {_identity(made.item): made for made in built.objects}


def _identity(item: Values) -> Identity:
    metadata = mapping(item.get("metadata"))
    parts = (item.get("apiVersion"), item.get("kind"), metadata.get("namespace"), metadata.get("name"))
    version, kind, namespace, name = (str(part or "") for part in parts)
    return version, kind, namespace, name


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
