"""Pods without the reference: who is evicted, who is only named, and how budgets are respected."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from pullsecrets import recreate
from pullsecrets.kube import KubernetesApiError, KubernetesClient
from tests.unit.test_eso import REGISTRY
from tests.unit.test_rollback import CONFIG

BY_ADMISSION = CONFIG.model_copy(update={"binding": "admission"})


def pod(name: str, owner: str | None = "ReplicaSet", references: tuple[str, ...] = (), **spec: Any) -> dict[str, Any]:
    owners = [{"kind": owner, "name": "auth", "controller": True}] if owner else []
    return {
        "metadata": {
            "namespace": "apps",
            "name": name,
            "uid": name,
            "ownerReferences": owners,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "containers": [{"name": "main", "image": "app.example.com/team/auth:1"}],
            "imagePullSecrets": [{"name": reference} for reference in references],
            **spec,
        },
        "status": {"phase": "Pending"},
    }


class Pods(KubernetesClient):
    """A cluster with Pods, ServiceAccounts, and a budget that blocks some evictions for a while."""

    def __init__(self, pods: list[dict[str, Any]], entries: tuple[str, ...] = ("dockercfg", "app")) -> None:
        self.pods = pods
        self.entries = entries
        self.blocked: dict[str, int] = {}
        self.gone: set[str] = set()
        self.evicted: list[str] = []

    def items(
        self, path: str, query: Mapping[str, str] | None = None, *, metadata_only: bool = False
    ) -> Iterator[dict[str, Any]]:
        assert not metadata_only
        if path == "/api/v1/pods":
            assert query
            yield from self.pods
        elif path == "/api/v1/serviceaccounts":
            entries = [{"name": entry} for entry in self.entries]
            yield {"metadata": {"namespace": "apps", "name": "default"}, "imagePullSecrets": entries}
            yield {"metadata": {"namespace": "apps", "name": "unbound"}}

    def request(self, method: str, path: str, query: Any = None, **request: Any) -> dict[str, Any]:
        assert query is None
        name = path.split("/")[-2]
        assert (method, path) == ("POST", f"/api/v1/namespaces/apps/pods/{name}/eviction")
        assert request["body"]["kind"] == "Eviction"
        if name in self.gone:
            raise KubernetesApiError(method, path, 404, "NotFound", "gone")
        if self.blocked.get(name, 0) > 0:
            self.blocked[name] -= 1
            raise KubernetesApiError(method, path, 429, "TooManyRequests", "would violate the budget")
        self.evicted.append(name)
        return {}


def names(lacking: recreate.LackingPods) -> list[str]:
    return [item.name for item in lacking.evictable]


def test_pods_that_would_come_back_with_the_reference_are_evictable() -> None:
    cluster = Pods(
        [
            pod("early"),
            pod("early-on-openshift", references=("dockercfg",)),
            pod("good", references=("app",)),
            pod("bare", owner=None),
            pod("static", owner="Node"),
            pod("own-list", references=("something-else",)),
            pod("unbound", serviceAccountName="unbound"),
        ]
    )
    lacking = recreate.find_lacking(cluster, CONFIG, REGISTRY, ["apps"])
    assert names(lacking) == ["early", "early-on-openshift"]
    causes = {name: lacking.others[f"apps/{name}"] for name in ("bare", "static", "own-list", "unbound")}
    assert [word in causes[name] for name, word in [("bare", "nothing would make it"), ("static", "static Pod")]]
    assert "brings its own imagePullSecrets" in causes["own-list"]
    assert "ServiceAccount 'unbound' lacks the entry" in causes["unbound"]
    assert len(lacking.others) == 4


def test_admission_adds_the_reference_to_any_pod_that_is_made_anew() -> None:
    cluster = Pods([pod("own-list", references=("other",)), pod("unbound", serviceAccountName="unbound")], ())
    assert names(recreate.find_lacking(cluster, BY_ADMISSION, REGISTRY, ["apps"])) == ["own-list", "unbound"]


def test_pods_of_other_namespaces_are_left_alone() -> None:
    assert recreate.find_lacking(Pods([pod("early")]), CONFIG, REGISTRY, ["elsewhere"]).evictable == ()


def test_a_budget_is_waited_for_and_a_pod_that_went_by_itself_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recreate, "POLL_SECONDS", 0)
    cluster = Pods([pod("a"), pod("b"), pod("c")])
    cluster.blocked = {"b": 2}
    cluster.gone = {"c"}
    pods = recreate.find_lacking(cluster, CONFIG, REGISTRY, ["apps"]).evictable
    assert recreate.evict(cluster, pods, 5) == {}
    assert cluster.evicted == ["a", "b"]


def test_what_a_budget_keeps_to_the_end_is_named() -> None:
    cluster = Pods([pod("a"), pod("b")])
    cluster.blocked = {"b": 99}
    pods = recreate.find_lacking(cluster, CONFIG, REGISTRY, ["apps"]).evictable
    assert recreate.evict(cluster, pods, 0) == {"apps/b": "would violate the budget"}
    assert cluster.evicted == ["a"]
