"""Pods without the reference: who is evicted, who is only named, and how budgets are respected."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from pullsecrets.kube.client import KubernetesApiError, KubernetesClient
from pullsecrets.workloads import evict
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


class Pods(KubernetesClient):
    """A cluster with Pods, ServiceAccounts, and a budget that blocks some evictions for a while."""

    def __init__(self, pods: list[dict[str, Any]], entries: tuple[str, ...] = ("dockercfg", "app")) -> None:
        self.pods = pods
        self.entries = entries
        self.blocked: dict[str, int] = {}
        self.gone: set[str] = set()
        self.refused: dict[str, tuple[int, str]] = {}
        self.own_lists: dict[str, tuple[str, ...]] = {}
        """What the Pod templates of ReplicaSets name."""
        self.template_lists: list[str] = []
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
        elif path == "/apis/apps/v1/replicasets":
            self.template_lists.append(path)
            for name, entries in self.own_lists.items():
                own = [{"name": entry} for entry in entries]
                template = {"spec": {"imagePullSecrets": own}}
                yield {"metadata": {"namespace": "apps", "name": name}, "spec": {"template": template}}
        else:
            self.template_lists.append(path)
            raise KubernetesApiError("GET", path, 403, "Forbidden", "no")

    def request(self, method: str, path: str, query: Any = None, **request: Any) -> dict[str, Any]:
        assert query is None
        name = path.split("/")[-2]
        assert (method, path) == ("POST", f"/api/v1/namespaces/apps/pods/{name}/eviction")
        assert request["body"]["kind"] == "Eviction"
        if name in self.gone:
            raise KubernetesApiError(method, path, 404, "NotFound", "gone")
        if name in self.refused:
            status, message = self.refused[name]
            raise KubernetesApiError(method, path, status, "InternalError", message)
        if self.blocked.get(name, 0) > 0:
            self.blocked[name] -= 1
            raise KubernetesApiError(method, path, 429, "TooManyRequests", "would violate the budget")
        self.evicted.append(name)
        return {}


def names(lacking: evict.LackingPods) -> list[str]:
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
    cluster.own_lists = {"own-list": ("something-else",)}
    lacking = evict.find_lacking(cluster, CONFIG, REGISTRY, ["apps"])
    assert names(lacking) == ["early", "early-on-openshift"]
    causes = {name: lacking.others[f"apps/{name}"] for name in ("bare", "static", "own-list", "unbound")}
    assert [word in causes[name] for name, word in [("bare", "nothing would make it"), ("static", "static Pod")]]
    assert "brings its own imagePullSecrets" in causes["own-list"]
    assert "ServiceAccount 'unbound' lacks the entry" in causes["unbound"]
    assert len(lacking.others) == 4


def test_a_pod_is_evictable_whatever_its_service_account_listed_when_it_was_admitted() -> None:
    cluster = Pods([pod("before-adoption", references=("dockercfg", "regcred"))])
    cluster.own_lists = {"before-adoption": ()}
    assert names(evict.find_lacking(cluster, CONFIG, REGISTRY, ["apps"])) == ["before-adoption"]


def test_a_list_of_its_own_keeps_a_pod_though_its_service_account_has_all_its_names() -> None:
    cluster = Pods([pod("own", references=("dockercfg",)), pod("mended", references=("dockercfg",))])
    cluster.own_lists = {"own": ("dockercfg",), "mended": ("dockercfg", "app")}
    assert names(evict.find_lacking(cluster, CONFIG, REGISTRY, ["apps"])) == ["mended"]


@pytest.mark.parametrize("owner", ["ReplicaSet", "StatefulSet", "TaskRun"])
def test_a_pod_whose_template_cannot_be_read_is_left_to_its_owner(owner: str) -> None:
    cluster = Pods([pod("untold", owner, references=("regcred",))])
    lacking = evict.find_lacking(cluster, CONFIG, REGISTRY, ["apps"])
    assert names(lacking) == []
    assert "cannot be read" in lacking.others["apps/untold"]


def test_templates_are_listed_once_for_a_kind_and_not_for_pods_that_name_nothing() -> None:
    cluster = Pods([pod("early"), pod("good", references=("app",))])
    evict.find_lacking(cluster, CONFIG, REGISTRY, ["apps"])
    assert cluster.template_lists == []
    cluster.pods += [pod("a", references=("regcred",)), pod("b", references=("regcred",))]
    evict.find_lacking(cluster, CONFIG, REGISTRY, ["apps"])
    assert cluster.template_lists == ["/apis/apps/v1/replicasets"]


def test_admission_adds_the_reference_to_any_pod_that_is_made_anew() -> None:
    cluster = Pods([pod("own-list", references=("other",)), pod("unbound", serviceAccountName="unbound")], ())
    assert names(evict.find_lacking(cluster, BY_ADMISSION, REGISTRY, ["apps"])) == ["own-list", "unbound"]


def test_pods_of_other_namespaces_are_left_alone() -> None:
    assert evict.find_lacking(Pods([pod("early")]), CONFIG, REGISTRY, ["elsewhere"]).evictable == ()


def test_a_budget_is_waited_for_and_a_pod_that_went_by_itself_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evict, "POLL_SECONDS", 0)
    cluster = Pods([pod("a"), pod("b"), pod("c")])
    cluster.blocked = {"b": 2}
    cluster.gone = {"c"}
    pods = evict.find_lacking(cluster, CONFIG, REGISTRY, ["apps"]).evictable
    assert evict.evict(cluster, pods, 5) == evict.Evictions({}, {})
    assert cluster.evicted == ["a", "b"]


def test_what_a_budget_keeps_to_the_end_is_named() -> None:
    cluster = Pods([pod("a"), pod("b")])
    cluster.blocked = {"b": 99}
    pods = evict.find_lacking(cluster, CONFIG, REGISTRY, ["apps"]).evictable
    assert evict.evict(cluster, pods, 0) == evict.Evictions({"apps/b": "would violate the budget"}, {})
    assert cluster.evicted == ["a"]


def test_a_pod_that_the_server_refuses_to_evict_is_named_and_the_others_are_evicted() -> None:
    cluster = Pods([pod("a"), pod("b"), pod("c"), pod("d")])
    two_budgets = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    denied = 'admission webhook "guard.example.com" denied the request'
    cluster.refused = {"a": (500, two_budgets), "c": (403, denied)}
    pods = evict.find_lacking(cluster, CONFIG, REGISTRY, ["apps"]).evictable
    assert evict.evict(cluster, pods, 5) == evict.Evictions({}, {"apps/a": two_budgets, "apps/c": denied})
    assert cluster.evicted == ["b", "d"]
