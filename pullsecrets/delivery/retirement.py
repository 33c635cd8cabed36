"""Older versions of a credential: which of them are out of use, and destroying those permanently.

A Vault policy grants a path with all its versions, so anyone who may read the current login can read the ones before it
(`remoteRef.version` of an ExternalSecret). Until the registry revokes them, those are logins too.
"""

from datetime import datetime, timedelta
from typing import Final

from pullsecrets.credential.vault import EntryMetadata, VersionState
from pullsecrets.delivery.prechecks import Target
from pullsecrets.errors import BadInputError

DEFAULT_GRACE: Final = "24h"
"""How long a version stays after the next was written: somebody may have to go back, or a cluster is behind."""


def retired(metadata: EntryMetadata, grace: timedelta, now: datetime) -> tuple[VersionState, ...]:
    """Return the versions that can still be read, or undeleted, and were replaced longer ago than the grace period."""
    pairs = zip(metadata.versions, metadata.versions[1:], strict=False)
    return tuple(old for old, new in pairs if not old.destroyed and now - new.created_at >= grace)


def destroy(target: Target, grace: timedelta, now: datetime) -> tuple[int, ...]:
    """Destroy the versions of a registry's path that are out of use, and return their numbers.

    The current version is never among them. Destroyed is for good: `rollback` cannot go back to one of them.

    Raises:
        BadInputError: when the credential is sealed, so that there are no versions.
        VaultDeniedError: when the token lacks `update` on `<mount>/destroy/<path>`.
    """
    if target.vault is None:
        raise BadInputError(
            "a sealed credential has no versions in Vault; the old files are in git, and they are sealed"
        )
    mount, path = target.config.vault.mount, target.registry.path
    metadata = target.vault.read_metadata(mount, path)
    versions = tuple(item.version for item in retired(metadata, grace, now)) if metadata else ()
    if versions:
        target.vault.destroy_versions(mount, path, versions)
    return versions
