"""Reading HCL as Vault's policies are written in: the first version of the language, which no library here reads.

python-hcl2 reads the second version: it refuses quoted keys, which Vault takes, and keeps the last of an attribute that
stands twice, where Vault counts both (tried). So this reads the grammar of github.com/hashicorp/hcl v1, keeps every
item in its order, and refuses what it does not know.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

_TOKEN = re.compile(
    r"(?P<skip>[\s,]+|\#[^\n]*|//[^\n]*|/\*.*?\*/)"
    r"|<<-?(?P<mark>\w+)\r?\n(?P<heredoc>.*?)^[ \t]*(?P=mark)[ \t]*$"
    r'|"(?P<text>(?:\\.|[^"\\\n])*)"'
    r"|(?P<word>[\w.-]+)"
    r"|(?P<sign>[][{}=])",
    re.DOTALL | re.MULTILINE,
)
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|x([0-9A-Fa-f]{2})|([0-7]{3})|(.))", re.DOTALL)
_LETTERS: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_DEEPEST: Final = 50

Items = list[tuple[tuple[str, ...], Any]]
"""The items of an object in their order: the keys, such as `path` and its name, and the value; keys may repeat."""


class HclError(ValueError):
    """A text that is not HCL, or more of it than is read here."""


@dataclass(frozen=True)
class _Token:
    kind: str
    value: str


_END = _Token("end", "")
_CLOSING = _Token("sign", "}")


def parse(text: str) -> Items:
    """Return the items of a document.

    Raises:
        HclError: when it cannot be read.
    """
    return _items([*_tokens(text), _END][::-1], _END, 0)


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise HclError(f"not HCL at character {position + 1}")
        position = found.end()
        kind = found.lastgroup or ""
        if kind == "text":
            yield _Token("text", _ESCAPE.sub(_unescaped, found["text"]))
        elif found["heredoc"] is not None:
            yield _Token("text", found["heredoc"])
        elif kind != "skip":
            yield _Token(kind, found.group())


def _unescaped(found: re.Match[str]) -> str:
    *codes, octal, letter = found.groups()
    if octal:
        return chr(int(octal, 8))
    code = next((int(code, 16) for code in codes if code), None)
    if code is None:
        return _LETTERS.get(letter, letter)
    if code > 0x10FFFF:
        raise HclError("a character that does not exist")
    return chr(code)


def _items(tokens: list[_Token], end: _Token, depth: int) -> Items:
    """Read items up to the token that ends them; tokens are taken from the end of the list."""
    if depth > _DEEPEST:
        raise HclError("nested too deeply")
    items: Items = []
    while (token := tokens.pop()) != end:
        keys: list[str] = []
        while token.kind in {"text", "word"}:
            keys.append(token.value)
            token = tokens.pop()
        if not keys or token.kind != "sign" or token.value not in "={":
            raise HclError("a key without a value")
        if token.value == "{":
            tokens.append(token)
        items.append((tuple(keys), _value(tokens, depth + 1)))
    return items


def _value(tokens: list[_Token], depth: int) -> Any:
    token = tokens.pop()
    if token.kind in {"text", "word"}:
        return token.value
    if token.value == "{":
        return _items(tokens, _CLOSING, depth)
    if token.value == "[" and depth <= _DEEPEST:
        values: list[Any] = []
        while tokens[-1] != _Token("sign", "]"):
            values.append(_value(tokens, depth + 1))
        tokens.pop()
        return values
    raise HclError("a value that is none")
