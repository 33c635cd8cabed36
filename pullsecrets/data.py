"""Reading plain data of which parts may be unknown, and telling what an unknown part could turn out to be."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

Path = tuple[str | int, ...]
Values = Mapping[str, Any]

LARGEST_TEXT = 1 << 20
"""Longer texts are no manifest and no name: etcd takes no object above 1.5 MiB."""


class Unknown:
    """Stands for a value that is not known yet, such as another resource's output in a preview."""

    def __repr__(self) -> str:
        """Show up as what it is."""
        return "UNKNOWN"


UNKNOWN: Final = Unknown()

_PLACEHOLDER = re.compile(r"\{\{.*?\}\}|\$\{\{.*?\}\}|\$\{[^}]*\}|\$\([^)]*\)", re.DOTALL)
"""Templates of Helm, ESO and Kyverno, variables of Flux and of OpenShift's Template."""


def mapping(value: Any) -> Values:
    """Return a mapping as it is and everything else as an empty one."""
    # A dict is told at once; whether something else is a map takes ten times as long.
    return cast("Values", value) if type(value) is dict or isinstance(value, Mapping) else {}


def sequence(value: Any) -> Sequence[Any]:
    """Return a list as it is and everything else as an empty one."""
    return cast("Sequence[Any]", value) if isinstance(value, Sequence) and not isinstance(value, str) else ()


def json_type(value: Any) -> str:
    """Name the type of a value as JSON knows it, such as `a string` or `null`."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, str):
        return "a string"
    return "a list" if isinstance(value, list) else "a number"


def dig(value: Any, path: Path) -> Any:
    """Return what stands at a path: None when nothing does, UNKNOWN when that is unknown."""
    current = value
    for part in path:
        if isinstance(current, Unknown):
            return UNKNOWN
        if isinstance(part, int):
            items = sequence(current)
            current = items[part] if part < len(items) else None
        else:
            current = mapping(current).get(part)
    return current


def dig_all(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Yield everything that stands at a path in which `*` means each item of a list or a map, and where it stands."""
    if not path:
        yield (), value
        return
    first, rest = path[0], path[1:]
    if isinstance(value, Unknown):
        yield (), UNKNOWN
    elif first == "*":
        for key, item in _items(value):
            yield from (((key, *where), found) for where, found in dig_all(item, rest))
    elif first in mapping(value):
        yield from (((first, *where), found) for where, found in dig_all(mapping(value)[str(first)], rest))


def walk(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield a value and everything inside it, each with its path, outermost first."""
    waiting = [(path, value)]
    while waiting:
        path, value = waiting.pop()
        yield path, value
        if not isinstance(value, str):
            waiting.extend([((*path, key), item) for key, item in _items(value)][::-1])


def texts(value: Any) -> Iterator[tuple[Path, str]]:
    """Yield every text inside a value with its path; keys count as texts too."""
    for path, found in walk(value):
        if isinstance(found, str):
            yield path, found[:LARGEST_TEXT]
        elif isinstance(found, dict):
            for key in cast("Values", found):
                yield (*path, key), key


def every_text(value: Any) -> list[str]:
    """Return every text inside a value, keys too, in no order and without paths: five times as fast as `texts`."""
    found: list[str] = []
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item, list):
            waiting.extend(cast("list[Any]", item))
        else:
            values = mapping(item)
            found.extend(values)
            waiting.extend(values.values())
    return found


def _items(value: Any) -> Iterable[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value).items()
    if isinstance(value, list):
        return enumerate(cast("list[Any]", value))
    return [*mapping(value).items(), *enumerate(sequence(value))]


def has_unknown(value: Any) -> bool:
    """Tell whether any part of a value is unknown."""
    return any(isinstance(found, Unknown) for _, found in walk(value))


def is_open(value: Any) -> bool:
    """Tell whether a value is unknown or holds a placeholder that something else fills in."""
    return isinstance(value, Unknown) or (isinstance(value, str) and _PLACEHOLDER.search(value) is not None)


def could_be(value: Any, wanted: str) -> bool:
    """Tell whether a value is, or could turn out to be, the wanted text; a missing one never is."""
    if isinstance(value, Unknown):
        return True
    if not isinstance(value, str):
        return False
    if _PLACEHOLDER.search(value) is None:
        return value == wanted
    literal = (re.escape(part) for part in _PLACEHOLDER.split(value))
    return re.fullmatch(".*".join(literal), wanted, re.DOTALL) is not None


def is_true(value: Any) -> bool:
    """Tell whether a switch is on or could be; the engine hands a provider's switches over as texts."""
    return isinstance(value, Unknown) or value is True or (isinstance(value, str) and value.lower() == "true")


def shown(path: Path) -> str:
    """Return a path as people write it, such as `spec.target.name` or `spec.data[0]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
