"""What was replaced before the grace period is destroyed, the current version never."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from pullsecrets.cli.app import app
from pullsecrets.config import parse
from pullsecrets.credential.vault import EntryMetadata, VersionState
from pullsecrets.delivery.prechecks import Target
from pullsecrets.delivery.retirement import destroy, retired
from pullsecrets.errors import BadInputError
from tests.components.program import REPOSITORY
from tests.unit.config.test_config import GOOD

NOW = datetime(2026, 6, 1, tzinfo=UTC)
CONFIG = parse(GOOD, "test")


def metadata(*ages: float, destroyed: tuple[int, ...] = ()) -> EntryMetadata:
    """Versions that were written so many hours ago, oldest first."""
    versions = tuple(
        VersionState(number, (NOW - timedelta(hours=age)).isoformat(), destroyed=number in destroyed)
        for number, age in enumerate(ages, start=1)
    )
    return EntryMetadata(len(ages), True, True, 10, {}, versions)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (metadata(), []),
        (metadata(100), []),
        # Two days old, and in use until an hour ago.
        (metadata(48, 1), []),
        (metadata(72, 48, 1), [1]),
        (metadata(72, 48, 24), [1, 2]),
        (metadata(72, 48, 24, destroyed=(1,)), [2]),
    ],
)
def test_what_was_replaced_before_the_grace_period_is_retired(found: EntryMetadata, expected: list[int]) -> None:
    assert [item.version for item in retired(found, timedelta(hours=24), NOW)] == expected


@given(st.lists(st.floats(0, 1000), min_size=1), st.floats(0, 1000))
def test_the_current_version_is_never_retired(ages: list[float], grace: float) -> None:
    found = metadata(*sorted(ages, reverse=True))
    old = {item.version for item in retired(found, timedelta(hours=grace), NOW)}
    assert found.current_version not in old


class Vault:
    """One path, and the versions that were destroyed."""

    def __init__(self, found: EntryMetadata) -> None:
        self.found = found
        self.destroyed: list[tuple[int, ...]] = []

    def read_metadata(self, mount: str, path: str) -> EntryMetadata:
        assert (mount, path) == ("secret", "registries/app")
        return self.found

    def destroy_versions(self, mount: str, path: str, versions: tuple[int, ...]) -> None:
        assert (mount, path) == ("secret", "registries/app")
        self.destroyed.append(versions)


@pytest.mark.parametrize(("ages", "calls"), [((72, 48, 1), [(1,)]), ((72, 1), [])])
def test_versions_are_destroyed_in_one_request_or_none(ages: tuple[float, ...], calls: list[Any]) -> None:
    vault = Vault(metadata(*ages))
    target = Target(CONFIG, CONFIG.registry("app"), cast("Any", None), cast("Any", vault))
    assert destroy(target, timedelta(hours=24), NOW) == (calls[0] if calls else ())
    assert vault.destroyed == calls


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (["--rollback-on-failure"], "not with --rollback-on-failure, which may need what it destroys"),
        (["--only", "apps-one"], "not with --only"),
        (["--grace", "soon"], "--grace: found 'soon'; allowed: a duration"),
    ],
)
def test_it_is_refused_before_anything_is_read_where_it_could_hurt(option: list[str], reason: str) -> None:
    arguments = ["rotate", "app-registry-pull", "--stack", "prod", "--directory", str(REPOSITORY), "--destroy-previous"]
    done = CliRunner().invoke(app, [*arguments, *option])
    assert isinstance(done.exception, BadInputError)
    assert reason in str(done.exception)
