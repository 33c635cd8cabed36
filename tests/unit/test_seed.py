"""What seeding plans and writes, on mounts with versions and without."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from pullsecrets import preflight, seed
from pullsecrets.config import StackConfig, parse
from pullsecrets.dockerconfig import DockerConfig, DockerConfigError
from pullsecrets.errors import BadInputError, PullSecretsError
from pullsecrets.sources import from_login
from pullsecrets.vault import EntryMetadata, VaultClient, VaultDeniedError
from tests.unit.test_config import changed

EXPIRY = datetime(2030, 1, 1, tzinfo=UTC)
HOST = "registry.example.com"


class Kv(VaultClient):
    """Vault's KV API in memory; `requests` notes what was written where."""

    def __init__(self, kv_version: int, mount_version: str | None) -> None:
        super().__init__("https://vault.example.com:8200", token="for-nothing", kv_version=kv_version)
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


def stack(kv_version: int) -> StackConfig:
    return parse(changed("vault.kvVersion", kv_version), "test", {})


def credential() -> DockerConfig:
    return from_login("bot", "one-password", [HOST])


@pytest.mark.parametrize(
    ("declared", "found", "expected"),
    [
        (2, None, "found no KV mount at 'secret'"),
        (2, "1", "found a KV v1 mount at 'secret'; allowed: a KV v2 mount, .*; or vault.kvVersion: 1"),
        (1, "2", "vault.kvVersion: found 1, and 'secret' is a KV v2 mount; set 2"),
    ],
)
def test_a_mount_of_another_version_is_refused(declared: int, found: str | None, expected: str) -> None:
    config = stack(declared)
    with pytest.raises(BadInputError, match=expected):
        seed.plan(Kv(declared, found), config, config.registries[0], credential())


def test_the_program_refuses_a_mount_of_another_version_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInputError, match=r"allowed: a KV v2 mount, .*; or vault\.kvVersion: 1"):
        preflight._require_kv(stack(2), Kv(2, "1"))
    denied = Kv(2, "1")

    def deny(_: str) -> None:
        raise VaultDeniedError("permission denied")

    monkeypatch.setattr(denied, "mount_version", deny)
    preflight._require_kv(stack(2), denied)


def test_a_host_of_another_registry_is_refused_before_vault_is_asked() -> None:
    config = stack(2)
    with pytest.raises(DockerConfigError, match=r"found 'old\.example\.com', a name that images do not use"):
        seed.plan(Kv(2, None), config, config.registries[0], from_login("bot", "p", ["old.example.com"]))


def test_kv_v1_keeps_the_record_beside_the_credential() -> None:
    vault, config = Kv(1, "1"), stack(1)
    registry = config.registries[0]
    planned = seed.plan(vault, config, registry, credential(), EXPIRY)
    assert (planned.version, planned.stored_digest, planned.guarded) == (0, None, False)
    assert seed.write(vault, config, registry, credential(), planned) == 1
    assert vault.written == ["secret/registries/app", "secret/registries/app/record"]
    assert vault.entries["secret/registries/app"] == {"dockerconfigjson": credential().to_json()}
    record = vault.entries["secret/registries/app/record"]
    assert "one-password" not in str(record)
    assert credential().logins[HOST].auth not in str(record)
    assert record | {"seeded-at": ""} == {
        "owner": "platform",
        "hosts": HOST,
        "seeded-hosts": HOST,
        "digest": credential().digest,
        "digest-version": "1",
        "seeded-at": "",
        "expires-at": "2030-01-01T00:00:00Z",
    }
    found = vault.read_metadata("secret", registry.path)
    assert seed.seeded_digest(found) == credential().digest, "delivery is proved against the record"
    assert seed.plan(vault, config, registry, credential(), EXPIRY).unchanged


def test_on_kv_v1_a_record_without_a_seed_proves_nothing() -> None:
    vault, config = Kv(1, "1"), stack(1)
    registry = config.registries[0]
    vault.patch_metadata("secret", registry.path, {"note": "of somebody else"})
    found = vault.read_metadata("secret", registry.path)
    assert found is not None
    assert not found.live
    assert seed.seeded_digest(found) is None
    seed.record(vault, config, registry, credential(), 1)
    assert vault.entries["secret/registries/app/record"]["note"] == "of somebody else"


def test_on_kv_v1_nothing_is_ever_written_below_data() -> None:
    vault = Kv(1, "1")
    for call in (
        lambda: vault.write_with_cas("secret", "registries/app", {"a": "b"}, 0),
        lambda: vault.read_version("secret", "registries/app", 1),
    ):
        with pytest.raises(
            PullSecretsError, match="Vault mount secret: KV v1 keeps no versions; seed the old credential"
        ):
            call()
    assert not vault.written


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
    vault, config = Kv(2, "2"), stack(2)
    custom = {"digest": credential().digest, "digest-version": "3", **({"expires-at": stored} if stored else {})}
    monkeypatch.setattr(vault, "read_metadata", lambda *_: EntryMetadata(3, True, True, 10, custom))
    planned = seed.plan(vault, config, config.registries[0], credential(), new)
    assert planned.stored
    assert (planned.unchanged, planned.drops_expiry) == (unchanged, drops)
    assert seed.write(vault, config, config.registries[0], credential(), planned) == 3
    assert vault.written == ["secret/metadata/registries/app"], "no version is written for an expiry"
