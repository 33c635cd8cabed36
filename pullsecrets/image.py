"""An image reference as the kubelet reads it: which registry it asks, and how that registry's host is spelled.

The grammar is that of https://github.com/distribution/reference, which the kubelet and container runtimes parse with.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address

DOCKER_HUB = "docker.io"
"""The host of an image that names none, and of Docker Hub's older name."""

_OLD_DOCKER_HUB = "index.docker.io"
_OTHER_DOCKER_HUBS = frozenset({_OLD_DOCKER_HUB, "registry-1.docker.io", "docker.com", "hub.docker.com"})
_LONGEST_PATH = 255

_DNS_LABEL = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_HOST = re.compile(
    rf"(?=.{{1,259}}$)(?:{_DNS_LABEL}(?:\.{_DNS_LABEL})*|\[(?P<address>[0-9a-f:]+)\](?=:))(?::(?P<port>[0-9]{{1,5}}))?"
)

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_PATH_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    # What is no host but could be a path, such as `my_registry.corp`, passes too.
    rf"(?P<host>(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?|{_PATH_PART})"
    rf"/(?P<path>{_PATH_PART}(?:/{_PATH_PART})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}))?",
    re.ASCII,
)
_IDENTIFIER = re.compile("[a-f0-9]{64}")


@dataclass(frozen=True)
class Image:
    """An image reference, with what is left out filled in."""

    host: str
    """The registry, in the spelling that logins are looked up by."""
    path: str
    tag: str | None
    digest: str | None

    @property
    def name(self) -> str:
        """Host and path: what the kubelet compares keys of `auths` with."""
        return f"{self.host}/{self.path}"


def any_from(images: Iterable[str], hosts: Collection[str]) -> bool:
    """Tell whether one of the images comes from one of these hosts."""
    return any(image_host(image) in hosts for image in images)


def parse(reference: str) -> Image | None:
    """Read a reference; None for one that the kubelet refuses (`InvalidImageName`)."""
    found = _REFERENCE.fullmatch("/".join(_split(reference)))
    if found is None or len(found["path"]) > _LONGEST_PATH or _IDENTIFIER.fullmatch(reference):
        return None
    return Image(found["host"], found["path"], found["tag"], found["digest"])


def image_host(reference: str) -> str | None:
    """Return the registry that the kubelet asks for an image; None for a reference that it refuses."""
    found = parse(reference)
    return found.host if found else None


def written_host(reference: str) -> str:
    """Return the registry that a reference means, also where the kubelet would refuse it as it stands.

    In a manifest the tag may be left to be filled in (`registry.example.com/app:${TAG}`).
    """
    return _split(reference)[0]


def host_problem(host: str) -> str | None:
    """Say what is allowed instead of a host that images or keys of `auths` should not spell so; None for a good one.

    The kubelet compares hosts letter by letter, so there is one spelling: lower case, without scheme and path, a port
    where the registry has one of its own. It finds no login for an IPv6 address without a port.
    """
    found = _HOST.fullmatch(host)
    if host in _OTHER_DOCKER_HUBS:
        return f"{DOCKER_HUB!r}, which the kubelet reads as Docker Hub"
    if found is None or (found["address"] and not _is_address(found["address"])):
        return (
            "a host with an optional port, in lower case, without scheme or path, such as 'registry.example.com:5000'"
        )
    if found["port"] and not 0 < int(found["port"]) < 65536:
        return "a port between 1 and 65535"
    return None


def _is_address(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _split(reference: str) -> tuple[str, str]:
    """Return host and rest; the first part is a host with a dot, a colon or a capital, or as `localhost`."""
    first, slash, rest = reference.partition("/")
    if not slash:
        return DOCKER_HUB, f"library/{reference}"
    if not (first == "localhost" or {".", ":"} & set(first) or first != first.lower()):
        return DOCKER_HUB, reference
    host = DOCKER_HUB if first == _OLD_DOCKER_HUB else first
    return host, f"library/{rest}" if host == DOCKER_HUB and "/" not in rest else rest
