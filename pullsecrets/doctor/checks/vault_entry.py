"""What a registry's path in Vault holds, or sealed beside it: is there a credential, is it whole, and for how long?"""

import re
from collections.abc import Iterator
from datetime import datetime

from pullsecrets.config import Registry
from pullsecrets.coverage.report.summary import EXPIRY_NOTICE
from pullsecrets.credential.retention import Retention, retention
from pullsecrets.credential.sealed import EXPIRES_AT_ANNOTATION
from pullsecrets.credential.vault import EntryMetadata, MountSettings, VersionState
from pullsecrets.credential.vault_entry import EXPIRES_AT_KEY, SEEDED_HOSTS_KEY, seeded_digest
from pullsecrets.delivery.retirement import DEFAULT_GRACE, retired
from pullsecrets.doctor.model import Finding, Phase, Severity, check
from pullsecrets.doctor.platform import (
    NOT_SYNCED,
    again_command,
    entry_path,
    readiness,
    seed_command,
    up_command,
    warnings,
)
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import ago
from pullsecrets.durations import parse_duration
from pullsecrets.errors import PullSecretsError
from pullsecrets.text import counted


def current(metadata: EntryMetadata | None) -> VersionState | None:
    """Return the state of the current version; None when there is none."""
    versions = metadata.versions if metadata else ()
    return next((item for item in versions if metadata and item.version == metadata.current_version), None)


def _current_that_is(snapshot: Snapshot, state: str) -> Iterator[tuple[Registry, EntryMetadata, VersionState]]:
    """Yield the registries whose path's current version is in a state."""
    for registry in snapshot.config.vault_registries:
        metadata = snapshot.metadata[registry.name]
        version = current(metadata)
        if metadata and version and version.state == state:
            yield registry, metadata, version


def last_live(metadata: EntryMetadata) -> str:
    """Return which version could be gone back to, as evidence."""
    live = [item.version for item in metadata.versions if item.state == "live"]
    return f"last live version: {max(live)}" if live else "no version is live any more"


@check("Each registry's Vault path holds a credential", explains=NOT_SYNCED, phase=Phase.ALWAYS)
def vault_path_unpopulated(snapshot: Snapshot) -> Iterator[Finding]:
    """A registry's Vault path was never written, so ExternalSecrets have nothing to resolve.

    Metadata alone may be there: the stack declares it before the credential is seeded. Reads metadata only.
    """
    for registry in snapshot.config.vault_registries:
        metadata = snapshot.metadata[registry.name]
        if metadata is not None and metadata.current_version:
            continue
        path = entry_path(snapshot, registry)
        found = "no such path" if metadata is None else "metadata and no version"
        yield Finding(
            severity=Severity.CLUSTER,
            symptom=f"ExternalSecrets {registry.name} fail: the secret does not exist.",
            cause=f"No credential was ever seeded into Vault path {path}.",
            evidence=(f"Vault metadata of {path}: {found}",),
            fix=(seed_command(snapshot, registry), again_command(snapshot)),
            prevention="Seed before the first `pulumi up`; gate: fail makes the program insist on it.",
            registry=registry.name,
        )


_NO_SUCH_KEY = re.compile(r"cannot find secret data for key: \"?([^\s\"]+)")


@check("Each registry's Vault path has the key that is asked for", explains=NOT_SYNCED)
def vault_property_missing(snapshot: Snapshot) -> Iterator[Finding]:
    """The Vault path holds a version whose value has not the key that the registry's ExternalSecrets ask for.

    A `vault kv put` by hand with another key, or with the document's fields instead of the document, does it. The value is
    not read: ESO's own events name the missing key, and the metadata tells that `pull-secrets seed` did not write it.
    """
    for registry in snapshot.config.vault_registries:
        metadata = snapshot.metadata[registry.name]
        # What `seed` wrote has the key; what ESO said before that is past.
        if metadata is None or not metadata.live or seeded_digest(metadata):
            continue
        told = missing_key(snapshot, registry)
        if told is None:
            continue
        path = entry_path(snapshot, registry)
        yield Finding(
            severity=Severity.CLUSTER,
            symptom=f"ExternalSecrets {registry.name} fail: could not get secret data from provider.",
            cause=f"Version {metadata.current_version} of Vault path {path} has no key {registry.property!r}.",
            evidence=(told, f"Vault metadata of {path}: version {metadata.current_version} was not written by seed"),
            fix=(seed_command(snapshot, registry), again_command(snapshot)),
            prevention="Write credentials with `pull-secrets seed` or `rotate` only: they keep key and shape.",
            registry=registry.name,
        )


def missing_key(snapshot: Snapshot, registry: Registry) -> str | None:
    """Return ESO's own words for the missing key, where an ExternalSecret that fails now has them."""
    events = warnings(snapshot, "ExternalSecret", "UpdateFailed")
    for namespace, item in sorted(snapshot.external_secrets[registry.name].items()):
        words = [readiness(item)[1], *events.get((namespace, registry.name), ())[:1]]
        found = next((text for text in words if _NO_SUCH_KEY.search(text)), None)
        if found and readiness(item)[0] == "False":
            return f"ExternalSecret {namespace}/{registry.name}: {found}"
    return None


@check("The current version of each Vault path is not deleted", explains=NOT_SYNCED)
def vault_version_deleted(snapshot: Snapshot) -> Iterator[Finding]:
    """The current version of a registry's Vault path was soft-deleted: its value is kept and can be restored.

    `vault kv delete` does it, and so does `delete_version_after`. ESO keeps the Secrets that it delivered. Reads metadata
    only.
    """
    for registry, metadata, version in _current_that_is(snapshot, "deleted"):
        path = entry_path(snapshot, registry)
        mount = snapshot.config.vault.mount
        yield Finding(
            severity=Severity.CLUSTER,
            symptom=f"ExternalSecrets {registry.name} fail: the secret does not exist.",
            cause=f"Version {version.version} of Vault path {path}, the current one, was deleted and can be undeleted.",
            evidence=(
                f"Vault metadata of {path}: version {version.version} deleted {version.deleted}",
                last_live(metadata),
            ),
            fix=(
                f"vault kv undelete -mount={mount} -versions={version.version} {registry.path}",
                f"pull-secrets rollback {registry.name} --stack {snapshot.stack}   # or go back to an older version",
                again_command(snapshot),
            ),
            prevention="Grant no one `delete` on the path; to withdraw a credential, rotate it.",
            registry=registry.name,
        )


@check("The current version of each Vault path is not destroyed", explains=NOT_SYNCED)
def vault_version_destroyed(snapshot: Snapshot) -> Iterator[Finding]:
    """The current version of a registry's Vault path was destroyed: its value is permanently gone.

    An older version may still be live, and `pull-secrets rollback` writes it again; otherwise seed again. Reads metadata
    only.
    """
    for registry, metadata, version in _current_that_is(snapshot, "destroyed"):
        path = entry_path(snapshot, registry)
        older = any(item.state == "live" for item in metadata.versions)
        back = f"pull-secrets rollback {registry.name} --stack {snapshot.stack}   # writes the last live version again"
        yield Finding(
            severity=Severity.CLUSTER,
            symptom=f"ExternalSecrets {registry.name} fail: the secret does not exist.",
            cause=f"Version {version.version} of Vault path {path}, the current one, was destroyed; its value is gone.",
            evidence=(f"Vault metadata of {path}: version {version.version} destroyed", last_live(metadata)),
            fix=(*((back,) if older else ()), seed_command(snapshot, registry), again_command(snapshot)),
            prevention="Grant no one `destroy` on the path, and keep several versions (maxVersions).",
            registry=registry.name,
        )


@check("Vault keeps what was written")
def vault_drops_versions(snapshot: Snapshot) -> Iterator[Finding]:
    """Vault will delete what is written to a registry's path after a time, or drops the credential before it at once.

    `delete_version_after` on the path or the mount deletes each version that long after it was written: ESO then stops
    syncing, long after the write. With `max_versions: 1` there is nothing to roll back to. `pulumi up`
    declares both on the path; the mount's are its owner's. Reads metadata, and the mount's settings where the token may.
    """
    for registry in snapshot.config.vault_registries:
        metadata = snapshot.metadata[registry.name]
        found = retention(metadata, _mount_settings(snapshot))
        if metadata is None or not (found.deleted_after or not found.keeps_way_back):
            continue
        mount = snapshot.config.vault.mount
        on_mount = (
            (f"vault write {mount}/config delete_version_after=0s",) if "mount" in (found.deleted_after or "") else ()
        )
        yield Finding(
            severity=Severity.WARNING,
            symptom=f"The credential of {registry.name} syncs now and will be gone, or cannot be rolled back.",
            cause=_drops_cause(found),
            evidence=tuple(_drops_evidence(entry_path(snapshot, registry), found, metadata)),
            fix=(up_command(snapshot), *on_mount),
            prevention="Leave the path's settings to the stack, which declares maxVersions and no time to live.",
            registry=registry.name,
        )


def _mount_settings(snapshot: Snapshot) -> MountSettings | None:
    """Return the mount's settings; None where there is no token that may read them."""

    def read() -> MountSettings | None:
        try:
            return snapshot.vault.mount_settings(snapshot.config.vault.mount)
        except PullSecretsError:
            return None

    return snapshot.once("vault/mount-settings", read)


def _drops_cause(found: Retention) -> str:
    if found.deleted_after:
        return f"Vault deletes each version {found.deleted_after} after it was written."
    return "Vault keeps one version: a write drops the credential before it."


def _drops_evidence(path: str, found: Retention, metadata: EntryMetadata) -> Iterator[str]:
    yield f"Vault {path}: delete_version_after {found.deleted_after or 'not set'}, versions kept: {found.versions}"
    version = current(metadata)
    if version and version.deleted:
        yield f"Vault metadata of {path}: version {version.version} is deleted at {version.deleted}"


@check("Older versions of a credential cannot be read any more")
def older_versions_readable(snapshot: Snapshot) -> Iterator[Finding]:
    """Older versions of a registry's Vault path can still be read, and whether their logins were revoked is unknown.

    A policy grants a path with all its versions: a tenant's own ExternalSecret reads an older one by `remoteRef.version`.
    Revoke replaced logins at the registry, or have `rotate --destroy-previous` destroy what was replaced a day ago.
    """
    grace = parse_duration(DEFAULT_GRACE)
    for registry in snapshot.config.vault_registries:
        metadata = snapshot.metadata[registry.name]
        old = retired(metadata, grace, snapshot.now) if metadata else ()
        if not old:
            continue
        rotate = f"pull-secrets rotate {registry.name} --stack {snapshot.stack}"
        numbers = ", ".join(str(item.version) for item in old)
        yield Finding(
            severity=Severity.WARNING,
            symptom=f"Anyone who may read the credential of {registry.name} can read the ones before it too.",
            cause=f"{counted(len(old), 'older version')} hold logins that were not revoked, as far as Vault knows.",
            evidence=(f"Vault metadata of {entry_path(snapshot, registry)}: not destroyed: versions {numbers}",),
            fix=(
                f"# revoke the replaced logins at {', '.join(registry.hosts)}; then, with the one that is in use:",
                f"{rotate} --from-file dockerconfig.json --destroy-previous",
                again_command(snapshot),
            ),
            prevention="Rotate with --destroy-previous, and revoke a login at the registry when it was replaced.",
            registry=registry.name,
        )


@check("The seeded credential has a login for each canonical host", explains=("pod-cannot-pull",))
def credential_lacks_host(snapshot: Snapshot) -> Iterator[Finding]:
    """The seeded credential has no login for a host that the stack names as canonical.

    `seed` refuses such a credential, so the host was added to the stack afterwards. Pods that pull from it find no login.
    """
    for registry in snapshot.config.vault_registries:
        metadata = snapshot.metadata[registry.name]
        recorded = metadata.custom.get(SEEDED_HOSTS_KEY, "").split(",") if metadata and metadata.live else []
        lacking = [host for host in registry.hosts if host not in recorded]
        if not any(recorded) or not lacking:
            continue
        path = entry_path(snapshot, registry)
        yield Finding(
            severity=Severity.CLUSTER,
            symptom=f"Pods cannot pull from {', '.join(lacking)} in any namespace.",
            cause="The stack names a canonical host that the seeded credential has no login for.",
            evidence=(
                f"Vault {path}: metadata records logins for {', '.join(recorded)}",
                f"stack {snapshot.stack}: hosts of {registry.name}: {', '.join(registry.hosts)}",
            ),
            fix=(f"pull-secrets rotate {registry.name} --stack {snapshot.stack} --from-file dockerconfig.json",),
            prevention="After adding a host to a registry, seed a credential that has a login for it.",
            registry=registry.name,
        )


@check("No credential expires within two weeks", explains=("pod-cannot-pull",))
def credential_expiring(snapshot: Snapshot) -> Iterator[Finding]:
    """A registry's credential expires soon, or has expired, by the time that was given when it was seeded.

    `pull-secrets seed` and `seal` record that time, in the path's metadata or beside the sealed Secret. Kubernetes and ESO
    do not notice an expired credential: Secrets stay as they are, and each new pull is refused by the registry.
    """
    for registry in snapshot.config.registries:
        expiry = snapshot.credential(registry).expires_at
        severity = judge_expiry(expiry, snapshot.now)
        if expiry and severity:
            yield _expiring(snapshot, registry, expiry, severity)


def judge_expiry(expiry: datetime | None, now: datetime) -> Severity | None:
    """Return how urgent an expiry is; None without one or when it is far away."""
    if expiry is None or expiry - now > EXPIRY_NOTICE:
        return None
    return Severity.CLUSTER if expiry <= now else Severity.WARNING


def _expiring(snapshot: Snapshot, registry: Registry, expiry: datetime, severity: Severity) -> Finding:
    command, recorded = _renewal(snapshot, registry)
    when = f"{expiry:%Y-%m-%d %H:%M} UTC"
    expired = severity == Severity.CLUSTER
    what = f"expired {ago(snapshot.now - expiry)} ago" if expired else f"expires in {ago(expiry - snapshot.now)}"
    return Finding(
        severity=severity,
        symptom=(
            f"New Pods cannot pull from {', '.join(registry.hosts)}: unauthorized."
            if expired
            else f"Nothing yet; from {when} on new Pods cannot pull from {', '.join(registry.hosts)}."
        ),
        cause=f"The credential of registry {registry.name!r} {what} ({when}).",
        evidence=(f"{recorded} {expiry.isoformat()}",),
        fix=(command, again_command(snapshot)),
        prevention="Rotate on a schedule shorter than the credential's life, and alert on its expiry.",
        registry=registry.name,
    )


def _renewal(snapshot: Snapshot, registry: Registry) -> tuple[str, str]:
    """Return the command that renews a credential, and where its expiry is recorded."""
    options = f"{registry.name} --stack {snapshot.stack} --from-file new-dockerconfig.json"
    if registry.sealed:
        secret = f"Secret {snapshot.config.eso.namespace}/{registry.name}"
        return f"pull-secrets seal {options}", f"{secret}: annotation {EXPIRES_AT_ANNOTATION}"
    path = entry_path(snapshot, registry)
    return f"pull-secrets rotate {options}", f"Vault metadata of {path}: {EXPIRES_AT_KEY}"
