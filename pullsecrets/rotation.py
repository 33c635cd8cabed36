"""Rotation: makes what Vault holds arrive in every namespace, proves it, and takes it back when that fails."""

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from pullsecrets import eso, redaction, rollback
from pullsecrets.config import Registry, StackConfig
from pullsecrets.delivery import OnProgress, Progress, label_selector, prove_digest, selected_namespaces
from pullsecrets.errors import BadInputError, ConflictError, PullSecretsError
from pullsecrets.eso import FORCE_SYNC_ANNOTATION, Installation, external_secret_path
from pullsecrets.kube import KubernetesClient
from pullsecrets.manifests import CONTENT_DIGEST_ANNOTATION
from pullsecrets.ownership import Delivery, not_synced, read_deliveries
from pullsecrets.patience import patiently
from pullsecrets.vault import VaultClient

LOOK_AT_VAULT_SECONDS = 15.0
"""How often the wait looks whether somebody else has written: then it would never end well."""

_POLL_SECONDS = 0.5
_FINISHED_PREFIX = "rotated-in-"


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


def prepare(target: Target, only: Collection[str] | None = None) -> Installation:
    """Check, before anything is written, that what is written would arrive; return the controller that will sync.

    Args:
        target: what is to be delivered, and where.
        only: the namespaces that are to be proved; None for all.

    Raises:
        BadInputError: when its fan-out is not there, its refresh is off, or there is no namespace to prove it in.
        PullSecretsError: when ESO does not run, or more than once.
    """
    eso.require_refreshing(target.cluster, target.registry)
    _require_selected(target, only)
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
    deadline = time.monotonic() + timeout
    planned = patiently(deadline, rollback.plan, target.vault, target.config, target.registry)
    if planned.version != version:
        _require_current(target, version)
    restored = rollback.restore(target.vault, target.config, target.registry, planned)
    return deliver(target, installation, restored, planned.digest, timeout, only=only, on_progress=on_progress)


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


def _require_selected(target: Target, only: Collection[str] | None) -> None:
    """Refuse to begin where the proof would be one of nothing.

    Raises:
        BadInputError: when a wanted namespace does not carry the label, or none does.
    """
    label = label_selector(target.registry)
    labelled = selected_namespaces(target.cluster, target.registry)
    unknown = sorted(set(only or ()) - labelled)
    if unknown:
        raise BadInputError(
            f"--only: found {', '.join(unknown)}; allowed: namespaces that carry {label} and are not being deleted "
            f"(`kubectl get namespaces --selector {label}`)"
        )
    if not labelled:
        alone = "" if target.registry.sealed else ", or use `pull-secrets seed` to write the credential alone"
        raise BadInputError(
            f"registry {target.registry.name!r}: no namespace carries {label}, so there is none to prove delivery in; "
            f"label the namespaces (`pulumi up` does where the stack declares them){alone}"
        )


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
            f"version {version} was being delivered; look at who wrote it, then rotate again"
        )


def _pass_relay(target: Target, version: int, digest: str, deadline: float) -> None:
    """Refresh the one Secret in ESO's namespace that the tenants' copies are made from, before they are refreshed."""
    namespace, name = target.config.eso.namespace, target.registry.name
    if not target.registry.sealed:
        change = {"metadata": {"annotations": {FORCE_SYNC_ANNOTATION: str(time.time_ns())}}}
        patiently(deadline, target.cluster.merge_patch, external_secret_path(namespace, name), change)
    while patiently(deadline, _relayed_digest, target) != digest and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    patiently(deadline, _require_current, target, version)


def _relayed_digest(target: Target) -> str | None:
    query = {"fieldSelector": f"metadata.name={target.registry.name}"}
    path = f"/api/v1/namespaces/{target.config.eso.namespace}/secrets"
    items = target.cluster.items(path, query, metadata_only=True)
    return next((item["metadata"].get("annotations", {}).get(CONTENT_DIGEST_ANNOTATION) for item in items), None)
