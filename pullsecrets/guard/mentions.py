"""What a value mentions of what is guarded: one walk over every text in it, and over the texts inside those.

It reads words, and no program: a shell script, a unit of systemd and a chart's values are all the same to it.
"""

import base64
import binascii
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import unquote

from pullsecrets.data import Path, every_text, mapping, walk
from pullsecrets.guard.guarded import GUARDED_OBJECTS, KUBELET_AUTH_FILE

_DEPTH: Final = 4
"""How often a text is looked for inside another, such as a script in base64 in a unit in a data URL."""
_LARGEST_CONTENT: Final = 1 << 21
"""Bytes of what is compressed that are looked through; etcd takes no object above 1.5 MiB."""
_MOST_PARENTS: Final = 32
"""How many `..` of one path are followed."""

_KIND = re.compile(r"\b[Ii]mages?\b")
_GROUP = re.compile(r"\bconfig\.openshift\.io\b|(?<=image\.)config\b|(?<=images\.)config\b")
_SPELLINGS: Final = {"Image": ("mage", _KIND), "config.openshift.io": ("config", _GROUP)} | {
    word: (word, re.compile(rf"(?<![\w.-]){re.escape(word)}(?![\w-]|\.\w)"))
    for item in GUARDED_OBJECTS
    for word in (item.name, item.namespace)
    if word
}
"""How each word of a guarded object is spelled in a text, and letters that every spelling has."""
_SEPARATOR: Final = r"/(?:\.?/)*"
"""A path means the same with slashes doubled and with `.` between them."""
_FOLDER = _SEPARATOR.join(KUBELET_AUTH_FILE.split("/")[:-1])
_AUTH_FILE = re.compile(_FOLDER + _SEPARATOR + re.escape(KUBELET_AUTH_FILE.rpartition("/")[2]) + r"(?![\w-]|\.\w)")
_WHOLE_FOLDER = re.compile(_FOLDER + r"/?(?![\w./-])")
_PARENT = re.compile(r"/(?!\.\.?/)[^/\s\"'=:,]+/(?:\.?/)*\.\.(?=/)")
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|/|\r?\n[ \t]*)")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{14,}={0,2}")
_WRAPPED = re.compile(r"[A-Za-z0-9+/\s]{14,}={0,2}")


def mentions_of(value: Any, namespace: Any = None, *, folder: bool = False) -> dict[str, Path]:
    """Return the guarded things that a value mentions, each with where.

    An object is mentioned where its name and its namespace stand anywhere in the value, whole words both.

    Args:
        value: what to look through.
        namespace: where it acts, beside what it says itself.
        folder: whether the kubelet's folder counts as the file in it, as it does where something is mounted there.
    """
    texts = [*every_text(value), *([namespace] if isinstance(namespace, str) else ())]
    # All of it at once first: next to nothing mentions anything.
    everything = list(_layers("\n".join(texts)))
    everything += [layer for text in texts if _is_wrapped(text) for layer in _layers(text)]
    mentioned = {
        str(item): _place(value, lambda layer, word=item.name: _says(layer, word))
        for item in GUARDED_OBJECTS
        if all(any(_says(layer, word) for layer in everything) for word in item.words)
    }
    if any(_names_file(layer, folder=folder) for layer in everything):
        mentioned[KUBELET_AUTH_FILE] = _place(value, lambda layer: _names_file(layer, folder=folder))
    return mentioned


def _place(value: Any, says: Callable[[str], bool]) -> Path:
    return next((path for path, text in _texts(value) if any(map(says, _layers(text)))), ())


def is_auth_file(path: str) -> bool:
    """Tell whether a path is the kubelet's file, or ends in it, as below `/sysroot` of an OSTree host."""
    return _AUTH_FILE.search(_without_parents(path)) is not None


def _texts(value: Any) -> Iterator[tuple[Path, str]]:
    for path, found in walk(value):
        if isinstance(found, str):
            yield path, found
        for key in mapping(found):
            yield (*path, str(key)), str(key)


def _layers(text: str, depth: int = _DEPTH) -> Iterator[str]:
    """Yield a text, and what it holds escaped, percent-encoded, in base64 or compressed."""
    yield text
    if depth == 0:
        return
    plain = _ESCAPE.sub(_unescaped, text) if "\\" in text else text
    if "%" in plain:
        plain = unquote(plain)
    if plain != text:
        yield from _layers(plain, depth - 1)
    if content := "\n".join(filter(None, map(_decoded, _encoded(text)))):
        yield from _layers(content, depth - 1)


def _unescaped(found: re.Match[str]) -> str:
    code = found.group(1) or found.group(2)
    return chr(int(code, 16)) if code else found.group(0).strip("\\ \t\r\n")


def _encoded(text: str) -> list[str]:
    return ["".join(text.split())] if _is_wrapped(text) else _BASE64.findall(text)


def _is_wrapped(text: str) -> bool:
    return "\n" in text and _WRAPPED.fullmatch(text.strip()) is not None


def _decoded(encoded: str) -> str:
    """Return what base64 stands for, the empty text where that is none."""
    body = encoded.rstrip("=")
    try:
        content = base64.b64decode(body[: len(body) - (len(body) % 4 == 1)] + "==")
        if content.startswith(b"\x1f\x8b"):
            content = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(content, _LARGEST_CONTENT)
    except (binascii.Error, ValueError, zlib.error):
        return ""
    return content.decode("utf-8", "ignore")


def _says(text: str, word: str) -> bool:
    letters, spelling = _SPELLINGS[word]
    return letters in text and spelling.search(text) is not None


def _names_file(text: str, *, folder: bool) -> bool:
    if "kubelet" not in text:
        return False
    plain = _without_parents(text)
    return _AUTH_FILE.search(plain) is not None or (folder and _WHOLE_FOLDER.search(plain) is not None)


def _without_parents(text: str) -> str:
    for _ in range(_MOST_PARENTS if "/.." in text else 0):
        text = _PARENT.sub("", text)
    return text
