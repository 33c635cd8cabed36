"""Binding appends, keeps everything that others put there, and takes only its own entries out again."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets.errors import BadInputError, ConflictError, PullSecretsError
from pullsecrets.kube.eso import external_secret_path
from pullsecrets.kube.marks import FINALIZER_PREFIX
from pullsecrets.kube.objects import entries_of
from pullsecrets.tenancy import binding
from pullsecrets.tenancy.binding import (
    append_operations,
    await_delivery,
    bind,
    bind_appearing,
    bind_existing,
    release_abandoned,
    removal_operations,
    unbind,
)
from tests.unit import delivered
from tests.unit.cluster import FakeCluster

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


WHERE = "/api/v1/namespaces/auth-dev/serviceaccounts"
DEFAULT = f"{WHERE}/default"
PLACE = "/api/v1/namespaces/auth-dev"
SOURCE = external_secret_path("auth-dev", "app")
FANOUT = "/apis/external-secrets.io/v1/clusterexternalsecrets/app"
FINALIZER = f"{FINALIZER_PREFIX}app"


def cluster_with(entries: list[str]) -> FakeCluster:
    """A namespace with one ServiceAccount."""
    return FakeCluster((DEFAULT, account(entries, "1")))


def bound(cluster: FakeCluster) -> list[str]:
    return entries_of(cluster.objects[DEFAULT])


def interrupted(cluster: FakeCluster, times: int) -> FakeCluster:
    """Somebody else writes to the ServiceAccount between our read and our write, so many times."""

    def write(_method: str, path: str) -> None:
        nonlocal times
        if times:
            times -= 1
            live = cluster.objects[path]
            version = str(int(live["metadata"]["resourceVersion"]) + 1)
            cluster.objects[path] = account([*entries_of(live), f"written-by-others-{times}"], version)

    cluster.before_write = write
    return cluster


def test_a_write_in_between_is_kept() -> None:
    cluster = interrupted(cluster_with(["default-dockercfg-abc"]), 3)
    state = bind(cluster, "auth-dev", ["default"], ["app"])
    assert (state.bound, state.unbound, state.missing) == (("default",), (), ())
    others = [f"written-by-others-{number}" for number in (2, 1, 0)]
    assert bound(cluster) == ["default-dockercfg-abc", *others, "app"]


def test_endless_contention_is_a_conflict() -> None:
    with pytest.raises(ConflictError, match="others changed it 10 times in a row"):
        bind(interrupted(cluster_with([]), 99), "auth-dev", ["default"], ["app"])


def test_what_is_bound_already_is_not_written() -> None:
    cluster = cluster_with(["app"])
    assert bind(cluster, "auth-dev", ["default"], ["app"]).bound == ("default",)
    assert cluster.sent == []


@pytest.mark.parametrize(
    ("fields", "who"),
    [
        ([], "a writer that the API server did not record"),
        (
            [{"manager": "argocd", "fieldsV1": {"f:imagePullSecrets": {}}, "time": "2026-01-01T00:00:00Z"}],
            "argocd at .*",
        ),
    ],
)
def test_an_entry_that_vanishes_again_is_reported_with_who_rewrote_the_list(fields: list[Any], who: str) -> None:
    found = account(["default-dockercfg-abc"])
    found["metadata"]["managedFields"] = fields
    cluster = FakeCluster((DEFAULT, found))
    cluster.after_write = lambda *_: cluster.objects.update({DEFAULT: found})
    with pytest.raises(ConflictError, match=rf"default in namespace 'auth-dev' lost the entry again .*{who} rewrites"):
        bind(cluster, "auth-dev", ["default"], ["app"])


def test_a_service_account_that_does_not_exist_yet_is_reported_as_missing() -> None:
    state = bind(cluster_with([]), "auth-dev", ["default", "builder"], ["app"])
    assert (state.bound, state.missing) == (("default",), ("builder",))


def test_the_default_service_account_is_waited_for_and_no_other() -> None:
    cluster = FakeCluster()
    cluster.coming = [(f"{WHERE}/other", named("other", [])), (DEFAULT, account([]))]
    assert bind(cluster, "auth-dev", ["default"], ["app"]).bound == ("default",)
    assert bound(cluster) == ["app"]
    assert bind(FakeCluster(), "auth-dev", ["builder"], ["app"]).missing == ("builder",)


def test_a_default_service_account_that_never_comes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "ACCOUNT_SECONDS", 0)
    with pytest.raises(
        PullSecretsError,
        match="'default' did not appear in namespace 'auth-dev' within 0 s; does kube-controller-manager run, and",
    ):
        bind(FakeCluster(), "auth-dev", ["default"], ["app"])


def named(name: str, entries: list[str]) -> dict[str, Any]:
    found = account(entries)
    found["metadata"] |= {"namespace": "auth-dev", "name": name}
    return found


@pytest.mark.parametrize(
    ("name", "entries", "after"),
    [
        ("default", ["default-dockercfg-abc"], ["default-dockercfg-abc", "app"]),
        ("default", [], ["app"]),
        ("default", ["app"], None),
        ("default", None, None),
        ("somebody-elses", [], None),
    ],
)
def test_what_appears_without_an_entry_gets_it_and_nothing_else_is_touched(
    name: str, entries: list[str] | None, after: list[str] | None
) -> None:
    cluster = FakeCluster()
    cluster.coming = [(f"{WHERE}/{name}", None if entries is None else named(name, entries))]
    if entries is None:
        cluster.objects[f"{WHERE}/{name}"] = named(name, ["app"])
    found = list(bind_appearing(cluster, {("auth-dev", "default"): ["app"]}))
    assert found == (["auth-dev/default"] if after else [])
    if entries is not None:
        assert entries_of(cluster.objects[f"{WHERE}/{name}"]) == (after or entries)


def test_a_watch_does_not_fight_for_ever() -> None:
    cluster = FakeCluster()
    cluster.coming = [(DEFAULT, named("default", [])) for _ in range(99)]
    with pytest.raises(ConflictError, match="auth-dev/default lost the entry 11 times within 240 s: somebody rewrites"):
        list(bind_appearing(cluster, {("auth-dev", "default"): ["app"]}))


def test_those_that_exist_are_bound_once() -> None:
    cluster = FakeCluster((DEFAULT, named("default", [])), (f"{WHERE}/builder", named("builder", [])))
    wanted = {("auth-dev", "default"): ["app"], ("elsewhere", "builder"): ["app"]}
    assert [*bind_existing(cluster, wanted), *bind_existing(cluster, wanted)] == ["auth-dev/default"]
    assert cluster.sent == [("PATCH", DEFAULT)]


def test_unbinding_a_service_account_that_is_gone_does_nothing() -> None:
    cluster = cluster_with(["app", "web"])
    unbind(cluster, "auth-dev", ["builder"], ["app"])
    assert bound(cluster) == ["app", "web"]
    unbind(cluster, "auth-dev", ["builder", "default"], ["app"])
    assert bound(cluster) == ["web"]


def source(status: str = "True", kind: str = "ClusterExternalSecret", name: str = "app") -> dict[str, Any]:
    """An ExternalSecret, as ESO or somebody else made it."""
    found = delivered.external_secret("auth-dev", name, status)
    found["metadata"] |= {"resourceVersion": "1", "ownerReferences": [delivered.owner(kind, "app")]}
    return found


class TestDelivery:
    def test_what_is_ready_or_becomes_so_is_delivered(self) -> None:
        cluster = FakeCluster((SOURCE, source()))
        await_delivery(cluster, "auth-dev", ["app"])
        cluster = FakeCluster((SOURCE, source("False")))
        cluster.coming = [(external_secret_path("auth-dev", "web"), source(name="web")), (SOURCE, source())]
        await_delivery(cluster, "auth-dev", ["app"])
        assert cluster.coming == []

    def test_what_never_is_stays_unbound(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PULL_SECRETS_DELIVERY_TIMEOUT", "0s")
        with pytest.raises(PullSecretsError, match=r"'app' in namespace 'auth-dev' is not Ready after 0 s.*pulumi up"):
            await_delivery(FakeCluster((SOURCE, source("False"))), "auth-dev", ["app"])

    def test_a_timeout_that_is_no_duration_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PULL_SECRETS_DELIVERY_TIMEOUT", "soon")
        expected = "PULL_SECRETS_DELIVERY_TIMEOUT: found 'soon'; allowed: a duration such as 1h, 30m or 1h30m"
        with pytest.raises(BadInputError, match=re.escape(expected)):
            await_delivery(FakeCluster((SOURCE, source())), "auth-dev", ["app"])


class TestFinalizers:
    """ESO leaves its finalizer on a namespace that lost the label."""

    def cluster(self, *further: tuple[str, dict[str, Any]], **labels: str) -> FakeCluster:
        metadata = {"name": "auth-dev", "labels": labels, "finalizers": ["theirs", FINALIZER], "resourceVersion": "1"}
        return FakeCluster((PLACE, {"metadata": metadata}), *further)

    def left(self, cluster: FakeCluster, registry: str = "app") -> list[str]:
        release_abandoned(cluster, "auth-dev", [registry])
        return cluster.objects[PLACE]["metadata"]["finalizers"]

    def test_it_goes_and_others_stay(self) -> None:
        assert self.left(self.cluster()) == ["theirs"]
        assert self.left(self.cluster(), "web") == ["theirs", FINALIZER]

    def test_it_stays_while_eso_selects_the_namespace(self) -> None:
        fanout = {"spec": {"namespaceSelectors": [{"matchLabels": {"a": "x"}}, {"matchLabels": {"b": "y"}}]}}
        assert self.left(self.cluster((FANOUT, fanout), b="y")) == ["theirs", FINALIZER]
        assert self.left(self.cluster((FANOUT, fanout), b="x")) == ["theirs"]

    def test_a_namespace_that_is_gone_has_none(self) -> None:
        cluster = FakeCluster()
        release_abandoned(cluster, "auth-dev", ["app"])
        assert cluster.sent == []

    def test_it_goes_after_the_external_secret(self) -> None:
        other = external_secret_path("auth-dev", "web")
        cluster = self.cluster((SOURCE, source()), (other, source(name="web")))
        cluster.coming = [(other, None), (SOURCE, source("False")), (SOURCE, None)]
        assert self.left(cluster) == ["theirs"]
        assert cluster.coming == []

    def test_an_external_secret_that_is_not_esos_is_not_waited_for(self) -> None:
        assert self.left(self.cluster((SOURCE, source(kind="Deployment")))) == ["theirs"]

    def test_one_that_stays_is_an_error_and_so_does_the_finalizer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(binding, "EXTERNAL_SECRET_SECONDS", 0)
        cluster = self.cluster((SOURCE, source()))
        with pytest.raises(PullSecretsError, match=rf"{SOURCE}: still there 0 s after .*; does ESO run"):
            release_abandoned(cluster, "auth-dev", ["app"])
        assert cluster.sent == []
