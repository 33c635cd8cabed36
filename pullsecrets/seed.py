"""Seeding: puts a checked pull credential into its Vault path and records what can be told without showing it."""

from dataclasses import dataclass
from datetime import UTC, datetime

from pullsecrets.config import Registry, StackConfig
from pullsecrets.dockerconfig import DockerConfig, require_hosts
from pullsecrets.errors import BadInputError
from pullsecrets.vault import EntryMetadata, VaultClient

DIGEST_KEY = "digest"
SEEDED_AT_KEY = "seeded-at"
VERSION_KEY = "digest-version"


@dataclass(frozen=True)
class SeedPlan:
    """What seeding would do. `version` is the current version that the write is guarded by."""

    path: str
    hosts: tuple[str, ...]
    users: tuple[str, ...]
    version: int
    stored_digest: str | None
    new_digest: str

    @property
    def unchanged(self) -> bool:
        """Whether the stored credential is this one already."""
        return self.stored_digest == self.new_digest


def plan(vault: VaultClient, config: StackConfig, registry: Registry, credential: DockerConfig) -> SeedPlan:
    """Check the credential against its registry and compare it with what is stored; changes nothing.

    Raises:
        BadInputError: when the credential's hosts are not the canonical ones, or the mount is no KV v2 mount.
    """
    require_hosts(credential, registry.hosts, registry.rejected_hosts, registry.name)
    version = vault.mount_version(config.vault.mount)
    if version != "2":
        found = "no KV mount" if version is None else f"a KV v{version} mount"
        raise BadInputError(
            f"vault.mount: found {found} at {config.vault.mount!r}; allowed: a KV v2 mount, because a write guarded "
            "by check-and-set and a way back need versions"
        )
    stored = vault.read_metadata(config.vault.mount, registry.path)
    return SeedPlan(
        path=f"{config.vault.mount}/{registry.path}",
        hosts=credential.hosts,
        users=tuple(sorted({login.username for login in credential.logins.values()})),
        version=stored.current_version if stored else 0,
        stored_digest=seeded_digest(stored),
        new_digest=credential.digest,
    )


def write(
    vault: VaultClient, config: StackConfig, registry: Registry, credential: DockerConfig, planned: SeedPlan
) -> int:
    """Write the credential with check-and-set and record digest and time; return the new version.

    The record names the version it speaks of. Killed between the two writes, the record is seen to be stale and
    running the command again completes it.

    Raises:
        ConflictError: when somebody else wrote since the plan was made.
    """
    data = {registry.property: credential.to_json()}
    version = vault.write_with_cas(config.vault.mount, registry.path, data, planned.version)
    record(vault, config, registry, credential, version)
    return version


def record(vault: VaultClient, config: StackConfig, registry: Registry, credential: DockerConfig, version: int) -> None:
    """Record digest, time and version in the path's metadata, beside what the program declares there."""
    facts = {
        DIGEST_KEY: credential.digest,
        VERSION_KEY: str(version),
        SEEDED_AT_KEY: datetime.now(UTC).isoformat(timespec="seconds"),
    }
    vault.patch_metadata(config.vault.mount, registry.path, facts)


def seeded_digest(metadata: EntryMetadata | None) -> str | None:
    """Return the digest recorded for the live version; None when there is none or it speaks of another version."""
    if metadata is None or not metadata.live:
        return None
    if metadata.custom.get(VERSION_KEY) != str(metadata.current_version):
        return None
    return metadata.custom.get(DIGEST_KEY)
