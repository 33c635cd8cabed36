"""Finds what a program changes in an object, property by property, and which changes replace it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from local.plugins.kubernetes.values import UNKNOWN, Object

Path = tuple[str | int, ...]


class Change(Enum):
    """What happens to a property."""

    ADD = "add"
    DELETE = "delete"
    UPDATE = "update"


@dataclass(frozen=True)
class Difference:
    """A property that changes.

    Attributes:
        path: where it is.
        change: what happens to it.
        replaces: whether the object must be replaced for it.
    """

    path: Path
    change: Change
    replaces: bool

    @property
    def property_path(self) -> str:
        """The path as the engine writes it, `metadata.labels["a.b/c"]`."""
        return property_path(self.path)


_MISSING = object()


def differences(old: Object, new: Object, replaced_on_change: Iterable[str]) -> list[Difference]:
    """Compares the live object, cut to the shape of the old inputs, with the new inputs.

    Args:
        old: what is there.
        new: what the program wants.
        replaced_on_change: paths, as `.spec.selector`, whose change replaces the object.
    """
    forced = [tuple(path.strip(".").split(".")) for path in replaced_on_change]
    return [Difference(path, change, _replaces(path, value, forced)) for path, change, value in _changes((), old, new)]


def _changes(path: Path, old: Any, new: Any) -> Iterator[tuple[Path, Change, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*new, *(key for key in old if key not in new)]:
            yield from _changes((*path, key), old.get(key, _MISSING), new.get(key, _MISSING))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            yield from _changes((*path, index), _at(old, index), _at(new, index))
    elif new is _MISSING or (new is None and old is not None):
        if old is not _MISSING:
            yield path, Change.DELETE, None
    elif old is _MISSING:
        if new is not None:
            yield path, Change.ADD, new
    elif new is UNKNOWN or not _same(old, new):
        yield path, Change.UPDATE, new


def _at(values: list[Any], index: int) -> Any:
    return values[index] if index < len(values) else _MISSING


def _same(old: Any, new: Any) -> bool:
    # To Python True equals 1; to Kubernetes they differ.
    return old == new and isinstance(old, bool) == isinstance(new, bool)


def _replaces(path: Path, value: Any, forced: list[tuple[str, ...]]) -> bool:
    """Whether a forced path leads to the changed property, into its new value, or to something that holds it."""
    for wanted in forced:
        common = min(len(path), len(wanted))
        if path[:common] == wanted[:common] and _reaches(value, wanted[common:]):
            return True
    return False


def _reaches(value: Any, rest: tuple[str, ...]) -> bool:
    for key in rest:
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True


def property_path(path: Path) -> str:
    """Writes a path the way the engine does."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif any(character in part for character in '."[]'):
            escaped = part.replace('"', '\\"')
            text += f'["{escaped}"]'
        else:
            text += f".{part}" if text else part
    return text


def parse_property_path(text: str) -> Path:
    """Reads a path that the engine wrote: names with dots between, `["quoted"]` names, `[0]` and `[*]` indexes."""
    parts: list[str | int] = []
    rest = text
    while rest:
        if rest.startswith('["'):
            end = rest.index('"]', 2)
            parts.append(rest[2:end].replace('\\"', '"'))
            rest = rest[end + 2 :]
        elif rest.startswith("["):
            inside, _, rest = rest[1:].partition("]")
            parts.append(int(inside) if inside.isdecimal() else inside)
        else:
            rest = rest.removeprefix(".")
            end = min((i for i in (rest.find("."), rest.find("[")) if i >= 0), default=len(rest))
            parts.append(rest[:end])
            rest = rest[end:]
    return tuple(parts)


def without_ignored(found: list[Difference], ignored: Iterable[str]) -> list[Difference]:
    """Leaves out what the program's `ignoreChanges` cover."""
    patterns = [parse_property_path(text) for text in ignored]
    return [d for d in found if not any(_covers(pattern, d.path) for pattern in patterns)]


def _covers(pattern: Path, path: Path) -> bool:
    return len(pattern) <= len(path) and all(p in ("*", part) for p, part in zip(pattern, path, strict=False))
