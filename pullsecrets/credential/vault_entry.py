"""Seeding: writes a checked pull credential to its Vault path and records what may be shown of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pullsecrets.config import Registry, StackConfig
from pullsecrets.credential.document import DockerConfig, require_hosts
from pullsecrets.credential.expiry import format_expiry
from pullsecrets.credential.vault import EntryMetadata, VaultClient
from pullsecrets.errors import BadInputError

OWNER_KEY = "owner"
HOSTS_KEY = "hosts"
SEEDED_HOSTS_KEY = "seeded-hosts"
"""The hosts that the credential has a login for; `hosts` is what the stack wants, which may grow later."""
DIGEST_KEY = "digest"
SEEDED_AT_KEY = "seeded-at"
EXPIRES_AT_KEY = "expires-at"
VERSION_KEY = "digest-version"
"""Of which version of the path the recorded digest speaks."""


@dataclass(frozen=True)
class SeedPlan:
    """What seeding would do. `version` is the current version that the write is guarded by."""

    path: str
    hosts: tuple[str, ...]
    users: tuple[str, ...]
    version: int
    stored_digest: str | None
    new_digest: str
    stored_expiry: str | None = None
    new_expiry: str | None = None

    @property
    def stored(self) -> bool:
        """Whether the stored credential is this one already."""
        return self.stored_digest == self.new_digest

    @property
    def unchanged(self) -> bool:
        """Whether there is nothing to write: neither the credential nor what is recorded of it differs."""
        return self.stored and self.stored_expiry == self.new_expiry

    @property
    def drops_expiry(self) -> bool:
        """Whether an expiry is recorded that would be taken away, because it was the old credential's."""
        return self.stored_expiry is not None and self.new_expiry is None


def plan(
    vault: VaultClient,
    config: StackConfig,
    registry: Registry,
    credential: DockerConfig,
    expires_at: datetime | None = None,
) -> SeedPlan:
    """Check the credential against its registry and compare it with what is stored; changes nothing.

    Args:
        vault: with a token that may read the path's metadata.
        expires_at: when the registry stops taking it, where that is known.

    Raises:
        BadInputError: when the credential's hosts are not the canonical ones, or the mount is not KV v2.
    """
    require_hosts(credential, registry.hosts, registry.rejected_hosts, registry.name)
    require_mount(vault, config)
    stored = vault.read_metadata(config.vault.mount, registry.path)
    return SeedPlan(
        path=f"{config.vault.mount}/{registry.path}",
        hosts=credential.hosts,
        users=tuple(sorted({login.username for login in credential.logins.values()})),
        version=stored.current_version if stored else 0,
        stored_digest=seeded_digest(stored),
        new_digest=credential.digest,
        stored_expiry=stored.custom.get(EXPIRES_AT_KEY) if stored else None,
        new_expiry=format_expiry(expires_at) if expires_at else None,
    )


def require_mount(vault: VaultClient, config: StackConfig) -> None:
    """Refuse a mount that is not KV v2: check-and-set and rollback need versions.

    Raises:
        BadInputError: naming what was found.
    """
    mount = config.vault.mount
    version = vault.mount_version(mount)
    if version is None:
        raise BadInputError(
            f"vault.mount: found no KV mount at {mount!r}; allowed: a KV v2 mount (`vault secrets list`)"
        )
    if version != "2":
        raise BadInputError(
            f"vault.mount: found a KV v{version} mount at {mount!r}; allowed: a KV v2 mount, because check-and-set and "
            f"rollback need versions (`vault kv enable-versioning {mount}` upgrades it)"
        )


def write(
    vault: VaultClient, config: StackConfig, registry: Registry, credential: DockerConfig, planned: SeedPlan
) -> int:
    """Write the credential with check-and-set and record digest and time; return the new version.

    The record names the version it speaks of. Killed between the two writes, the record is seen to be stale and
    running the command again completes it. Where only the expiry differs, no version is written.

    Raises:
        ConflictError: when another client wrote since the plan was made.
    """
    version = planned.version
    if not planned.stored:
        data = {registry.property: credential.to_json()}
        version = vault.write_with_cas(config.vault.mount, registry.path, data, version)
    record(vault, config, registry, credential.hosts, credential.digest, version, {EXPIRES_AT_KEY: planned.new_expiry})
    return version


def record(
    vault: VaultClient,
    config: StackConfig,
    registry: Registry,
    hosts: Iterable[str],
    digest: str,
    version: int,
    others: Mapping[str, str | None],
) -> None:
    """Record what is known of a version in the path's metadata, beside what others keep there.

    Owner and hosts are what the program declares too; they are there even when the path is seeded before the first
    `up`. An expiry that is not known is taken away: the one recorded was the old credential's.

    Args:
        hosts: those that the credential has a login for.
        others: further facts, such as when it expires.
    """
    facts: dict[str, str | None] = {
        OWNER_KEY: registry.owner,
        HOSTS_KEY: ",".join(registry.hosts),
        SEEDED_HOSTS_KEY: ",".join(hosts),
        DIGEST_KEY: digest,
        VERSION_KEY: str(version),
        SEEDED_AT_KEY: datetime.now(UTC).isoformat(timespec="seconds"),
        EXPIRES_AT_KEY: None,
        **others,
    }
    vault.patch_metadata(config.vault.mount, registry.path, facts)


def seeded_digest(metadata: EntryMetadata | None) -> str | None:
    """Return the digest recorded for the live version; None when there is none or it speaks of another version."""
    if metadata is None or not metadata.live:
        return None
    if metadata.custom.get(VERSION_KEY) != str(metadata.current_version):
        return None
    return metadata.custom.get(DIGEST_KEY)
