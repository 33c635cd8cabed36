"""Waves of a rollout, what an Application waits for, and which events are about pulls."""

from datetime import UTC, datetime
from typing import Any

import pytest

from pullsecrets.config import StackConfig, parse
from pullsecrets.errors import BadInputError
from pullsecrets.rollout.argocd import Unfinished, unfinished
from pullsecrets.rollout.gates import SmokeCheck, event_time, failed_smoke_checks, pull_events
from pullsecrets.rollout.plan import Target, plan
from tests.components.program import stack_file
from tests.unit.fakes import FakeLists

REGISTRY = "registry-api-tanhdev"
SINCE = datetime(2026, 1, 1, 12, tzinfo=UTC)


def stack(name: str = "dev", **rollout: Any) -> StackConfig:
    raw = stack_file(name)
    placed = {"name": "late", "services": ["unnamed-23", "unnamed-24"]}
    raw["rollout"] = rollout or {"waves": [*raw["rollout"]["waves"], placed]}
    return parse(raw, name, {"VAULT_ADDR": "https://vault.example.com:8200"})


def test_the_seeds_waves_name_22_of_24_services_and_the_two_are_refused() -> None:
    config = parse(stack_file("dev"), "dev", {"VAULT_ADDR": "https://vault.example.com:8200"})
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


def event(reason: str, message: str, moment: str) -> dict[str, Any]:
    about = {"kind": "Pod", "namespace": "auth-dev", "name": "auth-1"}
    return {"involvedObject": about, "reason": reason, "message": message, "lastTimestamp": moment}


def test_only_complaints_about_images_since_the_wave_began_count() -> None:
    events = [
        event("Failed", 'Failed to pull image "registry-api.tanhdev.com/auth:1"', "2026-01-01T12:00:00Z"),
        event("Failed", 'Failed to pull image "registry-api.tanhdev.com/auth:1"', "2026-01-01T11:59:59Z"),
        event("BackOff", "Back-off restarting failed container", "2026-01-01T12:00:05Z"),
        event("FailedScheduling", "no node has the image volume", "2026-01-01T12:00:05Z"),
    ]
    found = pull_events(FakeLists({"/api/v1/namespaces/auth-dev/events": events[:1]}), ["auth-dev"], SINCE)
    assert list(found) == ["auth-dev/auth-1"]
    assert pull_events(FakeLists({"/api/v1/namespaces/auth-dev/events": events[1:]}), ["auth-dev"], SINCE) == {}


def test_the_latest_moment_of_an_event_counts() -> None:
    series = {"series": {"lastObservedTime": "2026-01-01T12:00:00.5Z"}, "eventTime": "2026-01-01T11:00:00Z"}
    assert event_time(series) == datetime(2026, 1, 1, 12, 0, 0, 500000, tzinfo=UTC)
    assert event_time({}) is None


def test_the_smoke_check_asks_the_service_of_the_services_name() -> None:
    target = Target("auth", "auth-dev")
    assert SmokeCheck("8001", "/health").url(target) == "/api/v1/namespaces/auth-dev/services/auth:8001/proxy/health"
    assert SmokeCheck("https:8443").url(target) == "/api/v1/namespaces/auth-dev/services/https:auth:8443/proxy/"


class Proxy(FakeLists):
    """A cluster whose service proxy answers each path with a status and a reason."""

    def __init__(self, answers: dict[str, tuple[int, str]]) -> None:
        super().__init__({})
        self.answers = answers

    def probe(self, path: str) -> tuple[int, str]:
        return self.answers[path]


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
