"""Restarts: which workloads, in which waves, awaited how, and what stops them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets.errors import BadInputError, UnreachableError
from pullsecrets.kube import waiting
from pullsecrets.kube.client import KubernetesApiError
from pullsecrets.workloads import restart
from pullsecrets.workloads.restart import (
    RESTARTED_AT_ANNOTATION,
    RESTARTED_FOR_ANNOTATION,
    RolloutFailedError,
    rollout_state,
)
from tests.unit.cluster import FakeCluster
from tests.unit.kube.test_eso import REGISTRY

LATE = {"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "timed out"}


@given(st.integers(0, 5000), st.integers(1, 100))
def test_a_share_of_any_number_makes_waves_that_end(total: int, percent: int) -> None:
    length = restart.wave_length(f"{percent}%", total)
    assert 1 <= length <= max(1, total)
    assert (length - 1) * 100 < max(1, total * percent)


@pytest.mark.parametrize("size", ["0", "0%", "101%", "-1", "five", "", "%", "1.5"])
def test_other_wave_sizes_are_refused(size: str) -> None:
    with pytest.raises(BadInputError, match="--wave-size: found"):
        restart.wave_length(size, 10)


DONE = {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3}
SET_DONE = {**DONE, "currentRevision": "2", "updateRevision": "2"}
DAEMONS_DONE = {
    "observedGeneration": 2,
    "desiredNumberScheduled": 3,
    "updatedNumberScheduled": 3,
    "numberAvailable": 3,
}


@pytest.mark.parametrize(
    ("kind", "spec", "status", "waits_for"),
    [
        ("Deployment", {}, DONE, None),
        ("Deployment", {}, {**DONE, "observedGeneration": 1, "conditions": [LATE]}, "has not seen the change"),
        ("Deployment", {}, {**DONE, "updatedReplicas": 1}, "1 of 3 replicas updated"),
        ("Deployment", {}, {**DONE, "replicas": 4}, "1 old replicas still end"),
        ("Deployment", {}, {**DONE, "availableReplicas": 2}, "2 of 3 updated replicas available"),
        ("StatefulSet", {}, SET_DONE, None),
        ("StatefulSet", {}, {**SET_DONE, "readyReplicas": 2}, "2 of 3 replicas ready"),
        ("StatefulSet", {}, {**SET_DONE, "updatedReplicas": 2, "currentRevision": "1"}, "2 of 3 replicas updated"),
        (
            "StatefulSet",
            {"updateStrategy": {"rollingUpdate": {"partition": 2}}},
            {**SET_DONE, "updatedReplicas": 1, "currentRevision": "1"},
            None,
        ),
        (
            "StatefulSet",
            {"updateStrategy": {"rollingUpdate": {"partition": 1}}},
            {**SET_DONE, "updatedReplicas": 1, "currentRevision": "1"},
            "1 of 2 replicas above the partition updated",
        ),
        ("DaemonSet", {}, DAEMONS_DONE, None),
        ("DaemonSet", {}, {**DAEMONS_DONE, "updatedNumberScheduled": 1}, "1 of 3 Pods updated"),
        ("DaemonSet", {}, {**DAEMONS_DONE, "numberAvailable": 1}, "1 of 3 Pods available"),
    ],
)
def test_a_rollout_is_judged_as_kubectl_does(
    kind: str, spec: dict[str, Any], status: dict[str, Any], waits_for: str | None
) -> None:
    item = {"metadata": {"generation": 2}, "spec": {"replicas": 3, **spec}, "status": status}
    found = rollout_state(kind, item)
    assert found == waits_for or (waits_for or "") in (found or "")
    assert (found is None) == (waits_for is None)


def test_a_deployment_past_its_deadline_has_failed() -> None:
    item = {"metadata": {"generation": 2}, "spec": {}, "status": {**DONE, "conditions": [LATE]}}
    with pytest.raises(RolloutFailedError, match="exceeded its progress deadline: timed out"):
        rollout_state("Deployment", item)


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": {"app": "auth"}}, True),
        ({"matchLabels": {"app": "user"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["auth", "user"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["auth"]}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, False),
        ({"matchLabels": {"app": "auth"}, "matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, True),
    ],
)
def test_selectors_select_as_the_api_server_does(selector: dict[str, Any] | None, *, selected: bool) -> None:
    assert restart.selects(selector, {"app": "auth"}) is selected


def workload(name: str, kind: str = "Deployment", **spec: Any) -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"image": "app.example.com/team/image:1"}]},
    }
    return {
        "metadata": {"namespace": "apps", "name": name, "generation": 2},
        "spec": {"replicas": 3, "template": template, **spec},
        "status": DONE if kind == "Deployment" else DAEMONS_DONE,
    }


BUDGETS = "/apis/policy/v1/namespaces/apps/poddisruptionbudgets"


def path(name: str) -> str:
    return f"/apis/apps/v1/namespaces/apps/deployments/{name}"


class Workloads(FakeCluster):
    """Workloads that come up at once when they are restarted, unless they are to fail."""

    def __init__(self, deployments: list[dict[str, Any]], budgets: list[dict[str, Any]] | None = None) -> None:
        super().__init__(lists={"/apis/apps/v1/deployments": deployments, BUDGETS: budgets or []})
        self.deployments = {item["metadata"]["name"]: item for item in deployments}
        self.restarted: list[str] = []
        self.after_write = lambda _, where: self.restarted.append(where.rpartition("/")[2])

    def fail(self, *names: str) -> None:
        for name in names:
            self.deployments[name]["status"] = {**DONE, "conditions": [LATE]}

    def run(self, size: str = "1", reason: str = "app@7", timeout: float = 0) -> restart.RestartResult:
        found = restart.list_workloads(self, REGISTRY, ["apps"])
        return restart.restart(self, found, reason, size, timeout)


def named(*names: str) -> list[str]:
    return [f"deployment/{name} in apps" for name in names]


def test_only_workloads_of_the_registry_and_the_namespaces_are_found() -> None:
    other = workload("other-image")
    other["spec"]["template"]["spec"]["containers"][0]["image"] = "elsewhere.example.com/app.example.com:1"
    elsewhere = workload("elsewhere")
    elsewhere["metadata"]["namespace"] = "not-ours"
    cluster = Workloads([workload("ours"), other, elsewhere])
    assert [item.name for item in restart.list_workloads(cluster, REGISTRY, ["apps"])] == ["ours"]


def test_waves_follow_each_other_until_all_are_up() -> None:
    cluster = Workloads([workload(name) for name in "edcba"])
    waves: list[tuple[int, int]] = []
    found = restart.list_workloads(cluster, REGISTRY, ["apps"])
    result = restart.restart(cluster, found, "app@7", "2", 0, lambda wave, _, after: waves.append((len(wave), after)))
    assert result.complete
    assert cluster.restarted == list("abcde")
    template = cluster.objects[path("a")]["spec"]["template"]
    assert RESTARTED_AT_ANNOTATION in template["metadata"]["annotations"]
    assert waves == [(2, 3), (2, 1), (1, 0)]


def test_what_a_restart_would_not_reach_is_named_and_left_alone() -> None:
    cluster = Workloads(
        [
            workload("paused", paused=True),
            workload("by-hand", updateStrategy={"type": "OnDelete"}),
            workload("asleep", replicas=0),
        ]
    )
    result = cluster.run()
    assert (cluster.restarted, result.complete) == ([], True)
    assert [cause.split()[1] for cause in result.untouched.values()] == ["scaled", "updateStrategy", "paused;"]


def test_the_first_failure_stops_it_and_what_remains_is_named() -> None:
    cluster = Workloads([workload(name) for name in "abcd"])
    cluster.fail("b")
    result = cluster.run()
    assert not result.complete
    assert (result.restarted, list(result.failed), result.remaining) == (named("a"), named("b"), named("c", "d"))
    assert cluster.restarted == ["a", "b"]


def test_a_run_that_was_killed_goes_on_where_it_was_and_awaits_what_it_began() -> None:
    cluster = Workloads([workload(name) for name in "abc"])
    cluster.deployments["a"]["metadata"]["annotations"] = {RESTARTED_FOR_ANNOTATION: "app@7"}
    cluster.deployments["b"]["metadata"]["annotations"] = {RESTARTED_FOR_ANNOTATION: "app@6"}
    result = cluster.run()
    assert (result.already, result.restarted) == (named("a"), named("b", "c"))
    assert cluster.restarted == ["b", "c"]
    cluster = Workloads([workload(name) for name in "ab"])
    cluster.deployments["a"]["metadata"]["annotations"] = {RESTARTED_FOR_ANNOTATION: "app@7"}
    cluster.fail("a")
    assert cluster.run().remaining == named("b")
    assert cluster.restarted == []


def test_a_rollout_that_does_not_end_in_time_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restart, "POLL_SECONDS", 0)
    item = workload("slow")
    item["status"] = {**DONE, "availableReplicas": 0}
    assert Workloads([item]).run().failed == {
        named("slow")[0]: "not up in 0 s: 0 of 3 updated replicas available",
    }


def budget(name: str, app: str, allowed: int) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": app}}},
        "status": {"disruptionsAllowed": allowed},
    }


def test_a_workload_without_disruptions_left_waits_behind_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restart, "POLL_SECONDS", 0)
    exhausted = budget("of-a", "a", 0)
    cluster = Workloads([workload(name) for name in "abc"], [exhausted, budget("of-b", "b", 1)])
    result = cluster.run()
    assert result.restarted == named("b", "c")
    assert result.held == {named("a")[0]: "PodDisruptionBudget of-a allows no disruption"}
    assert not result.complete
    exhausted["status"]["disruptionsAllowed"] = 1
    result = cluster.run()
    assert (result.already, result.restarted, result.complete) == (named("b", "c"), named("a"), True)


@pytest.mark.parametrize(("allowed", "lengths"), [(1, [1, 1, 1]), (2, [2, 1]), (9, [3])])
def test_a_wave_takes_no_more_of_a_shared_budget_than_it_allows(allowed: int, lengths: list[int]) -> None:
    items = [workload(name) for name in "abc"]
    for item in items:
        item["spec"]["template"]["metadata"]["labels"] = {"app": "all"}
    cluster = Workloads(items, [budget("of-all", "all", allowed)])
    waves: list[int] = []
    found = restart.list_workloads(cluster, REGISTRY, ["apps"])
    result = restart.restart(cluster, found, "app@7", "100%", 0, lambda wave, *_: waves.append(len(wave)))
    assert (result.complete, waves) == (True, lengths)


AWAY = UnreachableError("away")
BUSY = KubernetesApiError("GET", "/", 503, "ServiceUnavailable", "starting")
DENIED = KubernetesApiError("PATCH", "/", 400, "BadRequest", "admission webhook denied the request")


def test_an_api_server_that_is_away_for_a_moment_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restart, "POLL_SECONDS", 0)
    monkeypatch.setattr(waiting, "RETRY_SECONDS", 0)
    cluster = Workloads([workload(name) for name in "ab"])
    cluster.failures = {("GET", path("a")): [AWAY, BUSY], ("PATCH", path("a")): [BUSY, AWAY], ("GET", BUDGETS): [AWAY]}
    assert cluster.run(timeout=5).restarted == named("a", "b")
    assert not any(cluster.failures.values())


def test_one_that_stays_away_until_the_wave_is_late_is_what_the_workload_failed_of() -> None:
    cluster = Workloads([workload(name) for name in "ab"])
    cluster.failures = {("GET", path("a")): [AWAY], ("GET", path("b")): [DENIED]}
    result = cluster.run("2")
    assert result.failed == dict.fromkeys(named("a", "b"), "not up in 0 s: away")
    assert cluster.failures["GET", path("b")] == [DENIED], "it is not asked for each workload"


def test_a_workload_that_may_not_be_changed_has_failed_and_no_other_of_its_wave_is_begun() -> None:
    cluster = Workloads([workload(name) for name in "abcde"])
    cluster.failures = {("PATCH", path("b")): [DENIED]}
    result = cluster.run("3")
    assert result.failed == {named("b")[0]: str(DENIED)}
    assert (cluster.restarted, result.restarted) == (["a"], [])
    # The one that was begun is awaited by the next run.
    assert result.remaining == named("a", "c", "d", "e")


def test_a_workload_that_cannot_be_taken_back_does_not_keep_the_others() -> None:
    cluster = Workloads([workload(name) for name in "abc"])
    for item in cluster.deployments.values():
        item["metadata"]["annotations"] = {RESTARTED_FOR_ANNOTATION: "app@7"}
    cluster.failures = {("PATCH", path("b")): [DENIED]}
    result = restart.take_back(cluster, restart.list_workloads(cluster, REGISTRY, ["apps"]), "app@7", 0)
    assert (list(result.failed), cluster.restarted) == (named("b"), ["a", "c"])
