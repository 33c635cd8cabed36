"""Waves of a rollout, what Applications wait for and go back to, and which events are about pulls."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets.config import StackConfig, parse
from pullsecrets.delivery import verify
from pullsecrets.delivery.verify import Pull, Trial
from pullsecrets.errors import BadInputError
from pullsecrets.kube.eso import external_secret_path
from pullsecrets.kube.objects import secret_path
from pullsecrets.rollout import gates
from pullsecrets.rollout.argocd import GROUP, ArgoCd, Unfinished, unfinished
from pullsecrets.rollout.gates import SmokeCheck, event_time, failed_smoke_checks, pull_events
from pullsecrets.rollout.plan import Target, Wave, plan
from pullsecrets.rollout.run import Rollout, Settings, require_unfinished
from tests.components.program import stack_file
from tests.unit import delivered
from tests.unit.cluster import FakeCluster
from tests.unit.doctor.tenants import World, healthy, ready, stack_config

REGISTRY = "registry-api-tanhdev"
SINCE = datetime(2026, 1, 1, 12, tzinfo=UTC)


def stack(name: str = "dev", **rollout: Any) -> StackConfig:
    raw = stack_file(name)
    placed = {"name": "late", "services": ["unnamed-23", "unnamed-24"]}
    raw["rollout"] = rollout or {"waves": [*raw["rollout"]["waves"], placed]}
    return parse(raw, name)


def test_the_seeds_waves_name_22_of_24_services_and_the_two_are_refused() -> None:
    config = parse(stack_file("dev"), "dev")
    with pytest.raises(BadInputError, match=r"no wave for unnamed-23, unnamed-24 \(2 of 24 services\)"):
        plan(config, config.registry(REGISTRY))


def test_waves_are_namespaces_of_one_environment_in_the_order_of_the_stack_file() -> None:
    config = stack()
    waves = plan(config, config.registry(REGISTRY))
    assert [wave.name for wave in waves][:2] == ["canary", "core"]
    assert waves[0].targets == (Target("auth", "auth-dev"),)
    assert waves[1].namespaces == ("user-dev", "customer-dev", "gateway-dev")
    assert sum(len(wave.targets) for wave in waves) == 24


def test_single_waves_can_be_chosen_and_unknown_ones_are_named() -> None:
    config = stack()
    assert [wave.name for wave in plan(config, config.registry(REGISTRY), only=["core"])] == ["core"]
    with pytest.raises(BadInputError, match="--wave: found 'corre'; allowed: canary, core"):
        plan(config, config.registry(REGISTRY), only=["corre"])


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_an_environment_that_the_matrices_do_not_have_is_refused(environment: str) -> None:
    config = stack()
    with pytest.raises(BadInputError, match=f"--environment: found '{environment}'; allowed: dev"):
        plan(config, config.registry(REGISTRY), environment)


def test_a_registry_without_services_has_no_rollout() -> None:
    config = stack()
    with pytest.raises(BadInputError, match="found none with registry 'app-registry-pull'"):
        plan(config, config.registry("app-registry-pull"))


def test_a_stack_without_waves_has_no_rollout() -> None:
    config = stack(waves=[])
    with pytest.raises(BadInputError, match=r"rollout\.waves: found none"):
        plan(config, config.registry(REGISTRY))


def of_another_type(world: World) -> None:
    world.secrets["team-a"]["type"] = "Opaque"


def failing_without_a_word(world: World) -> None:
    world.external_secrets["team-a"]["status"]["conditions"] = [ready("False", "")]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (of_another_type, "type: not dockerconfigjson"),
        (failing_without_a_word, "ExternalSecret: not Ready: it says no reason"),
    ],
)
def test_a_namespace_that_does_not_pass_the_delivery_says_why(change: Callable[[World], None], reason: str) -> None:
    world = healthy()
    change(world)
    config = stack_config()
    found = gates.undelivered(config, world.cluster(), config.registry("app"), "0123456789abcdef", ["team-a", "team-b"])
    assert found == {"team-a": reason}


@given(st.text())
def test_a_gate_never_fails_without_a_reason(text: str) -> None:
    assert gates.Reason(text).strip()


def application(phase: str = "Succeeded", sync: str = "Synced", health: str = "Healthy") -> dict[str, Any]:
    operation = {"phase": phase, "finishedAt": "2026-01-01T12:00:01Z", "message": "one of two hooks failed"}
    status = {"operationState": operation, "sync": {"status": sync}, "health": {"status": health}}
    return {"spec": {}, "status": status}


@pytest.mark.parametrize(
    ("found", "left"),
    [
        (application(), None),
        (application(sync="OutOfSync"), Unfinished("is OutOfSync")),
        (application(health="Progressing"), Unfinished("is Progressing")),
        (application(health="Degraded"), Unfinished("is Degraded", failed=True)),
        (application("Failed"), Unfinished("sync failed: one of two hooks failed", failed=True)),
        (application("Running"), Unfinished("syncs (Running)")),
    ],
)
def test_an_application_is_through_when_it_is_synced_and_healthy(
    found: dict[str, Any], left: Unfinished | None
) -> None:
    assert unfinished(found, "2026-01-01T11:00:00Z", synced=True) == left


def test_a_sync_that_ended_before_it_was_asked_for_does_not_count() -> None:
    state = unfinished(application(), "2026-01-01T12:00:01Z", synced=True)
    assert state is not None
    assert "has not begun" in state.reason


def test_an_operation_that_was_not_picked_up_yet_has_not_begun() -> None:
    state = unfinished({**application(), "operation": {"sync": {}}}, "", synced=True)
    assert state is not None
    assert not state.failed


def test_a_rolled_back_application_is_out_of_sync_and_through() -> None:
    assert unfinished(application(sync="OutOfSync"), "", synced=False) is None


PLACE = f"{GROUP}/namespaces/argocd/applications"
FIRST, SECOND = Wave("first", (Target("auth", "auth-dev"),)), Wave("second", (Target("user", "user-dev"),))
BOTH = Wave("both", (*FIRST.targets, *SECOND.targets))


class Controller(FakeCluster):
    """Does with Applications what Argo CD's controller does, at once; a sync that succeeds is added to the history."""

    def __init__(self, **histories: list[dict[str, Any]]) -> None:
        """Make by service an Application, and a namespace that holds the credential `one` and is bound."""
        super().__init__()
        self.namespaces = [f"{service}-dev" for service in histories]
        for name, history in zip(self.namespaces, histories.values(), strict=True):
            space = {"name": name, "labels": {f"apps.platform/{REGISTRY}": "true"}}
            account = {"metadata": {"namespace": name, "name": "default"}, "imagePullSecrets": [{"name": REGISTRY}]}
            self.objects |= {
                f"{PLACE}/{name}": {"metadata": {"name": name}, "spec": {}, "status": {"history": history}},
                f"/api/v1/namespaces/{name}": {"metadata": space},
                f"/api/v1/namespaces/{name}/serviceaccounts/default": account,
                external_secret_path(name, REGISTRY): delivered.external_secret(name, REGISTRY),
            }
        self.deliver("one")
        self.now = SINCE
        self.head = "B"
        self.phases: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self._ended = 0

    def clock(self) -> tuple[datetime, datetime]:
        return self.now, SINCE

    def deliver(self, digest: str) -> None:
        for name in self.namespaces:
            self.objects[secret_path(name, REGISTRY)] = delivered.secret(name, digest, REGISTRY)

    def complain(self, moment: str = "2026-01-01T12:00:00Z") -> None:
        """Have the kubelet say that a Pod of the service auth cannot pull."""
        self.add("/api/v1/namespaces/auth-dev/events", event("Failed", "Failed to pull image", moment))
        named: dict[str, Any] = {"imagePullSecrets": [{"name": REGISTRY}], "containers": []}
        self.objects["/api/v1/namespaces/auth-dev/pods/auth-1"] = {**pod("new"), "spec": named}

    def merge_patch(self, path: str, change: Mapping[str, Any]) -> dict[str, Any]:
        super().merge_patch(path, change)
        item = self.objects[path]
        if operation := item.pop("operation", None):
            self._ended += 1
            name, revision = item["metadata"]["name"], operation["sync"].get("revision", self.head)
            self.asked.append((name, revision))
            phase = self.phases.get(name, "Succeeded")
            item["status"] |= {
                "operationState": {"phase": phase, "finishedAt": f"2026-01-01T12:00:{self._ended:02}Z"},
                "sync": {"status": "Synced" if revision == self.head else "OutOfSync"},
                "health": {"status": "Healthy"},
            }
            if phase == "Succeeded":
                item["status"]["history"] = [*item["status"]["history"], {"revision": revision}]
        return item

    def rollout(self, digest: str = "one", pull: Trial | None = None) -> Rollout:
        config = stack()
        settings = Settings(5, argocd=ArgoCd(self, "argocd"), pull=pull)
        return Rollout(config, self, config.registry(REGISTRY), digest, settings)

    def running(self, service: str) -> str:
        return self.objects[f"{PLACE}/{service}-dev"]["status"]["history"][-1]["revision"]


def history(*revisions: str) -> list[dict[str, Any]]:
    return [{"revision": revision} for revision in revisions]


@pytest.mark.parametrize(("message", "asked"), [("", [("auth-dev", "B"), ("user-dev", "B")]), ("401", [])])
def test_nothing_of_a_wave_is_touched_unless_a_test_pod_pulled_in_each_of_its_namespaces(
    monkeypatch: pytest.MonkeyPatch, message: str, asked: list[tuple[str, str]]
) -> None:
    pulls = [Pull("auth-dev", True, "pulled"), Pull("user-dev", not message, message)]
    monkeypatch.setattr(verify, "run", lambda *_: pulls)
    cluster = Controller(auth=history("A"), user=history("A"))
    rollout = cluster.rollout(pull=Trial(stack(), stack().registry(REGISTRY), "registry-api.tanhdev.com/team/auth:1"))
    (report,) = rollout.run([BOTH])
    assert cluster.asked == asked
    assert (report.failed_gate, dict(report.problems)) == (
        ("test pull", {"user-dev": "401"}) if message else (None, {})
    )


def test_a_failed_sync_is_rolled_back_to_what_ran_and_not_to_the_deploy_before_it() -> None:
    cluster = Controller(auth=history("older", "A"))
    cluster.phases["auth-dev"] = "Failed"
    assert [item.state for item in cluster.rollout().run([FIRST])] == ["failed"]
    cluster.phases.clear()
    assert cluster.rollout().abort(FIRST).state == "rolled back"
    assert cluster.asked == [("auth-dev", "B"), ("auth-dev", "A")]


def test_a_wave_that_was_synced_twice_is_rolled_back_to_what_ran_before_the_first_time() -> None:
    cluster = Controller(auth=history("A"))
    cluster.complain()
    for _ in range(2):
        assert [item.failed_gate for item in cluster.rollout().run([FIRST])] == ["image-pull events"]
    assert cluster.rollout().abort(FIRST).state == "rolled back"
    assert cluster.running("auth") == "A"


def test_a_rollout_of_other_content_keeps_what_ran_before_itself() -> None:
    cluster = Controller(auth=history("A"))
    cluster.rollout("one").run([FIRST])
    cluster.head = "C"
    cluster.deliver("two")
    cluster.rollout("two").run([FIRST])
    cluster.rollout("two").abort(FIRST)
    assert cluster.running("auth") == "B"


def test_a_wave_that_was_rolled_back_and_begun_again_keeps_what_runs_then() -> None:
    cluster = Controller(auth=history("A"))
    cluster.complain()
    cluster.rollout().run([FIRST])
    cluster.rollout().abort(FIRST)
    cluster.objects[f"{PLACE}/auth-dev"]["status"]["history"].append({"revision": "mended"})
    cluster.rollout().run([FIRST])
    cluster.rollout().abort(FIRST)
    assert cluster.running("auth") == "mended"


def test_a_wave_that_was_never_synced_is_not_unfinished_and_is_not_rolled_back() -> None:
    cluster = Controller(auth=history("older", "A"), user=history("older", "A"))
    cluster.rollout().run([FIRST, SECOND], may_go_on=lambda _: False)
    asked = list(cluster.asked)
    with pytest.raises(BadInputError, match="--abort: no wave is unfinished"):
        require_unfinished(cluster.rollout(), [FIRST, SECOND], named=False)
    with pytest.raises(BadInputError, match="wave second: this rollout has synced none of its Applications"):
        cluster.rollout().abort(SECOND)
    assert cluster.asked == asked


def test_the_wave_whose_sync_failed_is_the_unfinished_one() -> None:
    cluster = Controller(auth=history("A"), user=history("A"))
    cluster.phases["user-dev"] = "Failed"
    cluster.rollout().run([FIRST, SECOND])
    assert require_unfinished(cluster.rollout(), [FIRST, SECOND], named=False) is SECOND


def test_of_a_wave_only_the_applications_that_were_synced_are_rolled_back() -> None:
    cluster = Controller(auth=history("A"), user=history("older", "A"))
    cluster.rollout().run([FIRST])
    assert cluster.rollout().abort(BOTH).state == "rolled back"
    assert cluster.asked == [("auth-dev", "B"), ("auth-dev", "A")]


def test_a_rollback_that_failed_is_tried_again_and_what_went_back_stays() -> None:
    cluster = Controller(auth=history("A"), user=history("A"))
    cluster.rollout().run([BOTH])
    cluster.phases["user-dev"] = "Failed"
    report = cluster.rollout().abort(BOTH)
    assert (report.state, list(report.problems)) == ("not rolled back", ["user-dev"])
    cluster.phases.clear()
    assert require_unfinished(cluster.rollout(), [BOTH], named=False) is BOTH
    assert cluster.rollout().abort(BOTH).state == "rolled back"
    assert cluster.asked[-2:] == [("user-dev", "A"), ("user-dev", "A")]


@pytest.mark.parametrize(
    ("ran", "spec", "reason"),
    [
        ([], {}, "has no earlier revision"),
        ([{"revisions": ["x", "y"]}], {}, "has no earlier revision"),
        (history("A"), {"sources": [{"path": "one"}, {"path": "two"}]}, "has several sources"),
        (history("A"), {"syncPolicy": {"automated": {}}}, "syncs by itself; revert the commit"),
        (history("A"), {"syncPolicy": {"automated": {"prune": True}}}, "syncs by itself; revert the commit"),
    ],
)
def test_what_cannot_go_back_is_told_before_anything_is_changed_and_the_others_go_back(
    ran: list[dict[str, Any]], spec: dict[str, Any], reason: str
) -> None:
    cluster = Controller(auth=history("A"), user=ran)
    cluster.objects[f"{PLACE}/user-dev"]["spec"] = spec
    cluster.rollout().run([BOTH])
    report = cluster.rollout().abort(BOTH)
    assert cluster.running("auth") == "A"
    assert list(report.problems) == ["user-dev"]
    assert reason in report.problems["user-dev"]
    assert cluster.asked[2:] == [("auth-dev", "A")]


@pytest.mark.parametrize("automated", [None, {"enabled": False}])
def test_an_application_whose_automatic_sync_is_off_goes_back(automated: dict[str, Any] | None) -> None:
    cluster = Controller(auth=history("A"))
    cluster.objects[f"{PLACE}/auth-dev"]["spec"] = {"syncPolicy": {"automated": automated}}
    cluster.rollout().run([FIRST])
    assert cluster.rollout().abort(FIRST).state == "rolled back"


def complaining(events: list[dict[str, Any]], *pods: dict[str, Any]) -> FakeCluster:
    """A cluster with the kubelet's events, and the Pods that exist now."""
    return FakeCluster(
        lists={"/api/v1/namespaces/auth-dev/events": events, "/api/v1/namespaces/auth-dev/pods": list(pods)}
    )


def pod(uid: str, **metadata: str) -> dict[str, Any]:
    of = {"namespace": "auth-dev", "name": "auth-1", "uid": uid, "creationTimestamp": "2026-01-01T11:00:00Z"}
    return {"metadata": {**of, **metadata}}


def event(reason: str, message: str, moment: str, uid: str = "new") -> dict[str, Any]:
    about = {"kind": "Pod", "namespace": "auth-dev", "name": "auth-1", "uid": uid}
    return {
        "involvedObject": about,
        "type": "Warning",
        "reason": reason,
        "message": message,
        "lastTimestamp": moment,
    }


def test_only_complaints_about_images_since_the_wave_began_count() -> None:
    events = [
        event("Failed", 'Failed to pull image "registry-api.tanhdev.com/auth:1"', "2026-01-01T12:00:00Z"),
        event("Failed", 'Failed to pull image "registry-api.tanhdev.com/auth:1"', "2026-01-01T11:59:59Z"),
        event("BackOff", "Back-off restarting failed container", "2026-01-01T12:00:05Z"),
        event("FailedScheduling", "no node has the image volume", "2026-01-01T12:00:05Z"),
    ]
    assert list(pull_events(complaining(events[:1], pod("new")), ["auth-dev"], SINCE)) == ["auth-dev/auth-1"]
    assert pull_events(complaining(events[1:], pod("new")), ["auth-dev"], SINCE) == {}


@pytest.mark.parametrize("pods", [[], [pod("new")], [pod("old", deletionTimestamp="2026-01-01T12:00:03Z"), pod("new")]])
def test_complaints_of_a_pod_that_the_restart_replaced_do_not_count(pods: list[dict[str, Any]]) -> None:
    repeated = event("BackOff", "Back-off pulling image", "2026-01-01T12:00:02Z", "old")
    cluster = complaining([repeated], *pods)
    assert pull_events(cluster, ["auth-dev"], SINCE) == {}
    assert cluster.whole == {"/api/v1/namespaces/auth-dev/events"}, "of Pods nothing but metadata is wanted"


@pytest.mark.parametrize(("moment", "state"), [("12:04:59", "done"), ("12:05:00", "failed")])
def test_complaints_count_from_when_the_wave_began_by_the_servers_clock(moment: str, state: str) -> None:
    cluster = Controller(auth=history("A"))
    cluster.now = SINCE + timedelta(minutes=5)
    cluster.complain(f"2026-01-01T{moment}Z")
    assert [item.state for item in cluster.rollout().run([FIRST])] == [state]


def test_the_latest_moment_of_an_event_counts() -> None:
    series = {"series": {"lastObservedTime": "2026-01-01T12:00:00.5Z"}, "eventTime": "2026-01-01T11:00:00Z"}
    assert event_time(series) == datetime(2026, 1, 1, 12, 0, 0, 500000, tzinfo=UTC)
    assert event_time({}) is None


def test_the_smoke_check_asks_the_service_of_the_services_name() -> None:
    target = Target("auth", "auth-dev")
    assert SmokeCheck("8001", "/health").url(target) == "/api/v1/namespaces/auth-dev/services/auth:8001/proxy/health"
    assert SmokeCheck("https:8443").url(target) == "/api/v1/namespaces/auth-dev/services/https:auth:8443/proxy/"


class Proxy(FakeCluster):
    """A cluster whose service proxy answers each path with a status and a reason."""

    def __init__(self, probes: dict[str, tuple[int, str]]) -> None:
        super().__init__()
        self.probes = probes

    def probe(self, path: str) -> tuple[int, str]:
        return self.probes[path]


@pytest.mark.parametrize(("status", "good"), [(200, True), (204, True), (302, True), (404, False), (503, False)])
def test_a_service_passes_its_smoke_check_when_it_answers_with_success(status: int, good: bool) -> None:
    target = Target("auth", "auth-dev")
    smoke = SmokeCheck("8001", "health")
    cluster = Proxy({smoke.url(target): (status, "no endpoints available")})
    found = failed_smoke_checks(cluster, smoke, [target])
    assert list(found) == ([] if good else ["auth-dev"])
    assert all(f"answers {status} no endpoints available" in reason for reason in found.values())


def test_without_a_smoke_check_nothing_is_asked() -> None:
    assert failed_smoke_checks(Proxy({}), None, [Target("auth", "auth-dev")]) == {}
