"""Keys of `auths` as the kubelet reads them: which login it uses for which image.

The rules are those of Kubernetes 1.36, `pkg/credentialprovider/keyring.go`, with Go's `net/url` and `filepath.Match`
below it (https://kubernetes.io/docs/concepts/containers/images/#config-json).
"""

import re
from collections.abc import Iterable
from ipaddress import IPv6Address
from typing import TypeVar
from urllib.parse import unquote_to_bytes

from pullsecrets import image
from pullsecrets.names import matches

Value = TypeVar("Value")

DOCKER_HUB_KEY = "https://index.docker.io/v1/"
"""The key under which `docker login` and `kubectl create secret docker-registry` keep a login of Docker Hub."""

_DOCKER_HUB = "index.docker.io"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ESCAPES = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})*", re.DOTALL)
_USER = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*")
# A host may escape what is beyond ASCII, and the percent sign.
_HOST_NAME = re.compile(r"(?:[^\x00-\x20#%/?@\\^`{|}]|%[89A-Fa-f][0-9A-Fa-f]|%25)*")
_PORT = re.compile(r"(?::[0-9]*)?")


def opens(key: str, reference: str) -> bool:
    """Tell whether the kubelet uses a login under this key for an image, when it has no other."""
    return bool(lookup([(key, key)], reference))


def lookup(entries: Iterable[tuple[str, Value]], reference: str) -> list[Value]:
    """Return what stands under the keys that open an image, in the order in which the kubelet tries them.

    Args:
        entries: keys of one document, each with what belongs to it.
        reference: the image as a Pod names it.
    """
    wanted = image.parse(reference)
    if wanted is None:
        return []
    known = [(key, value) for text, value in entries if (key := canonical(text)) is not None]
    # Backwards, so that of two keys the one with the longer path goes first.
    known.sort(key=lambda item: item[0].encode("utf-8", "surrogateescape"), reverse=True)
    found = [value for key, value in known if _matches(key, wanted.name)]
    looks_like_a_host = "." in wanted.host or ":" in wanted.host
    if found or (looks_like_a_host and wanted.host != image.DOCKER_HUB):
        return found
    return [value for key, value in known if key == _DOCKER_HUB]


def opens_on(key: str, host: str) -> bool:
    """Tell whether a login under this key is used for any image of a registry."""
    found = canonical(key)
    if found is None:
        return False
    return _matches(_host_in(found), host) or (found == _DOCKER_HUB and host == image.DOCKER_HUB)


def host_of(key: str) -> str:
    """Return the registry that a key is for, with its wildcards, fit to be shown: without user and password."""
    found = canonical(key)
    if found is None:
        return shown(key)
    return image.DOCKER_HUB if found == _DOCKER_HUB else _host_in(found)


def registry_of(key: str) -> str | None:
    """Return the registry that a key is for as a whole; None for one of a repository, and for one with wildcards.

    `/v1` and `/v2` without a slash behind them, which docker takes too, count as nothing.
    """
    found = canonical(key)
    if found is None or "*" in found or found.removeprefix(_host_in(found)) not in {"", "/v1", "/v2"}:
        return None
    return host_of(_host_in(found))


def shown(key: str) -> str:
    """Return a key without the user and password that stand in some."""
    return key.rpartition("@")[2]


def canonical(key: str) -> str | None:
    """Return a key as it is compared: no scheme, and no `/v1/` or `/v2/` before the path; None for what is no URL."""
    parsed = _url(key if key.startswith(("https://", "http://")) else f"https://{key}")
    if parsed is None:
        return None
    host, path = parsed
    if path.startswith(("/v1/", "/v2/")):
        path = path[3:]
    return host if path == "/" else f"{host}{path}"


def _host_in(canonical_key: str) -> str:
    return canonical_key.partition("/")[0]


def _matches(pattern: str, target: str) -> bool:
    """Compare as the kubelet does: label by label, the same port, and the path as a mere prefix."""
    globs, wanted = _url(f"https://{pattern}"), _url(f"https://{target}")
    if globs is None or wanted is None:
        return False
    (patterns, port), (labels, wanted_port) = _labels(globs[0]), _labels(wanted[0])
    return (
        port == wanted_port
        and len(patterns) == len(labels)
        and wanted[1].startswith(globs[1])
        and all(map(_glob, patterns, labels))
    )


def _glob(pattern: str, label: str) -> bool:
    if pattern.startswith("["):
        # An IPv6 address without a port is read as a class of characters.
        return pattern.endswith("]") and len(label) == 1 and label in pattern[1:-1]
    return matches(label, [pattern])


def _labels(host: str) -> tuple[list[str], str]:
    name, colon, port = host.rpartition(":")
    if not colon or (host.startswith("[") and not name.endswith("]")):
        name, port = host, ""
    elif name.startswith("["):
        name = name[1:-1]
    return name.split("."), port


def _url(text: str) -> tuple[str, str] | None:
    """Read a URL as Go does; return its host with the port, and its path."""
    before, _, fragment = text.partition("#")
    authority, slash, path = before.partition("?")[0].partition("://")[2].partition("/")
    user, _, host = authority.rpartition("@")
    name = _url_host(host)
    if name is None or _CONTROL.search(before) or _USER.fullmatch(user) is None:
        return None
    if not all(map(_ESCAPES.fullmatch, (fragment, user, path))):
        return None
    return name, _unescaped(f"{slash}{path}")


def _url_host(text: str) -> str | None:
    if "[" not in text:
        name, colon, port = text.partition(":")
        usable = _HOST_NAME.fullmatch(name) and _PORT.fullmatch(f"{colon}{port}")
        return f"{_unescaped(name)}{colon}{port}" if usable else None
    address, bracket, port = text[1:].rpartition("]")
    if not text.startswith("[") or not bracket or not _PORT.fullmatch(port) or not _HOST_NAME.fullmatch(address):
        return None
    try:
        IPv6Address(_unescaped(address))
    except ValueError:
        return None
    return f"[{_unescaped(address)}]{port}"


def _unescaped(text: str) -> str:
    return unquote_to_bytes(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogateescape")
