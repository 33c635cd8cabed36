"""Rollback: writes an old version of a credential, byte for byte, as a new one; no version is ever deleted.

The record beside the new version says which one it restores. So a rollback that was killed is finished by running it
again, instead of being rolled back itself.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pullsecrets.config import Registry, StackConfig
from pullsecrets.credential import document, vault_entry
from pullsecrets.credential.document import content_digest
from pullsecrets.credential.vault import EntryMetadata, VaultClient, VersionState
from pullsecrets.data import json_type
from pullsecrets.errors import BadInputError

RESTORED_FROM_KEY = "restored-from"
RESTORED_AS_KEY = "restored-as"
"""In which version the restored content stands; the record speaks of no other version."""


@dataclass(frozen=True)
class RollbackPlan:
    """What a rollback would do. `version` is the current version that the write is guarded by."""

    path: str
    versions: tuple[VersionState, ...]
    version: int
    source: int
    """The version whose content is wanted."""
    digest: str
    hosts: tuple[str, ...]
    users: tuple[str, ...]
    unchanged: bool
    """Whether the current version has that content already: an earlier run wrote it."""
    recorded: bool
    """Whether the record beside the current version says so."""
    digests: Mapping[int, str]
    """Of the versions that had to be read, and of the current one where the record tells it."""
    data: Mapping[str, Any] = field(repr=False)
    """The data of the version as it was written; holds the credential."""


def plan(vault: VaultClient, config: StackConfig, registry: Registry, to: int | None = None) -> RollbackPlan:
    """Choose the version to go back to and check that it can be used; changes nothing.

    Without `to` it is the newest earlier version that is live and differs from the current one. Where the current one
    is a restored version itself, it stays: the rollback that wrote it is only to be finished. To go back further, or
    forward again, takes `to`.

    Args:
        vault: Vault, as a user who may read the credential.
        to: the version that is wanted.

    Raises:
        BadInputError: when the mount keeps no versions, or the version is not there, not live, or no credential for
            the registry's canonical hosts.
    """
    vault_entry.require_mount(vault, config)
    history = _History(vault, config.vault.mount, registry)
    source = history.require_live(to) if to is not None else history.default()
    current = history.metadata.current_version
    # What the current version restores may have been dropped since: then the current version alone has the content.
    data = history.data(current if to is None and history.restored_from else source)
    text = _document(registry, source, data)
    credential = _credential(registry, source, text)
    unchanged = history.is_live(current) and history.data(current) == data
    return RollbackPlan(
        path=f"{config.vault.mount}/{registry.path}",
        versions=history.metadata.versions,
        version=current,
        source=source,
        digest=content_digest(text),
        hosts=credential.hosts,
        users=tuple(sorted({login.username for login in credential.logins.values()})),
        unchanged=unchanged,
        recorded=unchanged and history.digest == content_digest(text),
        digests=history.digests(),
        data=data,
    )


def restore(vault: VaultClient, config: StackConfig, registry: Registry, planned: RollbackPlan) -> int:
    """Write the old content as a new version with check-and-set, record it, and return the new version.

    Where an earlier run wrote it already, only what is missing in the record is added.

    Raises:
        ConflictError: when another client wrote since the plan was made; nothing was changed.
    """
    if planned.recorded:
        return planned.version
    version = planned.version
    if not planned.unchanged:
        version = vault.write_with_cas(config.vault.mount, registry.path, planned.data, planned.version)
    restored = {RESTORED_FROM_KEY: str(planned.source), RESTORED_AS_KEY: str(version)}
    # The expiry that is recorded was of the credential that is replaced; when the old one expires is not known.
    vault_entry.record(
        vault, config, registry, planned.hosts, planned.digest, version, restored if planned.source != version else {}
    )
    return version


class _History:
    """The versions of one path, their contents read when they are asked for and never shown."""

    def __init__(self, vault: VaultClient, mount: str, registry: Registry) -> None:
        self._vault = vault
        self._mount = mount
        self._registry = registry
        self._contents: dict[int, dict[str, Any]] = {}
        self.metadata = self._read_metadata()
        self._states = {state.version: state for state in self.metadata.versions}
        self.digest = vault_entry.seeded_digest(self.metadata)
        """The digest that the record tells of the current version."""
        self.restored_from = self._restored_from()
        """Which version the current one restores; None when it is no restored one."""

    def data(self, version: int) -> dict[str, Any]:
        """Return what was written as a version."""
        if version not in self._contents:
            self._contents[version] = self._vault.read_version(self._mount, self._registry.path, version)
        return self._contents[version]

    def digests(self) -> dict[int, str]:
        """Return the digests that are known."""
        texts = {version: data.get(self._registry.property) for version, data in self._contents.items()}
        known = {version: content_digest(text) for version, text in texts.items() if isinstance(text, str)}
        return {**known, **({self.metadata.current_version: self.digest} if self.digest else {})}

    def is_live(self, version: int) -> bool:
        """Tell whether a version's value can be had."""
        return version in self._states and self._states[version].state == "live"

    def require_live(self, version: int) -> int:
        """Return the version if its value can be had.

        Raises:
            BadInputError: saying what became of it.
        """
        state = self._states.get(version)
        where = f"Vault path {self._mount}/{self._registry.path}"
        if state is None:
            known = ", ".join(str(item) for item in self._states) or "none"
            raise BadInputError(
                f"--to: found {version}; {where} keeps versions {known} (older ones are dropped at max_versions)"
            )
        if state.state == "deleted":
            raise BadInputError(
                f"--to: found {version}; {where}: that version was deleted at {state.deleted}; bring it back first: "
                f"vault kv undelete -mount={self._mount} -versions={version} {self._registry.path}"
            )
        if state.state == "destroyed":
            live = ", ".join(str(item) for item in self._states if self.is_live(item)) or "none"
            raise BadInputError(
                f"--to: found {version}; {where}: that version is destroyed, its value is permanently gone; "
                f"live versions: {live}"
            )
        return version

    def default(self) -> int:
        """Return the version to go back to when none is named.

        Raises:
            BadInputError: when there is none.
        """
        current = self.metadata.current_version
        source = self.restored_from or next(self._different_before(current), None)
        if source is None:
            raise BadInputError(
                f"Vault path {self._mount}/{self._registry.path}: no earlier version is live and differs from version "
                f"{current}; seed the wanted credential with `pull-secrets seed`"
            )
        return source

    def _restored_from(self) -> int | None:
        current, custom = self.metadata.current_version, self.metadata.custom
        if not self.is_live(current):
            return None
        if custom.get(RESTORED_AS_KEY) == str(current):
            return int(custom[RESTORED_FROM_KEY])
        if self.digest is not None:
            return None
        # Killed between write and record: the current version repeats one from before the version that it replaced.
        replaced = next(self._different_before(current), 0)
        return next((item for item in self._live_before(replaced) if self.data(item) == self.data(current)), None)

    def _different_before(self, current: int) -> Iterator[int]:
        content = self.data(current) if self.is_live(current) else None
        return (item for item in self._live_before(current) if self.data(item) != content)

    def _live_before(self, version: int) -> Iterator[int]:
        return (item for item in sorted(self._states, reverse=True) if item < version and self.is_live(item))

    def _read_metadata(self) -> EntryMetadata:
        found = self._vault.read_metadata(self._mount, self._registry.path)
        if found is None or not found.versions:
            raise BadInputError(
                f"Vault path {self._mount}/{self._registry.path} was never written, so there is nothing to go back to; "
                f"run `pull-secrets seed {self._registry.name}`"
            )
        return found


def _document(registry: Registry, version: int, data: Mapping[str, Any]) -> str:
    text = data.get(registry.property)
    if not isinstance(text, str):
        found = "nothing" if text is None else json_type(text)
        raise BadInputError(
            f"version {version}: {registry.property}: found {found}; allowed: a dockerconfigjson as a string"
        )
    return text


def _credential(registry: Registry, version: int, text: str) -> document.DockerConfig:
    try:
        credential = document.parse(text)
        document.require_hosts(credential, registry.hosts, registry.rejected_hosts, registry.name)
    except BadInputError as error:
        raise BadInputError(f"version {version} cannot be restored: {error}; choose another with --to") from None
    return credential
