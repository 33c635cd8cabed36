"""The kubelet's words for a pull that fails, as a kubelet 1.36 on containerd 2.4 was seen to say them."""

import json
import re
from pathlib import Path

_FILE = Path(__file__).with_name("messages.json")
SEEN: dict[str, str] = json.loads(_FILE.read_text(encoding="utf-8"))
_SHAPES = (
    (r"sha256:[0-9a-f]{64}", "<digest>"),
    (r"(?<=localhost:)\d+|(?<=\.com:)\d+|(?<=127\.0\.0\.1:)\d+", "<port>"),
    (r"[a-z.-]+\.com/[a-z0-9/-]+:[0-9a-z-]+", "<image>"),
    (r"[a-z.-]+\.com(?=:<port>)", "<host>"),
    (r"/v2/[a-z0-9/-]+/manifests/[^\s:\"?]+(\?[^\s:\"]*)?", "<manifest>"),
    (r"(?<=<port>/)token\?[^\s:]+", "<token>"),
    (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "<time>"),
    (r"Back-off pulling image \S+: \w+: ", ""),
)


def seen(name: str) -> str:
    """The message that was seen."""
    return SEEN[name]


def shape(message: str) -> str:
    """A message without what differs from pull to pull."""
    for pattern, name in _SHAPES:
        message = re.sub(pattern, name, message)
    return message
