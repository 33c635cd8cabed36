"""Many namespaces are bound by a few lists and the writes that are needed, whichever of them fails."""

from typing import Any

import pytest

from pullsecrets.errors import UnreachableError
from pullsecrets.kube.bindings import Bound, read_bindings
from pullsecrets.kube.eso import external_secret_path
from pullsecrets.kube.objects import entries_of, labels_of
from pullsecrets.tenancy.bindings import Settled, read_lacking, settle
from tests.unit import delivered
from tests.unit.cluster import FakeCluster

ALL = "/api/v1/serviceaccounts"
APP = Bound(("default",), ("app",), {})
NAMES = ("auth", "shop", "user")


def path(namespace: str, name: str = "default") -> str:
    return f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}"


def account(namespace: str, *entries: str, name: str = "default") -> tuple[str, dict[str, Any]]:
    metadata = {"namespace": namespace, "name": name, "resourceVersion": "1"}
    return path(namespace, name), {"metadata": metadata, "imagePullSecrets": [{"name": entry} for entry in entries]}


def labelled(namespace: str, **labels: str) -> tuple[str, dict[str, Any]]:
    return f"/api/v1/namespaces/{namespace}", {
        "metadata": {"name": namespace, "labels": labels, "resourceVersion": "1"}
    }


def cluster_of(*entries: str, namespaces: tuple[str, ...] = NAMES) -> FakeCluster:
    return FakeCluster(*(account(namespace, *entries) for namespace in namespaces))


def entries(cluster: FakeCluster, namespace: str) -> list[str]:
    return entries_of(cluster.objects[path(namespace)])


def test_namespaces_are_bound_by_two_lists_and_a_write_each() -> None:
    cluster = cluster_of("theirs")
    found = settle(cluster, {}, dict.fromkeys(NAMES, APP))
    assert found == Settled(dict.fromkeys(NAMES, APP), {})
    assert [entries(cluster, name) for name in NAMES] == [["theirs", "app"]] * 3
    assert sorted(cluster.sent) == [("PATCH", path(name)) for name in NAMES]
    assert cluster.listed == [ALL, ALL], "one to find what differs, one to see that it was kept"


def test_what_is_as_wanted_costs_one_list_and_no_write() -> None:
    cluster = cluster_of("app")
    assert settle(cluster, dict.fromkeys(NAMES, APP), dict.fromkeys(NAMES, APP)).failed == {}
    assert (cluster.sent, cluster.listed) == ([], [ALL])


def test_of_one_namespace_no_others_are_read() -> None:
    cluster = cluster_of("app")
    settle(cluster, {}, {"shop": APP})
    assert cluster.listed == ["/api/v1/namespaces/shop/serviceaccounts"]


def test_where_no_service_account_is_bound_none_is_read() -> None:
    cluster = cluster_of()
    settle(cluster, {}, {"shop": Bound((), ("app",), {"a": "x"})})
    assert (cluster.sent, cluster.listed) == ([], [])


def test_only_what_is_lacking_is_told_and_written() -> None:
    cluster = cluster_of("app")
    cluster.objects[path("shop")]["imagePullSecrets"] = []
    wanted = {name: Bound(("default", "later"), ("app",), {}) for name in NAMES}
    assert read_lacking(cluster, wanted) == {"shop": {"default": ["app"]}}
    settle(cluster, wanted, wanted)
    assert cluster.sent == [("PATCH", path("shop"))]
    assert read_lacking(cluster, wanted) == {}


def test_a_namespace_that_was_made_again_lacks_its_entries_before_it_has_a_service_account() -> None:
    wanted = {"shop": Bound(("default", "later"), ("app",), {})}
    assert read_lacking(FakeCluster(), wanted) == {"shop": {"default": ["app"]}}


def test_a_namespace_that_fails_keeps_no_other_from_being_bound_and_stays_known() -> None:
    cluster = cluster_of()
    cluster.refuse["PATCH", path("shop")] = (403, "no")
    found = settle(cluster, {}, dict.fromkeys(NAMES, APP))
    assert found.failed.keys() == {"shop"}
    assert "403" in found.failed["shop"]
    assert [entries(cluster, name) for name in NAMES] == [["app"], [], ["app"]]
    assert found.held["shop"] == APP, "it may have been appended in part"


def test_an_entry_that_vanishes_again_is_a_failure() -> None:
    class Reverting(FakeCluster):
        def json_patch(self, path: str, operations: list[dict[str, Any]]) -> dict[str, Any]:
            return self.objects[path] if "shop" in path else super().json_patch(path, operations)

    cluster = Reverting(*(account(name) for name in NAMES))
    found = settle(cluster, {}, dict.fromkeys(NAMES, APP))
    assert found.failed.keys() == {"shop"}
    assert "lost the entry again" in found.failed["shop"]


def test_a_cluster_that_is_lost_is_asked_no_further() -> None:
    class Lost(FakeCluster):
        def json_patch(self, path: str, operations: list[dict[str, Any]]) -> dict[str, Any]:
            self.sent.append((path, str(operations)))
            raise UnreachableError("gone")

    many = tuple(f"n{number:03}" for number in range(200))
    cluster = Lost(*(account(name) for name in many))
    found = settle(cluster, {}, dict.fromkeys(many, APP))
    assert found.failed == dict.fromkeys(many, "gone")
    assert len(cluster.sent) < len(many)


def test_who_leaves_is_unbound_and_keeps_the_entries_of_others() -> None:
    cluster = cluster_of("theirs", "app")
    found = settle(cluster, dict.fromkeys(NAMES, APP), {"auth": APP})
    assert (found.held, found.failed) == ({"auth": APP}, {})
    assert [entries(cluster, name) for name in NAMES] == [["theirs", "app"], ["theirs"], ["theirs"]]


def test_one_that_cannot_be_unbound_is_still_known() -> None:
    cluster = cluster_of("app")
    cluster.refuse["PATCH", path("shop")] = (403, "no")
    found = settle(cluster, dict.fromkeys(NAMES, APP), {})
    assert found.held == {"shop": APP}
    assert found.failed.keys() == {"shop"}


class TestReplaced:
    """A Secret that comes in the place of another one."""

    OLD: Bound = Bound(("default",), ("app",), {"a": "x"})
    NEW: Bound = Bound(("default",), ("web",), {"b": "y"})

    def cluster(self, status: str) -> FakeCluster:
        source = delivered.external_secret("shop", "web", status)
        return FakeCluster(
            account("shop", "app"), labelled("shop", a="x", b="y"), (external_secret_path("shop", "web"), source)
        )

    def test_delivered_it_is_bound_and_then_the_old_one_and_its_label_go(self) -> None:
        cluster = self.cluster("True")
        appended: list[list[str]] = []
        cluster.before_write = lambda *_: appended.append(entries(cluster, "shop"))
        assert settle(cluster, {"shop": self.OLD}, {"shop": self.NEW}).failed == {}
        assert entries(cluster, "shop") == ["web"]
        assert appended[1] == ["app", "web"], "never without one"
        assert labels_of(cluster.objects["/api/v1/namespaces/shop"]) == {"b": "y"}

    def test_not_delivered_the_old_one_stays_and_the_new_one_is_not_appended(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PULL_SECRETS_DELIVERY_TIMEOUT", "0s")
        cluster = self.cluster("False")
        found = settle(cluster, {"shop": self.OLD}, {"shop": self.NEW})
        assert "is not Ready" in found.failed["shop"]
        assert found.held == {"shop": self.OLD}
        assert entries(cluster, "shop") == ["app"]

    def test_what_could_not_be_taken_away_is_taken_away_by_the_next_run(self) -> None:
        cluster = self.cluster("True")
        place = "/api/v1/namespaces/shop"
        cluster.refuse["PATCH", place] = (403, "no")
        found = settle(cluster, {"shop": self.OLD}, {"shop": self.NEW})
        assert found.held["shop"].secrets == ("app", "web")
        del cluster.refuse["PATCH", place]
        assert settle(cluster, found.held, {"shop": self.NEW}) == Settled({"shop": self.NEW}, {})
        assert labels_of(cluster.objects[place]) == {"b": "y"}


ONE = {"namespace": "shop", "service_accounts": ["default"], "secrets": ["app"], "labels": {"a": "x"}}
BOUND = Bound(("default",), ("app",), {"a": "x"})


@pytest.mark.parametrize(
    ("props", "found"),
    [
        (ONE, {"shop": BOUND}),
        ({"namespaces": {"shop": BOUND.properties()}}, {"shop": BOUND}),
        ({"namespaces": {}}, {}),
        ({"namespaces": "not known yet"}, {}),
        ({"namespace": "shop", "secrets": ["app"]}, {"shop": Bound((), ("app",), {})}),
        ({"namespace": "shop", "registries": ["app"]}, {"shop": Bound()}),
    ],
)
def test_state_of_every_form_is_read(props: dict[str, Any], found: dict[str, Bound]) -> None:
    assert read_bindings(props) == found
