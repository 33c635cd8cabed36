"""What seeding plans and writes, and what it refuses."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from pullsecrets.config import parse
from pullsecrets.credential import vault_entry
from pullsecrets.credential.document import DockerConfig, DockerConfigError
from pullsecrets.credential.sources import from_login
from pullsecrets.credential.vault import EntryMetadata, VaultClient, VaultDeniedError
from pullsecrets.errors import BadInputError
from pullsecrets.tenancy import preflight
from tests.unit.config.test_config import GOOD

EXPIRY = datetime(2030, 1, 1, tzinfo=UTC)
HOST = "registry.example.com"


class Kv(VaultClient):
    """Vault's KV API in memory; `requests` notes what was written where."""

    def __init__(self, mount_version: str | None) -> None:
        super().__init__("https://vault.example.com:8200", token="for-nothing")
        self.found = mount_version
        self.entries: dict[str, dict[str, Any]] = {}
        self.written: list[str] = []

    def mount_version(self, mount: str) -> str | None:  # noqa: ARG002
        return self.found

    def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str] | None = None,  # noqa: ARG002
        absent_ok: bool = False,  # noqa: ARG002
    ) -> dict[str, Any] | None:
        if method == "GET":
            return {"data": self.entries[path]} if path in self.entries else None
        self.written.append(path)
        self.entries[path] = dict(body or {})
        return {}


CONFIG = parse(GOOD, "test")


def credential() -> DockerConfig:
    return from_login("bot", "one-password", [HOST])


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, "found no KV mount at 'secret'"),
        ("1", "found a KV v1 mount at 'secret'; allowed: a KV v2 mount, .*`vault kv enable-versioning secret`"),
    ],
)
def test_a_mount_without_versions_is_refused(found: str | None, expected: str) -> None:
    with pytest.raises(BadInputError, match=expected):
        vault_entry.plan(Kv(found), CONFIG, CONFIG.registries[0], credential())


def test_the_program_refuses_a_mount_without_versions_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInputError, match="allowed: a KV v2 mount"):
        preflight.require_kv(CONFIG, Kv("1"))
    denied = Kv("1")

    def deny(_: str) -> None:
        raise VaultDeniedError("permission denied")

    monkeypatch.setattr(denied, "mount_version", deny)
    preflight.require_kv(CONFIG, denied)


def test_a_host_of_another_registry_is_refused_before_vault_is_asked() -> None:
    with pytest.raises(DockerConfigError, match=r"found 'old\.example\.com', a name that images do not use"):
        vault_entry.plan(Kv(None), CONFIG, CONFIG.registries[0], from_login("bot", "p", ["old.example.com"]))


@pytest.mark.parametrize(
    ("stored", "new", "unchanged", "drops"),
    [
        (None, None, True, False),
        ("2030-01-01T00:00:00Z", EXPIRY, True, False),
        ("2029-01-01T00:00:00Z", EXPIRY, False, False),
        (None, EXPIRY, False, False),
        ("2030-01-01T00:00:00Z", None, False, True),
    ],
)
def test_an_expiry_is_part_of_what_is_recorded(
    monkeypatch: pytest.MonkeyPatch, stored: str | None, new: datetime | None, unchanged: bool, drops: bool
) -> None:
    vault = Kv("2")
    custom = {"digest": credential().digest, "digest-version": "3", **({"expires-at": stored} if stored else {})}
    monkeypatch.setattr(vault, "read_metadata", lambda *_: EntryMetadata(3, True, True, 10, custom))
    planned = vault_entry.plan(vault, CONFIG, CONFIG.registries[0], credential(), new)
    assert planned.stored
    assert (planned.unchanged, planned.drops_expiry) == (unchanged, drops)
    assert vault_entry.write(vault, CONFIG, CONFIG.registries[0], credential(), planned) == 3
    assert vault.written == ["secret/metadata/registries/app"], "no version is written for an expiry"
