"""How a MachineConfig would write the kubelet's registry logins: as a file, as a link, or from a unit's commands."""

import base64
import binascii
import gzip
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

from pullsecrets.data import Path, Unknown, dig, walk

KUBELET_AUTH_FILE: Final = "/var/lib/kubelet/config.json"
"""The kubelet's registry logins on each node; the machine-config operator writes the cluster pull-secret there."""

_READ = re.compile(
    r"(--authfile[= ]|REGISTRY_AUTH_FILE=|ConditionPathExists=|-a )[\"']?" + re.escape(KUBELET_AUTH_FILE)
)
"""What pulls an image with those logins, as units of many MachineConfigs do."""

_ELSEWHERE = {("config", "merge"), ("config", "append"), ("ignition", "config")}
"""What Ignition takes more configuration by, `replace` being the last of them; it cannot be judged here."""


def auth_file_writes(item: Mapping[str, Any]) -> Iterator[tuple[Path, bool]]:
    """Yield where a MachineConfig writes, or could write, the file, and whether that is certain."""
    config = dig(item, ("spec", "config"))
    if isinstance(config, Unknown):
        yield ("spec", "config"), False
        return
    for path, found in walk(config, ("spec", "config")):
        if path[-1] == "path" and isinstance(found, Unknown):
            yield path, False
        elif path[-1] == "path" and isinstance(found, str) and _is_auth_file(found, link="links" in path):
            yield path, True
        elif isinstance(found, str) and (_comes_from_elsewhere(path, found) or mentions_auth_file(found)):
            yield path, False


def mentions_auth_file(text: str) -> bool:
    """Tell whether a text, or what a data URL holds, names the file for more than reading it."""
    return any(
        found.count(KUBELET_AUTH_FILE) > len(_READ.findall(found)) for found in (text, *_content_of_data_url(text))
    )


def _is_auth_file(path: str, *, link: bool) -> bool:
    normal = posixpath.normpath(path)
    # On an OSTree host the same file also has a path below /sysroot; a link can replace any folder above it.
    return normal.endswith(KUBELET_AUTH_FILE) or (link and KUBELET_AUTH_FILE.startswith(f"{normal}/"))


def _comes_from_elsewhere(path: Path, text: str) -> bool:
    return path[-1] == "source" and path[-4:-2] in _ELSEWHERE and bool(text)


def _content_of_data_url(text: str) -> Iterator[str]:
    header, comma, body = text.partition(",")
    if not comma or not header.startswith("data:"):
        return
    if not header.endswith(";base64"):
        yield unquote(body)
        return
    try:
        content = base64.b64decode(unquote(body))
        yield (gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content).decode(errors="replace")
    except (binascii.Error, ValueError, OSError, EOFError):
        return
