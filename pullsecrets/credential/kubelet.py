"""The content of a pull Secret as the kubelet reads it: with what it makes of each entry, or that it reads none.

The rules are those of Kubernetes 1.36, `pkg/credentialprovider/config.go`, with Go's `encoding/json` below it: names of
fields in any case, the last of two that are the same, null for nothing. One entry that cannot be read makes it refuse
the whole, and the Pod's other Secrets with it.
"""

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from pullsecrets import redaction


class Login(NamedTuple):
    """User and password of one entry, either of them possibly empty. Never to be shown."""

    username: str
    password: str


class UnreadableError(Exception):
    """The kubelet refuses the document. It carries no text: nothing of the content may leave."""


class _Object(tuple[tuple[str, Any], ...]):
    """A JSON object as its pairs, so that what comes twice is seen twice."""

    __slots__ = ()


def read_logins(document: bytes, *, old: bool = False) -> dict[str, Login]:
    """Return the login under each key, in the order of the document.

    Args:
        document: content of `.dockerconfigjson`, or of `.dockercfg`.
        old: whether it is the older form, `.dockercfg`, which has no `auths` around the entries.

    Raises:
        UnreadableError: when the kubelet reads none.
    """
    try:
        content: Any = json.loads(
            document.decode("utf-8", "replace"), object_pairs_hook=_Object, parse_int=float, parse_constant=_refuse
        )
    except (ValueError, RecursionError):
        raise UnreadableError from None
    return _entries(content) if old else _auths(content)


def decode_auth(auth: str) -> Login:
    """Return user and password of an `auth` text, whose padding may be missing and whose lines may be wrapped.

    Raises:
        UnreadableError: when it is no base64 of user, colon and password.
    """
    digits = auth.replace("\r", "").replace("\n", "")
    padded = digits if digits.endswith("=") else digits + "=" * (-len(digits) % 4)
    try:
        decoded = base64.b64decode(padded, validate=True)
    except (binascii.Error, ValueError):
        raise UnreadableError from None
    username, colon, password = decoded.partition(b":")
    if not colon or len(padded) % 4:
        raise UnreadableError
    return Login(username.decode("utf-8", "surrogateescape"), password.decode("utf-8", "surrogateescape"))


def _auths(content: Any) -> dict[str, Login]:
    found: dict[str, Login] = {}
    for name, value in _pairs(content):
        if name.lower() == "auths":
            found = {} if value is None else {**found, **_entries(value)}
        elif name.lower() == "httpheaders" and not all(_is_text(header) for _, header in _pairs(value)):
            raise UnreadableError
    return found


def _entries(value: Any) -> dict[str, Login]:
    return {_text(key): _login(entry) for key, entry in _pairs(value)}


def _login(entry: Any) -> Login:
    fields: dict[str, str] = {}
    for name, value in _pairs(entry):
        if name.lower() not in {"username", "password", "email", "auth"} or value is None:
            continue
        if not isinstance(value, str):
            raise UnreadableError
        fields[name.lower()] = _text(value)
    redaction.register(fields.get("auth", ""), fields.get("password", ""))
    login = Login(fields.get("username", ""), fields.get("password", ""))
    if fields.get("auth"):
        login = decode_auth(fields["auth"])
    redaction.register(login.password, ":".join(login))
    return login


def _pairs(value: Any) -> Iterable[tuple[str, Any]]:
    """Return an object's pairs; none of null.

    Raises:
        UnreadableError: when it is something else.
    """
    if value is None:
        return ()
    if not isinstance(value, _Object):
        raise UnreadableError
    return value


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _text(value: str) -> str:
    """Return a text as Go reads it from JSON: what is half of a surrogate pair is replaced."""
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _refuse(_constant: str) -> Any:
    raise ValueError
