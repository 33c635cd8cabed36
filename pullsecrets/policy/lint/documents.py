"""The documents of a file as kubectl reads them, which is neither what YAML nor what Python's loaders say.

kubectl 1.37 reads a stream of JSON, or documents of YAML 1.1 by go-yaml v2 (sigs.k8s.io/yaml): the last of two equal
keys counts, a merge key overwrites what stands before it, a tag of somebody else's is no tag, and a number is one only
where Go takes it for one. Values are built from the parser's events: that is safe from deep nesting, on which a loader
in C dies, and three times as fast.
"""

import base64
import binascii
import codecs
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, cast

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

DEEPEST: Final = 200
"""Levels of nesting that are read; kubectl takes more, and no manifest needs them."""
LARGEST: Final = 64 << 20
"""Bytes of a file that is read; the API server takes no object above 3 MiB."""
_MOST_BY_ALIASES: Final = 100_000
"""Values that aliases may unfold to beyond what stands in the text."""

# The parser in C is 30 times faster; wheels of PyYAML bring it along.
Loader: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG: Final = "tag:yaml.org,2002:"


class UnreadableError(ValueError):
    """A document that kubectl would not read either, or that is bounded here; the message says which."""


@dataclass(frozen=True)
class Part:
    """A part of a file that is read at once, with one document or more."""

    text: str
    line: int = 0
    """Lines of the file before it."""

    @cached_property
    def nodes(self) -> list[Any]:
        """Its documents with the position of each value; none where only JSON's own reader takes the text."""
        try:
            return list(cast("Any", yaml).compose_all(self.text, Loader))
        except yaml.YAMLError:
            return []


@dataclass(frozen=True)
class Document:
    """A document of a file."""

    value: Any
    part: Part
    index: int = 0
    """Which document of the part it is."""

    @property
    def node(self) -> Any:
        """The same document with the position of each value, None where that is unknown."""
        return self.part.nodes[self.index] if self.index < len(self.part.nodes) else None


@dataclass(frozen=True)
class Broken:
    """A part of a file that could not be read."""

    line: int
    reason: str


def decoded(content: bytes) -> str:
    """Return a file's text, by its byte order mark in UTF-16; as kubectl does, bytes that are no text are taken."""
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if content.startswith(mark):
            return content.decode(encoding, "replace")
    # A mark also stands where files were put together.
    return content.decode("utf-8-sig", "replace").replace("\n\ufeff", "\n")


def documents(text: str) -> Iterator[Document | Broken]:
    """Yield the documents of a text, and what of it could not be read; what follows a broken document is read."""
    if text.lstrip().startswith("{"):
        read, line, rest = _json_stream(text)
        yield from read
        text = rest
    else:
        line = 0
    if not text.strip():
        return
    part = Part(text, line)
    try:
        found: list[Document | Broken] = [
            Document(value, part, index) for index, value in enumerate(_yaml_stream(text))
        ]
    except UnreadableError:
        found = list(_one_by_one(text, line))
    yield from found


def _one_by_one(text: str, line: int) -> Iterator[Document | Broken]:
    """Read a text that is not whole in the parts that kubectl splits it into."""
    for found in re.split(r"^(?=---(?:\s|$))", text, flags=re.MULTILINE):
        part = Part(found, line)
        try:
            for index, value in enumerate(_yaml_stream(found)):
                yield Document(value, part, index)
        except UnreadableError as error:
            at, reason = error.args
            yield Broken(line + at, reason)
        line += found.count("\n")


# JSON.


def _json_stream(text: str) -> tuple[list[Document], int, str]:
    """Return the values of concatenated JSON, the lines that they take, and what follows that is none."""
    found: list[Document] = []
    decoder, position = json.JSONDecoder(), 0
    while match := _JSON_START.match(text, position):
        try:
            value, end = decoder.raw_decode(text, match.start("json"))
        except (ValueError, RecursionError):
            break
        begin = match.start("json")
        found.append(Document(value, Part(text[begin:end], text.count("\n", 0, begin))))
        position = end
    return found, text.count("\n", 0, position), text[position:]


_JSON_START = re.compile(r"\s*(?:---[ \t]*(?:#[^\n]*)?\n\s*)?(?P<json>\{)")


# YAML.


def _yaml_stream(text: str) -> Iterator[Any]:
    """Yield the values of a stream.

    Raises:
        UnreadableError: with the line, from 1, and the reason.
    """
    parser = Loader(text)
    builder, line = _Builder(len(text) + _MOST_BY_ALIASES), 1
    handlers = builder.handlers()
    try:
        while not isinstance(event := parser.get_event(), StreamEndEvent):
            line = event
            if handler := handlers.get(event.__class__):
                handler(event)
            if builder.done:
                yield builder.taken()
    except yaml.YAMLError as error:
        mark: Any = getattr(error, "problem_mark", None)
        raise UnreadableError(mark.line + 1 if mark else 1, _NOT_YAML) from None
    except UnreadableError as error:
        raise UnreadableError(cast("Any", line).start_mark.line + 1, *error.args) from None
    finally:
        parser.dispose()


_NOT_YAML: Final = "it is not YAML, or a template that is not rendered yet"
_NOTHING: Final = object()
_MERGE: Final = object()


@dataclass(slots=True)
class _Open:
    """A list or a map of which the end is yet to come."""

    value: Any
    anchor: str | None
    before: int
    """How many values there were before it."""
    key: Any = _NOTHING

    @property
    def is_list(self) -> bool:
        """Whether what follows are its items and no keys."""
        return isinstance(self.value, list)


class _Builder:
    """Builds a document's value from events."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._count = 0
        self._value: Any = _NOTHING
        self.done = False

    def handlers(self) -> dict[Any, Callable[[Any], None]]:
        """Return what takes each kind of event."""
        return {
            ScalarEvent: self._scalar,
            MappingStartEvent: lambda event: self._begin({}, event.anchor),
            SequenceStartEvent: lambda event: self._begin([], event.anchor),
            MappingEndEvent: self._end,
            SequenceEndEvent: self._end,
            AliasEvent: self._alias,
            DocumentStartEvent: self._start,
        }

    def taken(self) -> Any:
        """Return the value of the document that is done."""
        self.done = False
        return self._value

    def _start(self, _event: Any) -> None:
        self._anchors.clear()
        self._count = 0

    def _scalar(self, event: Any) -> None:
        self._count += 1
        value = _scalar(event.tag, event.value, plain=event.implicit[0])
        if event.anchor:
            self._anchors[event.anchor] = (value, 1)
        self._add(value)

    def _begin(self, value: Any, anchor: str | None) -> None:
        if len(self._open) == DEEPEST:
            raise UnreadableError(f"it is nested deeper than {DEEPEST} levels")
        self._count += 1
        if anchor:
            self._anchors[anchor] = (_NOTHING, 0)
        self._open.append(_Open(value, anchor, self._count))

    def _end(self, _event: Any) -> None:
        ended = self._open.pop()
        if ended.anchor:
            self._anchors[ended.anchor] = (ended.value, self._count - ended.before + 1)
        self._add(ended.value)

    def _alias(self, event: Any) -> None:
        value, size = self._anchors.get(event.anchor, (_NOTHING, 0))
        if value is _NOTHING:
            raise UnreadableError("an alias refers to what contains it, or to nothing")
        self._count += size
        if self._count > self._most:
            raise UnreadableError("its aliases expand to more than the limit")
        self._add(value)

    def _add(self, value: Any) -> None:
        if not self._open:
            self._value, self.done = None if value is _MERGE else value, True
            return
        parent = self._open[-1]
        if parent.is_list:
            parent.value.append("<<" if value is _MERGE else value)
        elif parent.key is _NOTHING:
            parent.key = value if type(value) is str or value is _MERGE else _key(value)
        else:
            if parent.key is _MERGE:
                _merge(parent.value, value)
            else:
                parent.value[parent.key] = "<<" if value is _MERGE else value
            parent.key = _NOTHING


def _key(value: Any) -> str:
    if value is None or isinstance(value, list | dict):
        raise UnreadableError("a key of a map is none")
    return json.dumps(value)


def _merge(target: dict[str, Any], source: Any) -> None:
    sources = cast("list[Any]", source if isinstance(source, list) else [source])
    # Of several the first counts.
    for item in reversed(sources):
        if not isinstance(item, dict):
            raise UnreadableError("a merge key refers to something other than a map")
        target.update(cast("dict[str, Any]", item))


# Scalars.

_WORDS: Final[dict[str, Any]] = {
    **dict.fromkeys(["", "~", "null", "Null", "NULL"]),
    **dict.fromkeys(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"], True),
    **dict.fromkeys(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"], False),
    **dict.fromkeys([".nan", ".NaN", ".NAN"], math.nan),
    **dict.fromkeys([".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"], math.inf),
    **dict.fromkeys(["-.inf", "-.Inf", "-.INF"], -math.inf),
    "<<": _MERGE,
}
_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "bool": (bool,),
    "float": (float, int),
    "int": (int,),
    "null": (type(None),),
}


def _scalar(tag: str | None, text: str, *, plain: bool) -> Any:
    if tag is None:
        return _plain(text) if plain else text
    name = tag.removeprefix(_TAG)
    if name == "binary":
        return _binary(text)
    if name == "merge":
        return _MERGE
    if name == "timestamp" and not text[:1].isdigit():
        raise UnreadableError("a value does not match its tag")
    if tag == name or name not in _TYPES:
        return text
    value = _plain(text)
    if not isinstance(value, _TYPES[name]) or (isinstance(value, bool) and name != "bool"):
        raise UnreadableError("a value does not match its tag")
    return value


def _plain(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if text[:1] not in "+-.0123456789":
        return text
    digits = text.replace("_", "")
    if _INTEGER.fullmatch(digits) and len(digits) < _LONGEST_INTEGER:
        return _integer(digits)
    number = float(digits) if text[:1] != "_" and _FLOAT.fullmatch(text) else math.inf
    return text if math.isinf(number) else number


_LONGEST_INTEGER: Final = 72


def _integer(digits: str) -> int | float:
    sign, body = ("", digits) if digits[0] not in "+-" else (digits[0], digits[1:])
    octal = len(body) > 1 and body[0] == "0" and body[1].isdigit()
    value = int(sign + ("0o" + body[1:] if octal else body), 0)
    return value if -(1 << 63) <= value < 1 << 64 else float(value)


def _binary(text: str) -> str:
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        raise UnreadableError("a !!binary value is not base64") from None
