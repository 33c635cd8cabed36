"""Edits of YAML text that change the intended lines and no other byte.

A parser tells where things stand; the text itself is edited, never written anew, so comments, indentation, line ends,
anchors and document markers stay. Each edit is proved: what the new text holds must equal what was intended.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from pullsecrets.data import Path, Values, dig, mapping, sequence, shown
from pullsecrets.gitops.repository import LIST
from pullsecrets.guard.targets import unlisted
from pullsecrets.kube.podspec import KNOWN, PodSpec, PodTable, pod_specs

_DOCUMENT_END: Final = re.compile(r"^(\.\.\.|---)(\s|$)", re.MULTILINE)
_NULL: Final = "tag:yaml.org,2002:null"


class NotEditableError(Exception):
    """The text is written in a way in which an edit of these lines alone is not possible; the text says why."""


@dataclass(frozen=True)
class Kept:
    """An entry that was left where it stands."""

    line: int
    reason: str


@dataclass(frozen=True)
class Removal:
    """A text without the entries of one Secret, and which entries are left."""

    text: str
    removed: int
    kept: tuple[Kept, ...]


def remove_entries(text: str, secret: str, covered: Callable[[Values], bool]) -> Removal:
    """Take a Secret's entries out of the `imagePullSecrets` of the workloads of a text.

    Entries of other Secrets stay; a list that becomes empty goes.

    Args:
        text: a file of YAML documents.
        covered: tells which objects lose the entry.
    """
    kept: dict[tuple[Any, ...], Kept] = {}
    removed = 0
    try:
        _load(text)
    except NotEditableError as error:
        return Removal(text, 0, (Kept(1, str(error)),))
    while (place := next((found for found in _entries(text, secret, covered) if found not in kept), None)) is not None:
        try:
            text = _remove(text, place)
            removed += 1
        except NotEditableError as error:
            kept[place] = Kept(_line(text, place), str(error))
    return Removal(text, removed, tuple(kept.values()))


def add_entries(text: str, secret: str, wanted: Callable[[Values, PodSpec], bool], table: PodTable = KNOWN) -> str:
    """Add a Secret to the `imagePullSecrets` of workloads of a text, behind the entries that are there.

    Args:
        text: a file of YAML documents.
        secret: name of the new entry.
        wanted: tells which Pods of which objects get it.

    Raises:
        NotEditableError: when it cannot be added without changing more.
    """
    for index, *path in _pods_without(text, secret, wanted, table):
        content = _load(text)
        holder: Any = content[index]
        for part in path:
            holder = holder[part]
        holder[LIST] = [*(holder.get(LIST) or ()), {"name": secret}]
        node = _node(_compose(text)[index], tuple(path))
        text = _proved(_with_item(text, node, LIST, f"name: {secret}", f"{{name: {secret}}}"), content)
    return text


def add_value(text: str, at: Path, item: Values | str) -> str:
    """Add an item to the list at a path of a text's documents, and what is missing around it.

    Args:
        text: a file of YAML documents.
        at: number of the document, and where in it the list is.

    Raises:
        NotEditableError: when it cannot be added without changing more.
    """
    index, *path = at
    content = _load(text)
    known = len(path) - 1
    while known and not isinstance(dig(content, (index, *path[:known])), dict):
        known -= 1
    holder: Any = dig(content, (index, *path[:known]))
    node = _node(_compose(text)[int(index)], tuple(path[:known]))
    key, *missing = path[known:]
    inline = json.dumps(item)
    if not missing:
        holder[key] = [*(holder.get(key) or ()), item]
        return _proved(_with_item(text, node, str(key), inline, inline), content)
    wanted: Any = [item]
    for part in reversed(missing):
        wanted = {part: wanted}
    if holder.get(key) is not None:
        raise NotEditableError(f"{key} is no map")
    holder[key] = wanted
    return _proved(_with_new_key(text, node, str(key), None, json.dumps(wanted)), content)


def add_to_kustomization(text: str, key: str, item: Values | str) -> str:
    """Add an item to a list of a kustomization, such as its `components:`, unless it is there.

    Raises:
        NotEditableError: when the text is not one mapping, or cannot be edited without changing more.
    """
    content = _load(text)
    if not content or not isinstance(content[0], dict):
        raise NotEditableError("it holds no mapping")
    wanted = cast("dict[str, Any]", content[0])
    listed = wanted.get(key)
    if listed is not None and not isinstance(listed, list):
        raise NotEditableError(f"its {key} are no list")
    present = list(sequence(listed))
    if item in present:
        return text
    wanted[key] = [*present, item]
    line = item if isinstance(item, str) else json.dumps(item)
    return _proved(_with_item(text, _compose(text)[0], key, line, line), content)


def _pods_without(
    text: str, secret: str, wanted: Callable[[Values, PodSpec], bool], table: PodTable
) -> list[tuple[Any, ...]]:
    """Return where the Pods of a text's workloads are specified that do not name a Secret."""
    found = [
        (index, where, item, pod.path)
        for index, document in enumerate(_load(text))
        if isinstance(document, dict)
        for where, item in unlisted(cast("Values", document))
        for pod in pod_specs(item, table)
        if wanted(item, pod)
        if all(mapping(entry).get("name") != secret for entry in sequence(dig(item, (*pod.path, LIST))))
    ]
    for _, _, item, path in found:
        if not isinstance(dig(item, path), dict):
            raise NotEditableError(f"it has no {shown(path)}, which would hold the list")
    return [(index, *where, *path) for index, where, _, path in found]


def _entries(text: str, secret: str, covered: Callable[[Values], bool]) -> Iterator[tuple[Any, ...]]:
    for index, document in enumerate(_load(text)):
        if not isinstance(document, dict):
            continue
        for where, item in unlisted(cast("Values", document)):
            for pod in pod_specs(item) if covered(item) else ():
                entries = sequence(dig(item, (*pod.path, LIST)))
                if any("$patch" in mapping(entry) for entry in entries):
                    continue
                for position, entry in enumerate(entries):
                    if mapping(entry).get("name") == secret:
                        yield (index, *where, *pod.path, LIST, position)


def _line(text: str, place: tuple[Any, ...]) -> int:
    try:
        holder, _ = _pod_and_pair(_compose(text)[place[0]], place[1:-2])
        return int(holder.start_mark.line) + 1
    except NotEditableError:
        return 1


def _remove(text: str, place: tuple[Any, ...]) -> str:
    """Remove one entry, and the list with it when it is the last."""
    index, *path, position = place
    content = _load(text)
    holder: Any = content[index]
    for part in path[:-1]:
        holder = holder[part]
    if len(holder[LIST]) > 1:
        del holder[LIST][position]
    else:
        del holder[LIST]
    pod, pair = _pod_and_pair(_compose(text)[index], tuple(path[:-1]))
    key, value = pod.value[pair]
    _refuse_alias(value, key.end_mark.index)
    is_last = len(value.value) == 1
    edited = _without_pair(text, pod, pair) if is_last else _without_item(text, value, position)
    return _proved(edited, content)


def _pod_and_pair(document: Any, path: Path) -> tuple[Any, int]:
    """Return the mapping at a path and the position of the list in it."""
    node = _node(document, path)
    return node, _position(node, LIST)


def _node(document: Any, path: Path) -> Any:
    node = document
    for part in path:
        child = node.value[part] if isinstance(part, int) else node.value[_position(node, part)][1]
        _refuse_alias(child, node.start_mark.index)
        node = child
    return node


def _position(node: Any, key: str) -> int:
    if _is(node, MappingNode):
        for index, (name, _) in enumerate(cast("list[tuple[Any, Any]]", node.value)):
            if name.value == key:
                return index
    raise NotEditableError(f"`{key}` comes from an anchor elsewhere")


def _refuse_alias(node: Any, after: int) -> None:
    # An alias stands for the node at its anchor, which is further up.
    if node.start_mark.index < after:
        raise NotEditableError("it is an alias of an anchor elsewhere")


def _without_item(text: str, items: Any, position: int) -> str:
    item = items.value[position]
    _refuse_alias(item, items.start_mark.index)
    if items.flow_style:
        return _cut_from_flow(text, [(entry.start_mark.index, _end(entry)) for entry in items.value], position)
    dash = _dash(text, item)
    return _without_lines(text, dash, _end(item))


def _without_pair(text: str, pod: Any, position: int) -> str:
    key, value = pod.value[position]
    if pod.flow_style:
        return _cut_from_flow(text, [(name.start_mark.index, _end(found)) for name, found in pod.value], position)
    start, end = key.start_mark.index, _end(value)
    if value.flow_style and _rest_of_line(text, end).partition("#")[0].strip():
        raise NotEditableError("something else is on the line of its end")
    if len(pod.value) > 1:
        return _without_lines(text, start, end)
    # A mapping that lost its last key would be null, which in a patch deletes what it merges into.
    return text[:start] + "{}" + _kept_comments(text[start:end]) + text[end:]


def _cut_from_flow(text: str, spans: list[tuple[int, int]], position: int) -> str:
    """Remove one part of a list or mapping in braces together with the comma that it no longer needs."""
    start, end = spans[position]
    if position + 1 < len(spans):
        end = spans[position + 1][0]
    elif position:
        start = spans[position - 1][1]
    if "#" in text[start:end]:
        raise NotEditableError("a comment is inside")
    return text[:start] + text[end:]


def _without_lines(text: str, start: int, end: int) -> str:
    """Remove the lines from one place to another, but keep those that are comments."""
    first = text.rfind("\n", 0, start) + 1
    if text[first:start].strip():
        raise NotEditableError("something else is on the line of its start")
    last = text.find("\n", end) + 1 or len(text)
    comments = [line for line in text[first:last].splitlines(keepends=True) if line.lstrip().startswith("#")]
    return text[:first] + "".join(comments) + text[last:]


def _kept_comments(removed: str) -> str:
    comments = [line for line in removed.splitlines() if line.lstrip().startswith("#")]
    return "".join(f"{_newline(removed)}{line}" for line in comments)


def _rest_of_line(text: str, index: int) -> str:
    end = text.find("\n", index)
    return text[index:] if end < 0 else text[index:end]


def _dash(text: str, item: Any) -> int:
    return text.rfind("-", 0, item.start_mark.index)


def _is(node: Any, kind: type) -> bool:
    return isinstance(node, kind)


def _end(node: Any) -> int:
    """Return where a node's last character is; a block's own end mark stands behind the comments that follow it."""
    if _is(node, ScalarNode) or node.flow_style or not node.value:
        return node.end_mark.index
    last = node.value[-1]
    if _is(node, SequenceNode):
        return max(_end(last), node.start_mark.index)
    key, value = cast("tuple[Any, Any]", last)
    return max(_end(value), key.end_mark.index)


def _with_item(text: str, holder: Any, key: str, line: str, inline: str) -> str:
    """Add an item to the list at a key of a mapping, which is made where there is none.

    Args:
        line: the item as it stands behind a dash.
        inline: the item as it stands in brackets.
    """
    position = next((index for index, (name, _) in enumerate(holder.value) if name.value == key), None)
    if position is None:
        return _with_new_key(text, holder, key, line, inline)
    name, value = holder.value[position]
    if value.tag == _NULL and not value.value:
        colon = text.index(":", name.end_mark.index) + 1
        return f"{text[:colon]} [{inline}]{text[colon:]}"
    _refuse_alias(value, name.end_mark.index)
    if not _is(value, SequenceNode) or not value.value:
        return f"{text[: value.start_mark.index]}[{inline}]{text[value.end_mark.index :]}"
    end = _end(value.value[-1])
    if value.flow_style:
        return f"{text[:end]}, {inline}{text[end:]}"
    return _inserted(text, text.find("\n", end) + 1 or len(text), f"{_bullet(text, value)}{line}")


def _with_new_key(text: str, holder: Any, key: str, line: str | None, inline: str) -> str:
    """Add a key with a list of one item, or without a line for that, with what stands in brackets."""
    if holder.flow_style:
        end = _end(holder.value[-1][1]) if holder.value else holder.start_mark.index + 1
        return (
            f"{text[:end]}{', ' if holder.value else ''}{key}: {inline if line is None else f'[{inline}]'}{text[end:]}"
        )
    indent = " " * holder.start_mark.column
    lists = (value for _, value in holder.value if _is(value, SequenceNode) and not value.flow_style and value.value)
    listed = next(lists, None)
    bullet = f"{indent}  - " if listed is None else _bullet(text, listed)
    added = f"{indent}{key}: {inline}" if line is None else f"{indent}{key}:{_newline(text)}{bullet}{line}"
    if not holder.start_mark.column:
        marker = _DOCUMENT_END.search(text, holder.start_mark.index)
        return _inserted(text, marker.start() if marker else len(text), added)
    # In front of a key that begins its line: what stands behind the last one may be a comment on what follows.
    for name, _ in reversed(holder.value):
        begin = text.rfind("\n", 0, name.start_mark.index) + 1
        if not text[begin : name.start_mark.index].strip():
            return _inserted(text, begin, added)
    end = _end(holder.value[-1][1])
    return _inserted(text, text.find("\n", end) + 1 or len(text), added)


def _bullet(text: str, items: Any) -> str:
    """Return what stands before each item of a list in block style: its indentation, dash and space."""
    last = items.value[-1]
    dash = _dash(text, last)
    lead = text[text.rfind("\n", 0, dash) + 1 : dash]
    space = text[dash + 1 : last.start_mark.index]
    return f"{' ' * len(lead)}-{space if space.isspace() and space.strip(' ') == '' else ' '}"


def _inserted(text: str, index: int, line: str) -> str:
    newline = _newline(text)
    before = text[:index]
    gap = "" if not before or before.endswith("\n") else newline
    return f"{before}{gap}{line}{newline}{text[index:]}"


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _proved(text: str, wanted: list[Any]) -> str:
    try:
        same = _load(text) == wanted
    except NotEditableError as error:
        raise NotEditableError(f"without its lines the rest cannot be read: {error}") from None
    if not same:
        raise NotEditableError("an edit of its lines alone would change something else")
    return text


def _load(text: str) -> list[Any]:
    return [_unshared(document) for document in _parsed(text, "load_all")]


def _compose(text: str) -> list[Any]:
    return _parsed(text, "compose_all")


@lru_cache(maxsize=4)
def _parsed(text: str, method: str) -> list[Any]:
    # Each step reads the text that the step before proved.
    try:
        return list(getattr(YAML(typ="safe", pure=True), method)(text))
    except (YAMLError, RecursionError, ValueError) as error:
        reason = str(getattr(error, "problem", None) or type(error).__name__)
        raise NotEditableError(reason) from None


def _unshared(value: Any) -> Any:
    """Copy a document so that what an anchor and its aliases share is changed in one place only."""
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list):
        return [_unshared(item) for item in cast("list[Any]", value)]
    return value
