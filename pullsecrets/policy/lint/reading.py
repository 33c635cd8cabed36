"""Reading manifests from files so that each part can be found again by line, whatever else the files hold."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import yaml

from pullsecrets.data import UNKNOWN, Values
from pullsecrets.data import Path as ValuePath
from pullsecrets.errors import BadInputError
from pullsecrets.guard.targets import unlisted

STANDARD_INPUT: Final = "-"
SUFFIXES: Final = (".yaml", ".yml", ".json")
KUSTOMIZATIONS: Final = ("kustomization.yaml", "kustomization.yml", "Kustomization")
"""Names of files that kustomize builds, whatever kind they name; it takes a file of any other name for none."""
# The loader in C is 30 times faster; wheels of PyYAML bring it along.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):
    """Loads plain data; a tag that is not YAML's own stands for a value that something else fills in."""


def _text(loader: Any, node: Any) -> str:
    return str(loader.construct_scalar(node))


def _unknown(_loader: Any, _suffix: str, _node: Any) -> Any:
    return UNKNOWN


_Loader.add_multi_constructor("!", _unknown)
for _tag in ("timestamp", "value"):
    # Kubernetes takes both as the text that they are.
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _text)


@dataclass(frozen=True)
class Manifest:
    """One Kubernetes object of a file."""

    file: str
    item: Values
    node: Any
    """The document that the object is in, with the position of each part."""
    path: ValuePath
    """Where in the document the object is."""

    def position(self, path: ValuePath = ()) -> tuple[int, int]:
        """Return line and column, from 1, of a part of the object, or of the nearest part around it that is there."""
        mark = self.node.start_mark
        node = self.node
        for part in (*self.path, *path):
            found = _child(node, part)
            if found is None:
                break
            mark, node = found
        return mark.line + 1, mark.column + 1


@dataclass(frozen=True)
class Unread:
    """A file, or the rest of one, that could not be read as YAML and so was not judged."""

    file: str
    line: int
    reason: str


def files_in(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files that paths name: each file, and in a folder every YAML and JSON file outside hidden folders.

    Raises:
        BadInputError: when there is nothing at a path.
    """
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if _is_manifest(file, path))
        elif path.exists() or str(path) == STANDARD_INPUT:
            yield path
        else:
            raise BadInputError(f"{path}: no such file or folder; name what to lint, or - for standard input")


def shown_name(file: Path) -> str:
    """Return what a report calls a file."""
    return "standard input" if str(file) == STANDARD_INPUT else file.as_posix()


def read(file: Path) -> Iterator[Manifest | Unread]:
    """Yield the Kubernetes objects of a file, those of a List one by one; what is no object is passed over."""
    name = shown_name(file)
    try:
        content = sys.stdin.buffer.read() if str(file) == STANDARD_INPUT else file.read_bytes()
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        yield Unread(name, 1, "it is not UTF-8")
        return
    except OSError as error:
        raise BadInputError(f"{file}: {error.strerror}; make it readable, or leave it out") from None
    yield from _objects(name, text)


def objects_in(text: str) -> list[Values]:
    """Return the Kubernetes objects of a text that a program wrote, those of a List one by one.

    Raises:
        yaml.YAMLError: when it is not YAML.
    """
    return [item for _, document in _documents(text) for _, item in _kubernetes(document, "")]


def _is_manifest(file: Path, top: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(top).parts)
    return not hidden and (file.suffix in SUFFIXES or file.name in KUSTOMIZATIONS) and file.is_file()


def _objects(name: str, text: str) -> Iterator[Manifest | Unread]:
    try:
        for node, document in _documents(text):
            for path, item in _kubernetes(document, name):
                yield Manifest(name, item, node, path)
    except yaml.YAMLError as error:
        # A template or another kind of text: worth a word only when there are objects in it.
        if "kind:" in text or '"kind"' in text or _names_kustomization(name):
            mark: Any = getattr(error, "problem_mark", None)
            yield Unread(name, mark.line + 1 if mark else 1, "it is not YAML, or a template that is not rendered yet")
    except (RecursionError, ValueError):
        yield Unread(name, 1, "it refers to itself or holds a number that is none")


def _documents(text: str) -> Iterator[tuple[Any, Any]]:
    loader: Any = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            yield node, loader.construct_document(node)
    finally:
        loader.dispose()


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
        for key, value in cast("list[tuple[Any, Any]]", node.value):
            if key.value == str(part):
                return key.start_mark, value
    return None
