"""The demo's parts that need no control plane: numbers, placing, steps, what Pods say, and the unbound workers."""

import io
import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console
from ruamel.yaml import YAML
from typer.testing import CliRunner

from local import sample_gitops
from local.__main__ import app
from local.controlplane.api import RequestRefused, path_of
from local.controlplane.waiting import NotYet
from local.demo import StepFailedError, workloads
from local.demo.numbers import Measured, rows, table
from local.demo.placing import place
from local.demo.steps import Steps, UnexpectedError
from local.paths import repository
from pullsecrets.config.gitops import GitOps
from pullsecrets.gitops.repository import load
from tests.unit.cluster import FakeCluster

MEASURED = Measured(
    commands=14,
    kubectl=0,
    secrets=25,
    by_hand=0,
    set_up_seconds=13.2,
    from_nothing=True,
    rotation_seconds=9.4,
    registries=2,
    namespaces=25,
    proved=25,
    violations=0,
    commits=2,
    versions=4,
)
STACK_FILE = (repository() / "Pulumi.dev.yaml").read_text(encoding="utf-8")


def measured(**changes: Any) -> dict[str, str]:
    return {row.what: row.measured for row in rows(replace(MEASURED, **changes))}


def test_each_line_says_what_was_measured() -> None:
    assert measured() == {
        "Secrets made by hand": "0 of 25; kubectl: 0 of 14 commands",
        "Initial set-up": "13 s",
        "Rotation of a credential": "9 s for 2, proved in 25 namespaces",
        "Error rate": "0 % (0 of 25 namespaces, 0 workloads)",
        "Coverage": "25 of 25 namespaces",
        "Audit trail": "2 commits, 4 versions in Vault",
    }


def test_what_went_wrong_is_not_hidden() -> None:
    found = measured(proved=20, violations=3, by_hand=4, kubectl=1)
    assert found["Error rate"] == "20 % (5 of 25 namespaces, 3 workloads)"
    assert found["Coverage"] == "20 of 25 namespaces"
    assert found["Secrets made by hand"] == "4 of 25; kubectl: 1 of 14 commands"
    assert found["Rotation of a credential"] == "9 s for 2, proved in 20 namespaces"


def test_a_set_up_of_what_was_there_says_so() -> None:
    assert measured(from_nothing=False)["Initial set-up"] == "13 s (it was set up before)"


def test_the_table_fits_a_terminal_and_holds_every_number(console: Console) -> None:
    console.print(table(MEASURED))
    shown = console.export_text()
    assert max(map(len, shown.splitlines())) <= 120
    for text in ("96 kubectl commands", "~10 minutes", "25 of 25 namespaces", "full Git history"):
        assert text in shown


def test_services_are_placed_in_a_last_wave_and_every_comment_stays() -> None:
    placed = place(STACK_FILE, ["unnamed-23", "unnamed-24"], "last")
    before, after = (YAML(typ="safe").load(text)["config"] for text in (STACK_FILE, placed))
    waves = after["pull-secrets:rollout"]["waves"]
    assert waves.pop() == {"name": "last", "services": ["unnamed-23", "unnamed-24"]}
    assert after == before
    kept = [line for line in STACK_FILE.splitlines() if "#" in line]
    assert kept
    assert [line for line in placed.splitlines() if "#" in line] == kept


def test_a_stack_file_without_a_rollout_gets_one() -> None:
    placed = YAML(typ="safe").load(place("config:\n  pull-secrets:gate: warn\n", ["a"], "all"))
    assert placed["config"]["pull-secrets:rollout"] == {"waves": [{"name": "all", "services": ["a"]}]}


@pytest.fixture
def console() -> Console:
    return Console(record=True, width=120, file=io.StringIO())


@pytest.fixture
def steps(console: Console) -> Steps:
    """A step needs nothing but a console; what else `Steps` does needs a control plane."""
    found = Steps.__new__(Steps)
    found.console = console
    return found


@pytest.mark.parametrize("failure", [UnexpectedError("exited with 1"), subprocess.CalledProcessError(1, ["seed"])])
def test_a_failed_step_is_named_with_its_cause(steps: Steps, failure: Exception) -> None:
    with pytest.raises(StepFailedError) as raised, steps.step("Rotation"):
        raise failure
    assert str(raised.value) == f"step 'Rotation' failed: {failure}"


def test_a_failed_step_ends_the_command_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def __init__(self, *_: object) -> None: ...

        def run(self) -> None:
            raise StepFailedError("step 'Rotation' failed: exited with 1")

    monkeypatch.setattr("local.demo.Demo", Failing)
    monkeypatch.setattr("local.toolchain.ensure", lambda: None)
    monkeypatch.setattr("local.__main__._control_plane", lambda: SimpleNamespace(up=list, plugins=tuple))
    done = CliRunner().invoke(app, ["demo"])
    assert done.exit_code == 1
    assert "error: step 'Rotation' failed: exited with 1" in done.stderr


def test_a_mistake_in_the_demo_itself_keeps_its_traceback(steps: Steps) -> None:
    with pytest.raises(KeyError), steps.step("Rotation"):
        raise KeyError


def test_a_step_ends_with_its_time(steps: Steps, console: Console) -> None:
    with steps.step("Rotation"):
        pass
    assert re.search(r"Rotation ─+\n0[.]0 s\n", console.export_text())


def test_an_unbound_worker_is_a_gap_and_the_rest_of_the_sample_is_as_it_was(tmp_path: Path) -> None:
    plain, with_workers = tmp_path / "plain", tmp_path / "unbound"
    sample_gitops.build(plain)
    sample_gitops.build(with_workers, unbound=True)
    changed = {
        file.relative_to(plain).as_posix()
        for file in plain.rglob("*.yaml")
        if file.read_bytes() != (with_workers / file.relative_to(plain)).read_bytes()
    }
    assert changed == {f"apps/{service}/base/deployment.yaml" for service in sample_gitops.UNBOUND}
    names = {item.name for item in load(with_workers, GitOps()).workloads if item.hosts and not item.references}
    assert names == {f"{service}-indexer" for service in sample_gitops.UNBOUND}


def deployment(generation: int = 1, observed: int = 1, updated: int = 1) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "auth-dev", "name": "auth", "generation": generation},
        "spec": {"replicas": 1},
        "status": {"observedGeneration": observed, "updatedReplicas": updated},
    }


def pod(namespace: str = "auth-dev", waiting: str | None = None, *, ready: bool = False) -> dict[str, Any]:
    state = {"waiting": {"reason": waiting}} if waiting else {"running": {}}
    conditions = [{"type": "Ready", "status": "True"}] if ready else []
    status = {"phase": "Pending", "conditions": conditions, "containerStatuses": [{"state": state}]}
    return {"metadata": {"namespace": namespace, "name": f"pod-{waiting or ready}"}, "status": status}


class Api:
    """The control plane's own client, before the API server of the unit tests; the Pods of a Job cannot be changed."""

    def __init__(self, *lists: list[dict[str, Any]]) -> None:
        paths = ("/apis/apps/v1/deployments", "/apis/batch/v1/jobs", "/api/v1/pods")
        self.cluster = FakeCluster(lists=dict(zip(paths, lists, strict=False)))

    def call(self, method: str, path: str, *_: object) -> dict[str, Any]:
        return self.cluster.request(method, path)

    def apply(self, item: Mapping[str, Any]) -> Mapping[str, Any]:
        found = self.cluster.find(path_of(item))
        if found not in (None, item):
            raise RequestRefused(422, "spec.template: field is immutable")
        return found or self.cluster.request("POST", path_of(item).rpartition("/")[0], body=item)


def settled(*lists: list[dict[str, Any]]) -> workloads.Pods:
    return workloads.settled(cast("Any", Api(*lists)), frozenset({"auth-dev"}))


def test_pods_are_counted_with_those_that_cannot_pull_and_without_other_namespaces() -> None:
    found = settled([deployment()], [], [pod(ready=True), pod(waiting="ImagePullBackOff"), pod("else", "Odd")])
    assert found == workloads.Pods(2, {"auth-dev/pod-ImagePullBackOff": "ImagePullBackOff"})


@pytest.mark.parametrize(
    "moving",
    [
        ([deployment(generation=2)], [], []),
        ([deployment(updated=0)], [], []),
        ([], [{"metadata": {"namespace": "auth-dev", "name": "migration"}, "spec": {"parallelism": 1}}], []),
        ([], [], [pod()]),
        ([], [], [pod(waiting="ErrImagePull")]),
    ],
)
def test_what_is_on_its_way_is_waited_for(moving: tuple[list[dict[str, Any]], ...]) -> None:
    with pytest.raises(NotYet):
        settled(*moving)


def test_a_job_whose_pods_changed_is_made_anew_and_one_that_did_not_is_left_alone() -> None:
    api = Api()
    job: dict[str, Any] = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"namespace": "auth-dev", "name": "migration"},
        "spec": {"template": 1},
    }
    for item in (job, job, {**job, "spec": {"template": 2}}):
        workloads.apply(cast("Any", api), [item])
    assert [method for method, _ in api.cluster.sent] == ["POST", "DELETE", "POST"]


def test_kinds_that_nothing_here_would_use_are_left_out_and_counted() -> None:
    found = workloads.apply(cast("Any", Api()), [{"kind": "Service"}, {"kind": "Service"}, {"kind": "CronJob"}])
    assert found == workloads.Applied({}, {"CronJob": 1, "Service": 2})
