"""What Vault will do later to what is written to a path: delete it after a time, drop it for a newer version.

Of `delete_version_after` the shorter of mount and path counts, of `max_versions` the larger
(https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2; `deletionTime` and `AddVersion` in
vault-plugin-secrets-kv).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pullsecrets.config import Registry, StackConfig
from pullsecrets.credential.vault import NEVER, EntryMetadata, MountSettings, VaultClient

_DEFAULT_VERSIONS = 10
_DISABLED = "-1s"
"""How a mount says that no path's `delete_version_after` counts."""


@dataclass(frozen=True)
class Retention:
    """How long a path keeps what is written to it."""

    deleted_after: str | None
    """Go duration after which a new version is deleted, with where it is set; None when it stays."""
    versions: int
    """How many versions are kept, the new one among them."""

    @property
    def keeps_way_back(self) -> bool:
        """Whether the version before is still there once a new one is written."""
        return self.versions > 1


def retention(metadata: EntryMetadata | None, mount: MountSettings | None) -> Retention:
    """Judge a path by its own settings and, as far as they could be read, its mount's."""
    on_path = metadata.delete_version_after if metadata else NEVER
    on_mount = mount.delete_version_after if mount else NEVER
    settings = {"path": on_path, "mount": on_mount}
    found = [f"{value} ({place})" for place, value in settings.items() if value not in {NEVER, _DISABLED}]
    kept = max(metadata.max_versions if metadata else 0, mount.max_versions if mount else 0)
    return Retention(
        deleted_after=" and ".join(found) if found and on_mount != _DISABLED else None,
        versions=kept or _DEFAULT_VERSIONS,
    )


def read_retention(vault: VaultClient, config: StackConfig, registry: Registry) -> Retention:
    """Read how long a registry's path keeps what is written to it."""
    mount = config.vault.mount
    return retention(vault.read_metadata(mount, registry.path), vault.mount_settings(mount))


def problems(found: Retention, path: str) -> Iterator[str]:
    """Say what of a path's retention will hurt later."""
    if found.deleted_after:
        yield (
            f"Vault path {path}: delete_version_after {found.deleted_after}: Vault deletes what is written then, and "
            "ESO stops syncing it; set it to 0s (`pulumi up` does on the path; for the mount `vault write MOUNT/config "
            "delete_version_after=0s`)"
        )
    if not found.keeps_way_back:
        yield (
            f"Vault path {path}: max_versions {found.versions}: the write drops the credential before it, and there is "
            "no version to roll back to; run `pulumi up`, which keeps maxVersions of the stack"
        )
