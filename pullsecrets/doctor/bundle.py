"""Everything that a ticket needs, in one archive: the report and what it was read from, without any credential."""

import io
import json
import platform
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from pullsecrets.doctor.platform import stores, warnings
from pullsecrets.doctor.snapshot import Object, Snapshot
from pullsecrets.errors import BadInputError, PullSecretsError
from pullsecrets.kube import marks
from pullsecrets.kube.objects import annotations_of
from pullsecrets.redaction import PLACEHOLDER, redact

_METADATA = (
    "name",
    "namespace",
    "labels",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "finalizers",
    "ownerReferences",
)
_CONTENT = frozenset({"data", "stringData", "templateData", "value", "literal"})
"""Keys of ESO's objects under which somebody may have written a credential instead of where it is read."""
_OURS = (marks.CONTENT_DIGEST_ANNOTATION, marks.STACK_ANNOTATION, marks.FORCE_SYNC_ANNOTATION)


def write_bundle(file: Path, snapshot: Snapshot, report: Mapping[str, Any]) -> None:
    """Write the archive: JSON documents, each without what `redaction` knows of credentials.

    Of Secrets it holds the metadata that audit and doctor read, of Pods what they pull, of every object our own
    annotations alone: others' may hold anything, as `last-applied-configuration` does.

    Args:
        file: a gzipped tar archive, replaced if it is there.

    Raises:
        BadInputError: when the file cannot be written.
    """
    documents = {"report": report, **{name: _read(read) for name, read in _parts(snapshot).items()}}
    try:
        with tarfile.open(file, "w:gz") as archive:
            for name, document in documents.items():
                text = redact(json.dumps(document, indent=1, sort_keys=True, default=_plain)).encode()
                member = tarfile.TarInfo(f"pull-secrets-{snapshot.stack}/{name}.json")
                member.size, member.mtime, member.mode = len(text), int(snapshot.now.timestamp()), 0o600
                archive.addfile(member, io.BytesIO(text))
    except OSError as error:
        raise BadInputError(f"--bundle {file}: {error.strerror}; name a file that can be written") from None


def _parts(snapshot: Snapshot) -> Mapping[str, Callable[[], Any]]:
    return {
        "versions": lambda: {
            "pull-secrets": version("pull-secrets"),
            "python": platform.python_version(),
            "kubernetes": snapshot.cluster.get("/version"),
            "made": snapshot.now.isoformat(),
        },
        "stack": lambda: snapshot.config.model_dump(mode="json", by_alias=True),
        "eso": lambda: snapshot.installations,
        "stores": lambda: {item.name: _shown(item.item) for item in stores(snapshot)},
        "fanouts": lambda: {name: _shown(item) for name, item in snapshot.fanouts.items()},
        "external-secrets": lambda: _by_registry(snapshot.external_secrets),
        "secrets": lambda: _by_registry(snapshot.secrets),
        "namespaces": lambda: {name: _shown(item) for name, item in snapshot.namespaces.items()},
        "service-accounts": lambda: snapshot.accounts,
        "pods": lambda: snapshot.pods,
        "coverage": lambda: snapshot.coverage,
        "pull-events": lambda: {"/".join(place): lines for place, lines in warnings(snapshot, "Pod", "Failed").items()},
        "vault": lambda: (
            {"server": str(snapshot.vault_server), "metadata": snapshot.metadata} if snapshot.config.has_vault else None
        ),
    }


def _read(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except PullSecretsError as error:
        return {"not read": str(error)}
    except Exception as error:  # noqa: BLE001 - an object of a shape nobody expected must not cost the other parts
        return {"not read": type(error).__name__}


def _by_registry(items: Mapping[str, Mapping[str, Object]]) -> dict[str, Any]:
    return {name: [_shown(item) for item in found.values()] for name, found in items.items()}


def _shown(item: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return an object without others' annotations, managed fields and content."""
    if not item:
        return None
    metadata = item["metadata"]
    annotations = annotations_of(item)
    kept = {key: metadata[key] for key in _METADATA if key in metadata}
    kept["annotations"] = {key: annotations[key] for key in _OURS if key in annotations}
    return {"metadata": kept, **{key: _hidden(item[key]) for key in ("spec", "status") if key in item}}


def _hidden(value: Any, *, content: bool = False) -> Any:
    """Return a part of an object with texts in the place of content taken out."""
    if isinstance(value, str):
        return PLACEHOLDER if content else value
    if isinstance(value, list):
        return [_hidden(item) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    parts = cast("dict[str, Any]", value)
    return {key: _hidden(item, content=content or key in _CONTENT) for key, item in parts.items()}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return sorted(cast("frozenset[str]", value)) if isinstance(value, frozenset) else str(value)
