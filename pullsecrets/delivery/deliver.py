"""Delivery of one version: ESO syncs it now, every namespace is proved to hold it, and what was before comes back."""

import base64
import binascii
import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast

from pullsecrets import redaction
from pullsecrets.credential import history
from pullsecrets.credential.document import content_digest
from pullsecrets.credential.history import RollbackPlan
from pullsecrets.delivery.prechecks import Target
from pullsecrets.delivery.proof import OnProgress, Progress, prove_digest
from pullsecrets.errors import BadInputError, ConflictError, PullSecretsError
from pullsecrets.kube import eso
from pullsecrets.kube.eso import Installation
from pullsecrets.kube.marks import CONTENT_DIGEST_ANNOTATION, PULL_SECRET_KEY
from pullsecrets.kube.objects import annotations_of, secret_path
from pullsecrets.kube.ownership import Delivery, not_synced, read_deliveries
from pullsecrets.kube.selectors import by_name
from pullsecrets.kube.waiting import patiently

DEFAULT_TIMEOUT = 300
"""Seconds to wait for the proof of a delivery."""

LOOK_AT_VAULT_SECONDS = 15.0
"""How often the wait looks whether another client has written: then it would never end well."""

_POLL_SECONDS = 0.5
_PARALLEL = 8
_FINISHED_PREFIX = "rotated-in-"
_TAKEN_BACK_IN_GIT = "a sealed credential is taken back in git, where its file is kept, and by `pulumi up`"

_T = TypeVar("_T")


@dataclass(frozen=True)
class Delivered:
    """How a version arrived."""

    version: int
    digest: str
    namespaces: tuple[str, ...]
    """Those that hold the content."""
    missing: Mapping[str, str]
    """Those that do not, and what ESO says of each."""
    seconds: float
    synced: bool = field(default=True)
    """Whether ESO had to be told; False when all of them held the content already."""

    def document(self) -> dict[str, object]:
        """Return it for `--json`."""
        return {
            "version": self.version,
            "digest": self.digest,
            "namespaces": list(self.namespaces),
            "missing": dict(self.missing),
            "seconds": round(self.seconds, 2),
            "synced": self.synced,
        }


def deliver(
    target: Target,
    installation: Installation,
    version: int,
    digest: str,
    timeout: float,
    *,
    only: Collection[str] | None = None,
    on_progress: OnProgress | None = None,
) -> Delivered:
    """Make ESO sync a version now and wait until every namespace is proved to hold it.

    Where all hold it already, ESO is left alone.

    Args:
        installation: as `prepare` gives it.
        version: the version in Vault; 0 for what was sealed.
        timeout: seconds.
        only: wait for these namespaces alone.
        on_progress: called whenever what is missing changes.

    Raises:
        ConflictError: when another version was written meanwhile.
    """
    began = time.monotonic()
    deadline = began + timeout

    def look(seconds: float) -> Progress:
        left = max(0.0, min(seconds, deadline - time.monotonic()))
        return prove_digest(target.cluster, target.registry, digest, only, timeout=left, on_progress=on_progress)

    progress = patiently(deadline, look, 0)
    synced = bool(progress.missing)
    if synced:
        if target.registry.relayed:
            _pass_relay(target, version, digest, deadline)
        _sync(target, installation, progress, deadline)
        while progress.missing and time.monotonic() < deadline:
            progress = patiently(deadline, look, LOOK_AT_VAULT_SECONDS)
            if progress.missing:
                patiently(deadline, _require_current, target, version)
                if not installation.hands_on:
                    _sync(target, installation, progress, deadline)
    return Delivered(
        version=version,
        digest=digest,
        # What was seen together: a namespace that joined since is not proved.
        namespaces=tuple(sorted(progress.wanted - progress.missing)),
        missing=_explained(target, digest, progress.missing),
        seconds=time.monotonic() - began,
        synced=synced,
    )


def compare_bytes(target: Target, delivered: Delivered) -> Delivered:
    """Read each Secret that is proved by its metadata, and leave out those that hold other bytes than were written."""

    def differs(namespace: str) -> bool:
        found = target.cluster.find(secret_path(namespace, target.registry.name)) or {}
        encoded = cast("dict[str, str]", found.get("data") or {}).get(PULL_SECRET_KEY, "")
        redaction.register(encoded)
        try:
            content = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return True
        redaction.register(content)
        return content_digest(content) != delivered.digest

    names = delivered.namespaces
    with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
        others = {name for name, other in zip(names, pool.map(differs, names), strict=True) if other}
    text = "its bytes are not those that were written, whatever its metadata says"
    return replace(
        delivered,
        namespaces=tuple(name for name in names if name not in others),
        missing={**delivered.missing, **dict.fromkeys(sorted(others), text)},
    )


def write_back(target: Target, version: int, timeout: float) -> tuple[int, str]:
    """Write the content before a version that did not arrive as a new version; return that with its digest.

    Args:
        target: what did not arrive, and where.
        timeout: seconds for which a Vault that is away is waited for.

    Raises:
        ConflictError: when another client wrote after that version; theirs is left alone.
        BadInputError: when there is no earlier version to go back to.
    """
    if target.vault is None:
        raise BadInputError(_TAKEN_BACK_IN_GIT)
    planned = patiently(time.monotonic() + timeout, history.plan, target.vault, target.config, target.registry)
    if planned.version != version:
        _require_current(target, version)
    return history.restore(target.vault, target.config, target.registry, planned), planned.digest


def roll_back(
    target: Target,
    planned: RollbackPlan,
    installation: Installation,
    timeout: float,
    on_progress: OnProgress | None = None,
) -> Delivered:
    """Write an earlier version of a credential as a new one, have it delivered, and record that where it arrived.

    Args:
        target: what is restored, and where; it has a Vault.
        planned: as `history.plan` gives it.
        installation: as `prepare` gives it.
        timeout: seconds to wait for the proof.
        on_progress: called whenever what is missing changes.

    Raises:
        ConflictError: when another client wrote since the plan was made, or while it was delivered.
    """
    if target.vault is None:
        raise BadInputError(_TAKEN_BACK_IN_GIT)
    version = history.restore(target.vault, target.config, target.registry, planned)
    found = deliver(target, installation, version, planned.digest, timeout, on_progress=on_progress)
    if not found.missing:
        finish(target, version)
    return found


def finish(target: Target, version: int) -> None:
    """Record that a version was rotated in to the end in this cluster, so that no later failure takes it back.

    Only where it was proved in every namespace: one that was proved in some may still fail in the others.
    """
    key = f"{_FINISHED_PREFIX}{target.config.cluster.name}"
    if target.vault and _records(target).get(key) != str(version):
        target.vault.patch_metadata(target.config.vault.mount, target.registry.path, {key: str(version)})


def is_finished(target: Target, version: int) -> bool:
    """Tell whether a rotation of that version ended well before, in this cluster or another one.

    Clusters may share a path, and each is rotated by itself: what has arrived in one is not for another to take back.
    """
    found = {value for key, value in _records(target).items() if key.startswith(_FINISHED_PREFIX)}
    return str(version) in found


def _records(target: Target) -> Mapping[str, str]:
    found = target.vault.read_metadata(target.config.vault.mount, target.registry.path) if target.vault else None
    return found.custom if found else {}


def explain(target: Target, digest: str, missing: Iterable[str]) -> dict[str, str]:
    """Return, for each namespace that is not proved to hold a content, why."""
    names = sorted(missing)
    if not names:
        return {}
    name = target.registry.name
    found = read_deliveries(target.cluster, name)
    relay = found.get(target.config.eso.namespace) if target.registry.relayed else None
    if relay and relay.external_secret and (problem := not_synced(relay.external_secret)):
        # What is not even in the one Secret that all others are made from is no fault of theirs.
        return dict.fromkeys(names, redaction.redact(f"its relay in {target.config.eso.namespace}: {problem}"))
    doubts = {item: found.get(item, Delivery(name, None, None)).unproved(digest) for item in names}
    return {item: redaction.redact(doubt or "it arrived when the time was over") for item, doubt in doubts.items()}


def _explained(target: Target, digest: str, missing: frozenset[str]) -> dict[str, str]:
    try:
        return explain(target, digest, missing)
    except PullSecretsError as error:
        # That they lack the content is known all the same.
        return dict.fromkeys(sorted(missing), redaction.redact(f"its ExternalSecret cannot be read: {error}"))


def _sync(target: Target, installation: Installation, progress: Progress, deadline: float) -> None:
    patiently(deadline, eso.force_sync, target.cluster, target.registry, installation, progress.missing)


def _require_current(target: Target, version: int) -> None:
    if target.vault is None:
        return
    found = target.vault.read_metadata(target.config.vault.mount, target.registry.path)
    current = found.current_version if found else 0
    if current != version:
        raise ConflictError(
            f"Vault path {target.config.vault.mount}/{target.registry.path}: version {current} was written while "
            f"version {version} was being delivered; find out who wrote it, then rotate again"
        )


def _pass_relay(target: Target, version: int, digest: str, deadline: float) -> None:
    """Refresh the one Secret in ESO's namespace that the tenants' copies are made from, before they are refreshed."""
    if not target.registry.sealed:
        patiently(deadline, eso.sync_relay, target.cluster, target.registry, target.config.eso.namespace)
    while patiently(deadline, _relayed_digest, target) != digest and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    patiently(deadline, _require_current, target, version)


def _relayed_digest(target: Target) -> str | None:
    path = f"/api/v1/namespaces/{target.config.eso.namespace}/secrets"
    items = target.cluster.items(path, by_name(target.registry.name), metadata_only=True)
    return next((annotations_of(item).get(CONTENT_DIGEST_ANNOTATION) for item in items), None)
