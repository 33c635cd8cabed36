"""Rotation: makes what Vault holds arrive in every namespace, proves it, and takes it back when that fails."""

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pullsecrets import eso, redaction, rollback
from pullsecrets.config import Registry, StackConfig
from pullsecrets.delivery import OnProgress, selected_namespaces, wait_for_digest
from pullsecrets.errors import BadInputError, ConflictError
from pullsecrets.eso import FORCE_SYNC_ANNOTATION, GROUP, Installation
from pullsecrets.kube import KubernetesClient, condition
from pullsecrets.manifests import CONTENT_DIGEST_ANNOTATION
from pullsecrets.vault import VaultClient

LOOK_AT_VAULT_SECONDS = 15.0
"""How often the wait looks whether somebody else has written: then it would never end well."""

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Target:
    """A registry of a stack, with the cluster and the Vault it lives in; a sealed one has no Vault."""

    config: StackConfig
    registry: Registry
    cluster: KubernetesClient
    vault: VaultClient | None


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


def prepare(target: Target) -> Installation:
    """Check, before anything is written, that what is written would arrive; return the controller that will sync.

    Raises:
        BadInputError: when its fan-out is not there, or its refresh is off.
        PullSecretsError: when ESO does not run, or more than once.
    """
    eso.require_refreshing(target.cluster, target.registry)
    return eso.choose_installation(eso.find_installations(target.cluster))


def require_in_vault(registry: Registry) -> None:
    """Refuse a registry whose credential is not in Vault.

    Raises:
        BadInputError: naming the command that renews it.
    """
    if registry.sealed:
        raise BadInputError(
            f"registry {registry.name!r}: found source: sealedSecret, whose credential is not in Vault; "
            f"renew it with `pull-secrets seal {registry.name}`"
        )


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
        target: what is delivered, and where.
        installation: as `prepare` gives it.
        version: the version in Vault; 0 for what was sealed.
        digest: of its content.
        timeout: seconds.
        only: wait for these namespaces alone.
        on_progress: told whenever what is missing changes.

    Raises:
        ConflictError: when another version was written meanwhile.
    """
    began = time.monotonic()
    wait = partial(wait_for_digest, target.cluster, target.registry, digest, only, on_progress=on_progress)
    missing = wait(timeout=0)
    synced = bool(missing)
    if missing:
        deadline = began + timeout
        if target.registry.relayed:
            _pass_relay(target, version, digest, deadline)
        eso.force_sync(target.cluster, target.registry, installation, missing)
        while missing and (left := deadline - time.monotonic()) > 0:
            missing = wait(timeout=min(left, LOOK_AT_VAULT_SECONDS))
            if missing:
                _require_current(target, version)
                if not installation.hands_on:
                    eso.force_sync(target.cluster, target.registry, installation, missing)
    wanted = selected_namespaces(target.cluster, target.registry, only)
    return Delivered(
        version=version,
        digest=digest,
        namespaces=tuple(sorted(wanted - missing)),
        missing=explain(target, missing),
        seconds=time.monotonic() - began,
        synced=synced,
    )


def take_back(
    target: Target,
    installation: Installation,
    version: int,
    timeout: float,
    *,
    only: Collection[str] | None = None,
    on_progress: OnProgress | None = None,
) -> Delivered:
    """Write the content before a version that did not arrive as a new version, and prove that one.

    Raises:
        ConflictError: when somebody else wrote after that version; theirs is left alone.
        BadInputError: when there is no earlier version to go back to.
    """
    if target.vault is None:
        raise BadInputError("a sealed credential is taken back in git, where its file is kept, and by `pulumi up`")
    planned = rollback.plan(target.vault, target.config, target.registry)
    if planned.version != version:
        _require_current(target, version)
    restored = rollback.restore(target.vault, target.config, target.registry, planned)
    return deliver(target, installation, restored, planned.digest, timeout, only=only, on_progress=on_progress)


def finish(target: Target, version: int) -> None:
    """Record that a version was rotated in to the end in this cluster, so that no later failure takes it back."""
    if target.vault and not is_finished(target, version):
        facts = {_finished_key(target): str(version)}
        target.vault.patch_metadata(target.config.vault.mount, target.registry.path, facts)


def is_finished(target: Target, version: int) -> bool:
    """Tell whether a rotation of that version ended well in this cluster before."""
    found = target.vault.read_metadata(target.config.vault.mount, target.registry.path) if target.vault else None
    return found is not None and found.custom.get(_finished_key(target)) == str(version)


def _finished_key(target: Target) -> str:
    # Clusters may share a path, and each is rotated by itself.
    return f"rotated-in-{target.config.cluster.name}"


def explain(target: Target, missing: Iterable[str]) -> dict[str, str]:
    """Return, for each namespace that lacks the content, what its ExternalSecret says."""
    names = sorted(missing)
    if not names:
        return {}
    query = {"fieldSelector": f"metadata.name={target.registry.name}"}
    items = target.cluster.items(f"{GROUP}/externalsecrets", query)
    found = {item["metadata"]["namespace"]: item for item in items}
    relay = found.get(target.config.eso.namespace) if target.registry.relayed else None
    if relay and not _is_ready(relay):
        # What is not even in the one Secret that all others are made from is no fault of theirs.
        return dict.fromkeys(names, redaction.redact(f"its relay in {target.config.eso.namespace}: {_state(relay)}"))
    return {name: redaction.redact(_state(found.get(name))) for name in names}


def _state(external_secret: Mapping[str, Any] | None) -> str:
    if external_secret is None:
        return "no ExternalSecret: ESO has not fanned out to it"
    ready = condition(external_secret, "Ready")
    if ready is None:
        return "not reconciled yet"
    if not _is_ready(external_secret):
        return ready.get("message") or ready.get("reason") or "not Ready"
    return f"synced last at {external_secret['status'].get('refreshTime', 'an unknown time')}, with other content"


def _is_ready(external_secret: Mapping[str, Any]) -> bool:
    ready = condition(external_secret, "Ready")
    return ready is not None and ready["status"] == "True"


def _require_current(target: Target, version: int) -> None:
    if target.vault is None:
        return
    found = target.vault.read_metadata(target.config.vault.mount, target.registry.path)
    current = found.current_version if found else 0
    if current != version:
        raise ConflictError(
            f"Vault path {target.config.vault.mount}/{target.registry.path}: version {current} was written while "
            f"version {version} was being delivered; look at who wrote it, then rotate again"
        )


def _pass_relay(target: Target, version: int, digest: str, deadline: float) -> None:
    """Refresh the one Secret in ESO's namespace that the tenants' copies are made from, before they are refreshed."""
    namespace, name = target.config.eso.namespace, target.registry.name
    if not target.registry.sealed:
        change = {"metadata": {"annotations": {FORCE_SYNC_ANNOTATION: str(time.time_ns())}}}
        target.cluster.merge_patch(f"{GROUP}/namespaces/{namespace}/externalsecrets/{name}", change)
    while _relayed_digest(target) != digest and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    _require_current(target, version)


def _relayed_digest(target: Target) -> str | None:
    query = {"fieldSelector": f"metadata.name={target.registry.name}"}
    path = f"/api/v1/namespaces/{target.config.eso.namespace}/secrets"
    items = target.cluster.items(path, query, metadata_only=True)
    return next((item["metadata"].get("annotations", {}).get(CONTENT_DIGEST_ANNOTATION) for item in items), None)
