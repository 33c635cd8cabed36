"""Small images for the real node: one layer with one static program, and a digest of their own each."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import tarfile
import uuid
from functools import cache
from typing import TYPE_CHECKING, Any

from local import toolchain
from local.toolchain import golang

if TYPE_CHECKING:
    import requests

# The command of the sample's Jobs.
_MIGRATE = "app/migrate"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_SECONDS = 30
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def push(registry: requests.Session, address: str, repository: str, tag: str, *, ends: bool = False) -> str:
    """Push an image that no registry and no node has had yet.

    Args:
        registry: a session with a login that may push.
        address: URL of the registry.
        repository: of the image, without the host.
        tag: of the image; one that exists moves.
        ends: whether its container ends at once, as an init container has to, and does not run until it is told to end.

    Returns:
        The digest of its manifest.

    Raises:
        requests.HTTPError: the registry answered with an error.
    """
    base = f"{address}/v2/{repository}"
    layer, uncompressed = _layer()
    config = _config(uncompressed, ends=ends)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(_CONFIG, config),
            "layers": [_descriptor(_LAYER, layer)],
        }
    ).encode()
    for blob in (layer, config):
        _push_blob(registry, base, blob)
    _send(registry, "PUT", f"{base}/manifests/{tag}", manifest, _MANIFEST)
    return _digest(manifest)


def _push_blob(registry: requests.Session, base: str, blob: bytes) -> None:
    digest = _digest(blob)
    if registry.head(f"{base}/blobs/{digest}", timeout=_SECONDS).ok:
        return
    location = _send(registry, "POST", f"{base}/blobs/uploads/").headers["Location"]
    _send(registry, "PUT", f"{location}&digest={digest}", blob, "application/octet-stream")


def _send(
    registry: requests.Session, method: str, url: str, content: bytes = b"", media_type: str = ""
) -> requests.Response:
    headers = {"Content-Type": media_type} if media_type else {}
    answer = registry.request(method, url, data=content, headers=headers, timeout=_SECONDS)
    answer.raise_for_status()
    return answer


def _config(uncompressed: bytes, *, ends: bool) -> bytes:
    config: dict[str, Any] = {
        "architecture": golang.target()[1],
        "os": platform.system().lower(),
        # Makes the image one of a kind.
        "config": {"Entrypoint": ["/pause"], "Labels": {"unique": uuid.uuid4().hex}, "User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": [_digest(uncompressed)]},
        "history": [{"created_by": "local"}],
    }
    if ends:
        config["config"]["Cmd"] = ["end"]
    return json.dumps(config).encode()


@cache
def _layer() -> tuple[bytes, bytes]:
    """Return the layer, compressed and not."""
    program = toolchain.binary("pause").read_bytes()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        entry = tarfile.TarInfo("pause")
        entry.mode, entry.size = 0o755, len(program)
        tar.addfile(entry, io.BytesIO(program))
        link = tarfile.TarInfo(_MIGRATE)
        link.type, link.linkname = tarfile.SYMTYPE, "/pause"
        tar.addfile(link)
    uncompressed = stream.getvalue()
    return gzip.compress(uncompressed, mtime=0), uncompressed


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
