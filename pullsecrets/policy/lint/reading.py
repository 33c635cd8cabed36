"""Reading manifests from files so that each part can be found again by line, whatever else the files hold."""

import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, Final, cast

import yaml

from pullsecrets.data import Path as ValuePath
from pullsecrets.data import Values
from pullsecrets.errors import BadInputError
from pullsecrets.guard.targets import unlisted
from pullsecrets.kube.objects import group_of
from pullsecrets.policy.lint.documents import LARGEST, Document, UnreadableError, decoded, documents
from pullsecrets.text import counted

STANDARD_INPUT: Final = "-"
SUFFIXES: Final = (".yaml", ".yml", ".json")
KUSTOMIZATIONS: Final = ("kustomization.yaml", "kustomization.yml", "Kustomization")
"""Names of files that kustomize builds, whatever kind they name; it takes a file of any other name for none."""
_GENERATING: Final = ("components", "configMapGenerator", "generators", "helmCharts", "resources", "secretGenerator")
_ALLOWED = re.compile(r"(?:^|\s)#\s*pull-secrets:\s*allow\s+(?P<rule>[\w-]+)(?:[ \t]+(?P<reason>\S.*))?$")


@dataclass(frozen=True)
class Manifest:
    """One Kubernetes object of a file."""

    file: str
    item: Values
    document: Document
    """The document that the object is in."""
    path: ValuePath
    """Where in the document the object is."""

    def position(self, path: ValuePath = ()) -> tuple[int, int]:
        """Return line and column, from 1, of a part of the object, or of the nearest part around it that is there."""
        node, before = self.document.node, self.document.part.line
        if node is None:
            return before + 1, 1
        mark = node.start_mark
        for part in (*self.path, *path):
            found = _child(node, part)
            if found is None:
                break
            mark, node = found
        return before + mark.line + 1, mark.column + 1

    def allows(self, rule: str) -> str | None:
        """Return why a comment on the object allows a rule to be broken; None where none does, or without a reason."""
        return next((reason for named, reason in self._allowances if named == rule and reason), None)

    @cached_property
    def _allowances(self) -> list[tuple[str, str]]:
        """What comments allow: those in the object's own lines, and those right above it."""
        node, text = self.document.node, self.document.part.text
        if "pull-secrets:" not in text or node is None:
            return []
        for part in self.path:
            node = (_child(node, part) or (None, node))[1]
        lines: list[str] = text.splitlines()
        first: int = node.start_mark.line
        last: int = max(node.end_mark.line, first + 1)
        while first > 0 and re.match(r"\s*(#|---|$)", lines[first - 1]):
            first -= 1
        found = [_ALLOWED.search(line) for line in lines[first:last]]
        return [(match["rule"], match["reason"] or "") for match in found if match]


@dataclass(frozen=True)
class Unread:
    """A file, or a part of one, that could not be read and so was not judged."""

    file: str
    line: int
    reason: str


def files_in(paths: Iterable[Path]) -> tuple[list[Path], list[str]]:
    """Return the files that paths name, and what stands in their folders and is not read, as a report says it.

    Of a folder those are its YAML and JSON files; hidden folders, links to folders and files of other names are not
    looked at.

    Raises:
        BadInputError: when there is nothing at a path.
    """
    found: dict[Path, None] = {}
    passed: Counter[str] = Counter()
    for path in paths:
        if path.is_dir():
            found |= dict.fromkeys(sorted(_manifests(path, passed)))
        elif path.exists() or str(path) == STANDARD_INPUT:
            found[path] = None
        else:
            raise BadInputError(f"{path}: no such file or folder; name what to lint, or - for standard input")
    return list(found), [f"{counted(count, 'file')} {where}" for where, count in sorted(passed.items())]


def _manifests(top: Path, passed: Counter[str]) -> Iterator[Path]:
    for folder, folders, files in os.walk(top):
        here = Path(folder)
        for name in [name for name in folders if name.startswith(".") or (here / name).is_symlink()]:
            folders.remove(name)
            passed["or more behind hidden folders and links"] += 1
        for name in files:
            suffix = PurePath(name).suffix
            if name.startswith(".") or (suffix not in SUFFIXES and name not in KUSTOMIZATIONS):
                passed[f"with a name that ends in {suffix or name}"] += 1
            elif (here / name).is_file():
                yield here / name


def generated(manifest: Manifest) -> bool:
    """Tell whether a kustomization makes objects that stand in no file here, or somewhere else."""
    item = manifest.item
    if group_of(item) != "kustomize.config.k8s.io":
        return False
    return any(
        key not in {"components", "resources"} or any("://" in str(part) or "?ref=" in str(part) for part in item[key])
        for key in _GENERATING
        if isinstance(item.get(key), list | dict) and item[key]
    )


def shown_name(file: Path) -> str:
    """Return what a report calls a file."""
    return "standard input" if str(file) == STANDARD_INPUT else file.as_posix()


def read(file: Path) -> Iterator[Manifest | Unread]:
    """Yield the Kubernetes objects of a file, those of a List one by one; what is no object is passed over.

    Raises:
        BadInputError: when the file cannot be opened.
    """
    name = shown_name(file)
    try:
        content = sys.stdin.buffer.read() if str(file) == STANDARD_INPUT else file.read_bytes()
    except OSError as error:
        raise BadInputError(f"{file}: {error.strerror}; make it readable, or leave it out") from None
    if len(content) > LARGEST:
        yield Unread(name, 1, f"it is larger than {LARGEST >> 20} MiB")
        return
    yield from _objects(name, decoded(content))


def objects_in(text: str) -> list[Values]:
    """Return the Kubernetes objects of a text that a program wrote, those of a List one by one.

    Raises:
        UnreadableError: when it is not YAML.
    """
    found = list(_objects("", text))
    for part in found:
        if isinstance(part, Unread):
            raise UnreadableError(part.reason)
    return [part.item for part in found if isinstance(part, Manifest)]


def _objects(name: str, text: str) -> Iterator[Manifest | Unread]:
    for document in documents(text):
        if isinstance(document, Document):
            for path, item in _kubernetes(document.value, name):
                yield Manifest(name, item, document, path)
        else:
            yield Unread(name, document.line, document.reason)


def _kubernetes(document: Any, name: str) -> Iterator[tuple[ValuePath, Values]]:
    if not isinstance(document, Mapping):
        return
    item = cast("Values", document)
    if _names_kustomization(name):
        # As kustomize does where they are missing (types.Kustomization.FixKustomizationPostUnmarshalling).
        given = {key: item[key] for key in ("apiVersion", "kind") if item.get(key)}
        release = "v1alpha1" if given.get("kind") == "Component" else "v1beta1"
        item = {**item, "apiVersion": f"kustomize.config.k8s.io/{release}", "kind": "Kustomization", **given}
    if isinstance(item.get("kind"), str) and ("apiVersion" in item or "metadata" in item):
        yield from unlisted(item)


def _names_kustomization(file: str) -> bool:
    return file.rpartition("/")[2] in KUSTOMIZATIONS


def _child(node: Any, part: str | int) -> tuple[Any, Any] | None:
    """Return where a part of a node begins, the key of a mapping included, and the part itself."""
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
        items = cast("list[Any]", node.value)
        return (items[part].start_mark, items[part]) if part < len(items) else None
    if isinstance(node, yaml.MappingNode):
        merged: list[Any] = []
        # Of two equal keys the last counts, and a merge key beside them holds what neither does.
        for key, value in reversed(cast("list[tuple[Any, Any]]", node.value)):
            if key.value == str(part):
                return key.start_mark, value
            if key.value == "<<":
                merged += cast("list[Any]", value.value) if isinstance(value, yaml.SequenceNode) else [value]
        return next((found for inner in merged if (found := _child(inner, part))), None)
    return None
