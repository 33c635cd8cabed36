"""Binding appends, keeps everything that others put there, and takes only its own entries out again."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets.errors import ConflictError
from pullsecrets.kube.client import KubernetesApiError, KubernetesClient
from pullsecrets.kube.objects import entries_of
from pullsecrets.tenancy.binding import append_operations, bind, bind_appearing, removal_operations, unbind

NAMES = st.lists(st.sampled_from(["default-dockercfg-abc", "builder-token", "app", "web", "other"]), unique=True)


def account(entries: list[str] | None, version: str = "7") -> dict[str, Any]:
    found: dict[str, Any] = {"metadata": {"name": "default", "resourceVersion": version}}
    return found if entries is None else {**found, "imagePullSecrets": [{"name": name} for name in entries]}


def applied(document: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
    """What the API server makes of a JSON Patch on `imagePullSecrets`."""
    entries = list(document.get("imagePullSecrets") or [])
    present = "imagePullSecrets" in document
    for operation in operations:
        match operation["op"], operation["path"].split("/")[1:]:
            case "test", ["metadata", "resourceVersion"]:
                assert operation["value"] == document["metadata"]["resourceVersion"]
            case "add", ["imagePullSecrets"]:
                entries, present = list(operation["value"]), True
            case "add", ["imagePullSecrets", "-"]:
                assert present, "the server refuses to append to a list that is not there"
                entries.append(operation["value"])
            case "remove", ["imagePullSecrets", index]:
                del entries[int(index)]
            case other:
                raise AssertionError(other)
    return {**document, "imagePullSecrets": entries} if present else document


@given(NAMES | st.none(), NAMES)
def test_appending_keeps_every_entry_in_its_place(existing: list[str] | None, wanted: list[str]) -> None:
    before = account(existing)
    after = entries_of(applied(before, append_operations(before, wanted)))
    assert after[: len(existing or [])] == (existing or [])
    assert set(wanted) <= set(after)
    assert len(set(after)) == len(after)


@given(NAMES | st.none(), NAMES)
def test_appending_twice_changes_nothing_more(existing: list[str] | None, wanted: list[str]) -> None:
    before = account(existing)
    assert append_operations(applied(before, append_operations(before, wanted)), wanted) == []


@given(NAMES | st.none(), NAMES)
def test_removing_takes_our_entries_and_keeps_the_rest_in_order(existing: list[str] | None, ours: list[str]) -> None:
    before = account(existing)
    after = applied(before, removal_operations(before, ours))
    assert entries_of(after) == [name for name in existing or [] if name not in ours]


@given(NAMES | st.none(), NAMES)
def test_every_patch_is_guarded_by_the_version_it_was_made_for(existing: list[str] | None, names: list[str]) -> None:
    before = account(existing, version="42")
    for operations in (append_operations(before, names), removal_operations(before, names)):
        if operations:
            assert operations[0] == {"op": "test", "path": "/metadata/resourceVersion", "value": "42"}


class OneServiceAccount:
    """A namespace with one ServiceAccount that somebody else may write to at any time."""

    def __init__(self, entries: list[str], interruptions: int = 0) -> None:
        self.live = account(entries, "1")
        self.interruptions = interruptions
        self.reverts = False

    def items(self, _path: str) -> list[dict[str, Any]]:
        return [self.live]

    def find(self, path: str) -> dict[str, Any] | None:
        return self.live if path.endswith("/default") else None

    def json_patch(self, path: str, operations: list[dict[str, Any]]) -> None:
        if self.interruptions:
            self.interruptions -= 1
            others = [*entries_of(self.live), f"written-by-others-{self.interruptions}"]
            self.live = account(others, str(int(self.live["metadata"]["resourceVersion"]) + 1))
            raise KubernetesApiError("PATCH", path, 422, "Invalid", "testing path /metadata/resourceVersion failed")
        if not self.reverts:
            self.live = applied(self.live, operations)

    def as_client(self) -> KubernetesClient:
        return self  # type: ignore[return-value]


def test_a_write_in_between_is_kept() -> None:
    cluster = OneServiceAccount(["default-dockercfg-abc"], interruptions=3)
    state = bind(cluster.as_client(), "auth-dev", ["default"], ["app"])
    assert state.bound == ("default",)
    assert entries_of(cluster.live) == [
        "default-dockercfg-abc",
        "written-by-others-2",
        "written-by-others-1",
        "written-by-others-0",
        "app",
    ]


def test_endless_contention_is_a_conflict() -> None:
    with pytest.raises(ConflictError, match="others changed it 10 times in a row"):
        bind(OneServiceAccount([], interruptions=99).as_client(), "auth-dev", ["default"], ["app"])


def test_an_entry_that_vanishes_again_is_reported() -> None:
    cluster = OneServiceAccount(["default-dockercfg-abc"])
    cluster.reverts = True
    with pytest.raises(ConflictError, match="lost the entry again"):
        bind(cluster.as_client(), "auth-dev", ["default"], ["app"])


def test_a_service_account_that_does_not_exist_yet_is_reported_as_missing() -> None:
    state = bind(OneServiceAccount([]).as_client(), "auth-dev", ["default", "builder"], ["app"])
    assert (state.bound, state.missing) == (("default",), ("builder",))


class Appearing(OneServiceAccount):
    """The same, seen by a watch: what happened so far, and each change by somebody who takes our entry off again."""

    def __init__(self, *events: tuple[str, str, list[str]]) -> None:
        super().__init__([])
        self.events = events

    def watch(self, _path: str, _query: dict[str, str], _seconds: int) -> Iterator[dict[str, Any]]:
        for number, (kind, name, entries) in enumerate(self.events):
            self.live = account(entries, str(number))
            self.live["metadata"] |= {"namespace": "auth-dev", "name": name}
            yield {"type": kind, "object": self.live}


@pytest.mark.parametrize(
    ("event", "bound"),
    [
        (("ADDED", "default", ["default-dockercfg-abc"]), ["default-dockercfg-abc", "app"]),
        (("MODIFIED", "default", []), ["app"]),
        (("ADDED", "default", ["app"]), None),
        (("DELETED", "default", []), None),
        (("ADDED", "somebody-elses", []), None),
    ],
)
def test_what_appears_without_an_entry_gets_it_and_nothing_else_is_touched(
    event: tuple[str, str, list[str]], bound: list[str] | None
) -> None:
    cluster = Appearing(event)
    found = list(bind_appearing(cluster.as_client(), {("auth-dev", "default"): ["app"]}))
    assert found == (["auth-dev/default"] if bound else [])
    assert entries_of(cluster.live) == (bound or event[2])


def test_a_watch_does_not_fight_for_ever() -> None:
    cluster = Appearing(*[("MODIFIED", "default", [])] * 99)
    with pytest.raises(ConflictError, match="auth-dev/default lost the entry 11 times within 240 s"):
        list(bind_appearing(cluster.as_client(), {("auth-dev", "default"): ["app"]}))


def test_unbinding_a_service_account_that_is_gone_does_nothing() -> None:
    cluster = OneServiceAccount(["app"])
    unbind(cluster.as_client(), "auth-dev", ["builder"], ["app"])
    assert entries_of(cluster.live) == ["app"]
