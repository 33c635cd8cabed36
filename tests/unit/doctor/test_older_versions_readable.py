"""Versions that were replaced a day ago and can still be read are a warning, per registry."""

from datetime import timedelta

import pytest

from pullsecrets.credential.vault import EntryMetadata, VersionState
from pullsecrets.doctor.checks.vault_entry import older_versions_readable
from pullsecrets.doctor.model import Severity
from pullsecrets.doctor.snapshot import Snapshot
from tests.unit.cluster import FakeCluster
from tests.unit.doctor.tenants import NOW, stack_config


def versions(*ages: int, destroyed: bool = False) -> EntryMetadata:
    states = [
        VersionState(number, (NOW - timedelta(hours=age)).isoformat(), destroyed=destroyed)
        for number, age in enumerate(ages, start=1)
    ]
    return EntryMetadata(len(ages), True, True, 10, {}, tuple(states))


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        (versions(100, 50, 1), "not destroyed: versions 1"),
        (versions(100, 75, 50), "not destroyed: versions 1, 2"),
        (versions(100, 1), ""),
        (versions(100, 75, 50, destroyed=True), ""),
        (None, ""),
    ],
)
def test_what_can_still_be_read_is_named(metadata: EntryMetadata | None, told: str) -> None:
    config = stack_config()
    snapshot = Snapshot(config, "test", FakeCluster(), now=NOW)
    snapshot.once("metadata", lambda: dict.fromkeys((item.name for item in config.registries), metadata))
    found = list(older_versions_readable.find(snapshot))
    assert [told in finding.evidence[0] for finding in found] == ([True] * len(config.registries) if told else [])
    assert all(finding.severity == Severity.WARNING for finding in found)
    assert all("--destroy-previous" in finding.fix[1] for finding in found)
