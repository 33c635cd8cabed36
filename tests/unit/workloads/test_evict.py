"""Pods without the reference: who is evicted, who is only named, and how budgets are respected."""

from typing import Any

import pytest

from pullsecrets.kube.client import KubernetesApiError
from pullsecrets.workloads import evict
from tests.unit.cluster import FakeCluster
from tests.unit.credential.test_history import CONFIG
from tests.unit.kube.test_eso import REGISTRY

BY_ADMISSION = CONFIG.model_copy(update={"binding": "admission"})


def pod(name: str, owner: str | None = "ReplicaSet", references: tuple[str, ...] = (), **spec: Any) -> dict[str, Any]:
    owners = [{"kind": owner, "name": name, "controller": True}] if owner else []
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


PODS, REPLICA_SETS = "/api/v1/pods", "/apis/apps/v1/replicasets"


class Pods(FakeCluster):
    """A cluster with Pods, their ServiceAccounts, and what the templates of ReplicaSets name."""

    def __init__(
        self, *pods: dict[str, Any], entries: tuple[str, ...] = ("dockercfg", "app"), **own: tuple[str, ...]
    ) -> None:
        bound = {"metadata": {"namespace": "apps", "name": "default"}, "imagePullSecrets": named(entries)}
        accounts = [bound, {"metadata": {"namespace": "apps", "name": "unbound"}}]
        sets = [
            {
                "metadata": {"namespace": "apps", "name": name},
                "spec": {"template": {"spec": {"imagePullSecrets": named(listed)}}},
            }
            for name, listed in own.items()
        ]
        super().__init__(lists={PODS: [*pods], "/api/v1/serviceaccounts": accounts, REPLICA_SETS: sets})
        self.refuse = {("GET", kind): (403, "no") for kind in ("statefulsets", "taskruns")}
        self.refused: dict[str, list[tuple[int, str]]] = {}
        """By Pod: what its evictions get, one after the other; then they go through."""
        self.evicted: list[str] = []
        self.answers["eviction"] = self.evict

    def evict(self, path: str, body: Any) -> dict[str, Any]:
        name = path.split("/")[-2]
        assert (path, body["kind"]) == (f"/api/v1/namespaces/apps/pods/{name}/eviction", "Eviction")
        if self.refused.get(name):
            status, message = self.refused[name].pop(0)
            raise KubernetesApiError("POST", path, status, "", message)
        self.evicted.append(name)
        return {}


def named(entries: tuple[str, ...]) -> list[dict[str, str]]:
    return [{"name": entry} for entry in entries]


def names(lacking: evict.LackingPods) -> list[str]:
    return [item.name for item in lacking.evictable]


def test_pods_that_would_come_back_with_the_reference_are_evictable() -> None:
    cluster = Pods(
        pod("early"),
        pod("early-on-openshift", references=("dockercfg",)),
        pod("good", references=("app",)),
        pod("bare", owner=None),
        pod("static", owner="Node"),
        pod("own-list", references=("something-else",)),
        pod("unbound", serviceAccountName="unbound"),
        **{"own-list": ("something-else",)},
    )
    lacking = evict.find_lacking(cluster, CONFIG, REGISTRY, ["apps"])
    assert names(lacking) == ["early", "early-on-openshift"]
    causes = {name: lacking.others[f"apps/{name}"] for name in ("bare", "static", "own-list", "unbound")}
    assert "nothing would recreate it" in causes["bare"]
    assert "static Pod" in causes["static"]
    assert "has its own imagePullSecrets" in causes["own-list"]
    assert "ServiceAccount 'unbound' lacks the entry" in causes["unbound"]
    assert len(lacking.others) == 4


def test_a_pod_is_evictable_whatever_its_service_account_listed_when_it_was_admitted() -> None:
    cluster = Pods(pod("before-adoption", references=("dockercfg", "regcred")), **{"before-adoption": ()})
    assert names(evict.find_lacking(cluster, CONFIG, REGISTRY, ["apps"])) == ["before-adoption"]


def test_a_list_of_its_own_keeps_a_pod_though_its_service_account_has_all_its_names() -> None:
    pods = (pod("own", references=("dockercfg",)), pod("mended", references=("dockercfg",)))
    cluster = Pods(*pods, own=("dockercfg",), mended=("dockercfg", "app"))
    assert names(evict.find_lacking(cluster, CONFIG, REGISTRY, ["apps"])) == ["mended"]


@pytest.mark.parametrize("owner", ["ReplicaSet", "StatefulSet", "TaskRun"])
def test_a_pod_whose_template_cannot_be_read_is_left_to_its_owner(owner: str) -> None:
    cluster = Pods(pod("untold", owner, references=("regcred",)))
    lacking = evict.find_lacking(cluster, CONFIG, REGISTRY, ["apps"])
    assert names(lacking) == []
    assert "cannot be read" in lacking.others["apps/untold"]


def test_templates_are_listed_once_for_a_kind_and_not_for_pods_that_name_nothing() -> None:
    cluster = Pods(pod("early"), pod("good", references=("app",)))
    evict.find_lacking(cluster, CONFIG, REGISTRY, ["apps"])
    assert cluster.listed == [PODS, "/api/v1/serviceaccounts"]
    cluster.lists[PODS] += [pod("a", references=("regcred",)), pod("b", references=("regcred",))]
    evict.find_lacking(cluster, CONFIG, REGISTRY, ["apps"])
    assert cluster.listed.count(REPLICA_SETS) == 1


def test_admission_adds_the_reference_to_any_pod_that_is_made_anew() -> None:
    cluster = Pods(pod("own-list", references=("other",)), pod("unbound", serviceAccountName="unbound"), entries=())
    assert names(evict.find_lacking(cluster, BY_ADMISSION, REGISTRY, ["apps"])) == ["own-list", "unbound"]


def test_pods_of_other_namespaces_are_left_alone() -> None:
    assert evict.find_lacking(Pods(pod("early")), CONFIG, REGISTRY, ["elsewhere"]).evictable == ()


def test_a_budget_is_waited_for_and_a_pod_that_went_by_itself_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evict, "POLL_SECONDS", 0)
    cluster = Pods(pod("a"), pod("b"), pod("c"))
    cluster.refused = {"b": [(429, "would violate the budget")] * 2, "c": [(404, "gone")]}
    pods = evict.find_lacking(cluster, CONFIG, REGISTRY, ["apps"]).evictable
    assert evict.evict(cluster, pods, 5) == evict.Evictions({}, {})
    assert cluster.evicted == ["a", "b"]


def test_what_a_budget_keeps_to_the_end_is_named() -> None:
    cluster = Pods(pod("a"), pod("b"))
    cluster.refused = {"b": [(429, "would violate the budget")] * 99}
    pods = evict.find_lacking(cluster, CONFIG, REGISTRY, ["apps"]).evictable
    assert evict.evict(cluster, pods, 0) == evict.Evictions({"apps/b": "would violate the budget"}, {})
    assert cluster.evicted == ["a"]


def test_a_pod_that_the_server_refuses_to_evict_is_named_and_the_others_are_evicted() -> None:
    cluster = Pods(pod("a"), pod("b"), pod("c"), pod("d"))
    two_budgets = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    denied = 'admission webhook "guard.example.com" denied the request'
    cluster.refused = {"a": [(500, two_budgets)], "c": [(403, denied)]}
    pods = evict.find_lacking(cluster, CONFIG, REGISTRY, ["apps"]).evictable
    assert evict.evict(cluster, pods, 5) == evict.Evictions({}, {"apps/a": two_budgets, "apps/c": denied})
    assert cluster.evicted == ["b", "d"]
