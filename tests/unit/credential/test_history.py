"""Rollback: which version it chooses, what it refuses, and that no second run ever undoes the first."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets.config import StackConfig
from pullsecrets.credential import history
from pullsecrets.credential.document import content_digest
from pullsecrets.credential.vault import NEVER, EntryMetadata, MountSettings, VaultClient, VersionState
from pullsecrets.credential.vault_entry import DIGEST_KEY, EXPIRES_AT_KEY, SEEDED_HOSTS_KEY, VERSION_KEY
from pullsecrets.errors import BadInputError, ConflictError
from tests.unit.kube.test_eso import REGISTRY

CONFIG = StackConfig.model_validate(
    {
        "cluster": {"name": "dev"},
        "vault": {"address": "https://vault.example.com", "mount": "kv", "egress": {"cidrs": ["10.0.0.0/8"]}},
        "registries": [REGISTRY.model_dump(by_alias=True)],
    }
)


def credential(user: str, host: str = "app.example.com") -> str:
    # With white space of its own: what is restored must be the text and not its meaning.
    return json.dumps({"auths": {host: {"username": user, "password": f"password-of-{user}"}}}, indent=2)


class Versions(VaultClient):
    """One path of a KV v2 mount, kept in memory."""

    def __init__(self, *users: str) -> None:
        self.data: dict[int, dict[str, Any]] = {}
        self.states: dict[int, VersionState] = {}
        self.custom: dict[str, str] = {}
        self.kind: str | None = "2"
        self.on_mount: MountSettings | None = None
        self.versions_kept = 10
        self.deleted_after = NEVER
        self.seconds_left: int | None = None
        for user in users:
            self.write(credential(user))
            self.record()

    def write(self, document: Any) -> int:
        version = len(self.states) + 1
        self.data[version] = {"dockerconfigjson": document, "note": "kept"}
        self.states[version] = VersionState(version, "2026-01-01T00:00:00Z")
        return version

    def record(self) -> None:
        version = len(self.states)
        digest = content_digest(self.data[version]["dockerconfigjson"])
        self.custom |= {DIGEST_KEY: digest, VERSION_KEY: str(version), EXPIRES_AT_KEY: "2027-01-01T00:00:00Z"}

    def mount_version(self, mount: str) -> str | None:
        assert mount == "kv"
        return self.kind

    def read_metadata(self, mount: str, path: str) -> EntryMetadata | None:
        assert (mount, path) == ("kv", REGISTRY.path)
        states = tuple(self.states.values())
        current = states[-1].version if states else 0
        live = bool(states) and states[-1].state == "live"
        kept, after = self.versions_kept, self.deleted_after
        return EntryMetadata(current, live, True, kept, self.custom, states, after) if states else None

    def mount_settings(self, mount: str) -> MountSettings | None:
        assert mount == "kv"
        return self.on_mount

    def token_seconds(self) -> int | None:
        return self.seconds_left

    def read_version(self, mount: str, path: str, version: int) -> dict[str, Any]:
        assert (mount, path, self.states[version].state) == ("kv", REGISTRY.path, "live")
        return self.data[version]

    def write_with_cas(self, mount: str, path: str, data: Mapping[str, Any], version: int) -> int:
        assert (mount, path) == ("kv", REGISTRY.path)
        if version != len(self.states):
            raise ConflictError("another write came in")
        new = self.write(None)
        self.data[new] = dict(data)
        return new

    def destroy_versions(self, mount: str, path: str, versions: Sequence[int]) -> None:
        assert (mount, path) == ("kv", REGISTRY.path)
        self.states |= {version: replace(self.states[version], destroyed=True) for version in versions}

    def patch_metadata(
        self, mount: str, path: str, custom: Mapping[str, str | None], settings: Mapping[str, Any] | None = None
    ) -> None:
        assert (mount, path, settings) == ("kv", REGISTRY.path, None)
        merged = {**self.custom, **custom}
        self.custom = {key: value for key, value in merged.items() if value is not None}

    def run(self, to: int | None = None) -> tuple[history.RollbackPlan, int]:
        planned = history.plan(self, CONFIG, REGISTRY, to)
        return planned, history.restore(self, CONFIG, REGISTRY, planned)


def test_the_newest_earlier_version_that_differs_is_written_byte_for_byte() -> None:
    vault = Versions("old", "same", "same")
    vault.data[3] = vault.data[2]
    vault.custom[SEEDED_HOSTS_KEY] = "elsewhere.example.com"
    planned, version = vault.run()
    assert (planned.source, version, planned.users) == (1, 4, ("old",))
    assert vault.data[4] == vault.data[1]
    assert vault.custom[DIGEST_KEY] == content_digest(credential("old"))
    assert (vault.custom["restored-from"], vault.custom["restored-as"]) == ("1", "4")
    # Expiry and hosts were those of the credential that was replaced.
    assert EXPIRES_AT_KEY not in vault.custom
    assert vault.custom[SEEDED_HOSTS_KEY] == "app.example.com"


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=6), st.booleans(), st.integers(1, 4))
def test_however_often_it_runs_it_restores_once(users: list[str], killed: bool, runs: int) -> None:
    vault = Versions(*users)
    different = [user for user in users if user != users[-1]]
    if not different:
        with pytest.raises(BadInputError, match="no earlier version is live and differs"):
            vault.run()
        return
    first = history.plan(vault, CONFIG, REGISTRY)
    if killed:
        # After the write and before the record.
        vault.write_with_cas("kv", REGISTRY.path, first.data, first.version)
    for _ in range(runs):
        planned, version = vault.run()
        assert version == len(users) + 1 == len(vault.states)
        assert vault.data[version] == vault.data[first.source]
        assert vault.data[planned.source] == vault.data[first.source]
    assert vault.custom["restored-as"] == str(len(users) + 1)


def test_a_rotation_after_a_rollback_can_be_rolled_back_again() -> None:
    vault = Versions("old", "bad")
    vault.run()
    vault.write(credential("worse"))
    vault.record()
    planned, version = vault.run()
    assert (planned.source, version) == (3, 5)


def test_what_a_restored_version_restores_may_be_dropped() -> None:
    vault = Versions("old", "bad")
    vault.run()
    del vault.states[1], vault.data[1]
    planned = history.plan(vault, CONFIG, REGISTRY)
    assert (planned.unchanged, planned.recorded, planned.users) == (True, True, ("old",))


def test_a_version_can_be_named() -> None:
    vault = Versions("first", "second", "third")
    assert vault.run(1)[1] == 4
    assert vault.run(1)[1] == 4
    assert vault.run(2)[1] == 5
    assert vault.data[5] == vault.data[2]


def test_a_version_that_cannot_be_had_is_refused_with_what_became_of_it() -> None:
    vault = Versions("first", "second", "third", "fourth")
    vault.states[1] = replace(vault.states[1], destroyed=True)
    vault.states[2] = replace(vault.states[2], deleted="2026-02-02T00:00:00.123456789Z")
    vault.states[3] = replace(vault.states[3], deleted="2999-01-01T00:00:00Z")
    with pytest.raises(BadInputError, match="version is destroyed, its value is permanently gone; live versions: 3, 4"):
        history.plan(vault, CONFIG, REGISTRY, 1)
    with pytest.raises(BadInputError, match=r"deleted at 2026-02-02.*vault kv undelete -mount=kv -versions=2"):
        history.plan(vault, CONFIG, REGISTRY, 2)
    with pytest.raises(BadInputError, match=r"found 9; .* keeps versions 1, 2, 3, 4"):
        history.plan(vault, CONFIG, REGISTRY, 9)
    # It is to be deleted, in some centuries.
    assert history.plan(vault, CONFIG, REGISTRY, 3).source == 3


def test_a_deleted_current_version_is_replaced() -> None:
    vault = Versions("old", "deleted")
    vault.states[2] = replace(vault.states[2], deleted="2026-02-02T00:00:00Z")
    planned, version = vault.run()
    assert (planned.source, version) == (1, 3)


@pytest.mark.parametrize(
    ("document", "cause"),
    [
        (credential("bot", "other.example.com"), "version 1 cannot be restored: .* found 'other.example.com'"),
        ("{", "version 1 cannot be restored: dockerconfigjson: not JSON"),
        ({"auths": {}}, "version 1: dockerconfigjson: found an object; allowed: a dockerconfigjson as a string"),
    ],
)
def test_what_is_no_credential_of_the_registry_is_not_restored(document: Any, cause: str) -> None:
    vault = Versions()
    vault.write(document)
    vault.write(credential("new"))
    vault.record()
    with pytest.raises(BadInputError, match=cause):
        vault.run()
    assert len(vault.states) == 2


def test_somebody_elses_write_is_a_conflict() -> None:
    vault = Versions("old", "bad")
    planned = history.plan(vault, CONFIG, REGISTRY)
    vault.write(credential("theirs"))
    with pytest.raises(ConflictError):
        history.restore(vault, CONFIG, REGISTRY, planned)
    assert "restored-from" not in vault.custom


@pytest.mark.parametrize(("kind", "found"), [("1", "a KV v1 mount"), (None, "no KV mount")])
def test_a_mount_without_versions_is_refused(kind: str | None, found: str) -> None:
    vault = Versions("old", "bad")
    vault.kind = kind
    with pytest.raises(BadInputError, match=f"vault.mount: found {found}"):
        vault.run()


def test_a_path_that_was_never_written_is_refused() -> None:
    with pytest.raises(BadInputError, match="was never written"):
        Versions().run()


def test_the_plan_does_not_show_the_credential() -> None:
    planned = history.plan(Versions("old", "bad"), CONFIG, REGISTRY)
    assert "password-of" not in repr(planned)
