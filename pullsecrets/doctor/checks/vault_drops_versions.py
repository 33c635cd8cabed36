"""Vault will delete what is written to a registry's path after a time, or drops the credential before it at once.

`delete_version_after` on the path or the mount deletes each version that long after it was written: ESO then stops
syncing, long after whoever wrote it went home. With `max_versions: 1` there is nothing to roll back to. `pulumi up`
declares both on the path; the mount's are its owner's. Reads metadata, and the mount's settings where the token may.
"""

from collections.abc import Iterator

from pullsecrets.credential.retention import Retention, retention
from pullsecrets.credential.vault import EntryMetadata, MountSettings
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import entry_path, up_command
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.vault_entry import current
from pullsecrets.errors import PullSecretsError

NAME = "vault-drops-versions"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the registries whose path keeps what is written for a time only, or one version only."""
    for registry in snapshot.config.vault_registries:
        metadata = snapshot.metadata[registry.name]
        found = retention(metadata, _mount(snapshot))
        if metadata is None or not (found.deleted_after or not found.keeps_way_back):
            continue
        mount = snapshot.config.vault.mount
        on_mount = (
            (f"vault write {mount}/config delete_version_after=0s",) if "mount" in (found.deleted_after or "") else ()
        )
        yield Finding(
            check=NAME,
            severity=Severity.WARNING,
            symptom=f"The credential of {registry.name} syncs now and will be gone, or cannot be rolled back.",
            cause=_cause(found),
            evidence=tuple(_evidence(entry_path(snapshot, registry), found, metadata)),
            fix=(up_command(snapshot), *on_mount),
            prevention="Leave the path's settings to the stack, which declares maxVersions and no time to live.",
            registry=registry.name,
        )


def _mount(snapshot: Snapshot) -> MountSettings | None:
    """Return the mount's settings; None where there is no token that may read them."""

    def read() -> MountSettings | None:
        try:
            return snapshot.vault.mount_settings(snapshot.config.vault.mount)
        except PullSecretsError:
            return None

    return snapshot.once("vault/mount-settings", read)


def _cause(found: Retention) -> str:
    if found.deleted_after:
        return f"Vault deletes each version {found.deleted_after} after it was written."
    return "Vault keeps one version: a write drops the credential before it."


def _evidence(path: str, found: Retention, metadata: EntryMetadata) -> Iterator[str]:
    yield f"Vault {path}: delete_version_after {found.deleted_after or 'not set'}, versions kept: {found.versions}"
    version = current(metadata)
    if version and version.deleted:
        yield f"Vault metadata of {path}: version {version.version} is deleted at {version.deleted}"


CHECK = Check(NAME, "Vault keeps what was written", find)
