"""Several stacks by one command: a fleet of three and one whose cluster does not answer, from preview to rollback."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from local import fleet
from local.controlplane import ControlPlane
from local.controlplane.waiting import NotYet, until
from local.workspace import PROJECT, Workspace
from pullsecrets.errors import ExitCode

pytestmark = pytest.mark.controlplane

GOOD = ("fleet-01", "fleet-02", "fleet-03")
DEAD = "fleet-04"
CHOSEN = ("--select", ",".join(GOOD))


@dataclass
class Fleet:
    """The stacks' folder, and who works on them."""

    plane: ControlPlane
    workspace: Workspace

    def run(
        self, command: str, *arguments: str, stdin: str | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a `pull-secrets fleet` command."""
        argv, environment = self.argv(command, *arguments), {**self.workspace.environment, **variables}
        return subprocess.run(
            argv, env=environment, input=stdin, capture_output=True, text=True, timeout=150, check=False
        )

    def argv(self, *arguments: str) -> list[str]:
        """The argument list of a `pull-secrets fleet` command."""
        return [sys.executable, "-m", "pullsecrets", "fleet", *arguments, "--directory", str(self.workspace.root)]

    def report(self, command: str, *arguments: str, stdin: str | None = None, **variables: str) -> dict[str, Any]:
        """Run a command and return its report, with the stacks by name."""
        done = self.run(command, *arguments, "--json", stdin=stdin, **variables)
        assert done.stdout, done.stderr
        report = json.loads(done.stdout)
        assert report["exitCode"] == done.returncode
        return {**report, "stacks": {item["stack"]: item for item in report["stacks"]}}

    def forget(self) -> None:
        """Take away what the stacks have declared, stored and noted."""
        shutil.rmtree(self.workspace.root / "build", ignore_errors=True)
        stored = self.plane.vault("root").secrets.kv.v2
        for name in GOOD:
            self.workspace.pulumi("destroy", "--yes", "--skip-preview", "--stack", name)
            stored.delete_metadata_and_all_versions(f"{name}/registries/{fleet.registry_of(name)}", "secret")

    @cached_property
    def operator(self) -> dict[str, str]:
        """Variables of who rotates."""
        identity = self.plane.kubeconfig_as("operator")
        file = fleet.kubeconfig(self.plane, identity, (*GOOD, DEAD), {DEAD: fleet.NOBODY})
        return {"KUBECONFIG": str(file), "VAULT_TOKEN": self.plane.layout.seeder_token.read_text().strip()}

    def status(self) -> dict[str, Any]:
        """What `fleet status` says of the stacks whose clusters answer."""
        return self.report("status", *CHOSEN, **self.operator)["stacks"]


def states(report: dict[str, Any]) -> dict[str, str]:
    return {name: item["state"] for name, item in report["stacks"].items()}


def credential(password: str, host: str = fleet.HOST) -> str:
    return json.dumps({"auths": {host: {"username": "bot", "password": password}}})


@pytest.fixture(scope="module")
def three(plane: ControlPlane) -> Iterator[Fleet]:
    """Three stacks in two waves, and one in the second whose cluster does not answer."""
    environment = plane.env()
    contexts = fleet.kubeconfig(plane, Path(environment["KUBECONFIG"]), (*GOOD, DEAD), {DEAD: fleet.NOBODY})
    workspace = Workspace(plane.layout.state / "e2e-fleet", environment)
    for name, wave in {"fleet-01": 1, "fleet-02": 2, "fleet-03": 3, DEAD: 2}.items():
        fleet.use_stack(workspace, name, fleet.configuration(name, [f"{name}-one", f"{name}-two"], wave))
    workspace.environment["KUBECONFIG"] = str(contexts)
    found = Fleet(plane, workspace)
    found.forget()
    yield found
    found.forget()


def test_stacks_are_previewed_side_by_side_and_one_that_cannot_be_is_named(three: Fleet) -> None:
    report = three.report("preview")
    assert states(report) == {**dict.fromkeys(GOOD, "done"), DEAD: "failed"}
    assert "https://127.0.0.1:1 does not answer" in report["stacks"][DEAD]["summary"]
    assert report["stacks"]["fleet-01"]["detail"]["changes"]["create"] > 10


def test_a_wave_that_fails_is_the_last_one_and_the_rest_is_resumed_without_it(three: Fleet) -> None:
    report = three.report("up", "--yes")
    assert states(report) == {"fleet-01": "done", "fleet-02": "done", DEAD: "failed", "fleet-03": "not begun"}
    resumed = three.report("up", "--yes", "--resume", *CHOSEN)
    assert states(resumed) == {"fleet-01": "done before", "fleet-02": "done before", "fleet-03": "done"}
    assert three.report("refresh-check", *CHOSEN)["exitCode"] == 0


def test_a_rotation_writes_nothing_unless_each_stack_can_take_it(three: Fleet) -> None:
    secret = "canary-fleet-first"
    refused = three.run("rotate", "fleet-*", "--from-file", "-", "--yes", stdin=credential(secret), **three.operator)
    assert refused.returncode == ExitCode.UNREACHABLE
    assert "1 stack failed the check: nothing was changed" in refused.stderr
    assert all(item["detail"]["registries"][0]["version"] == 0 for item in three.status().values())

    report = three.report(
        "rotate", "fleet-*", "--from-file", "-", "--yes", "--skip-unready", stdin=credential(secret), **three.operator
    )
    assert states(report) == {**dict.fromkeys(GOOD, "done"), DEAD: "failed"}
    assert all(len(report["stacks"][name]["detail"]["namespaces"]) == 2 for name in GOOD)
    assert secret not in refused.stdout + refused.stderr + json.dumps(report)


def test_a_credential_for_other_hosts_is_refused_with_the_stack_it_does_not_fit(three: Fleet) -> None:
    other = credential("canary-fleet-other", "other.example.com")
    refused = three.run("rotate", "fleet-*", *CHOSEN, "--from-file", "-", "--yes", stdin=other, **three.operator)
    assert refused.returncode == ExitCode.BAD_INPUT
    assert "the credential does not fit each stack, and nothing was written" in refused.stderr
    assert all(f"  {name}: " in refused.stderr for name in GOOD)


def test_each_stack_goes_back_to_what_it_had(three: Fleet) -> None:
    second = credential("canary-fleet-second")
    rotated = three.report("rotate", "fleet-*", *CHOSEN, "--from-file", "-", "--yes", stdin=second, **three.operator)
    before = three.status()
    assert [item["detail"]["version"] for item in rotated["stacks"].values()] == [2, 2, 2]
    restored = three.report("rollback", "fleet-*", *CHOSEN, "--yes", **three.operator)
    assert [item["detail"]["version"] for item in restored["stacks"].values()] == [3, 3, 3]
    now = three.status()
    assert all(now[name]["detail"] != before[name]["detail"] for name in GOOD)
    assert {now[name]["summary"] for name in GOOD} == {f"{name}-registry version 3 in 2 of 2" for name in GOOD}


def test_the_audit_of_all_is_one_page(three: Fleet, tmp_path: Path) -> None:
    page = tmp_path / "fleet.html"
    done = three.run("audit", "--format", "html", "--output", str(page), **three.operator)
    assert done.returncode == ExitCode.UNREACHABLE, done.stdout
    text = page.read_text()
    assert "audit: 3 of 4 stacks done, 1 failed" in text
    assert all(name in text for name in (*GOOD, DEAD))


def test_doctor_looks_at_each_stack(three: Fleet) -> None:
    report = three.report("doctor", **three.operator)
    assert states(report) == {**dict.fromkeys(GOOD, "done"), DEAD: "failed"}, report


def test_a_stack_that_another_run_holds_is_named_before_any_is_changed(three: Fleet) -> None:
    backend = Path(urlsplit(three.workspace.environment["PULUMI_BACKEND_URL"]).path)
    lock = backend / ".pulumi" / "locks" / "organization" / PROJECT / "fleet-02" / "other.json"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text(
        json.dumps({"pid": 7, "username": "kim", "hostname": "runner", "timestamp": "2026-01-01T00:00:00Z"})
    )
    try:
        report = three.report("up", *CHOSEN, "--yes")
    finally:
        shutil.rmtree(lock.parent)
    assert report["exitCode"] == ExitCode.CONFLICT
    assert report["command"] == "up (check)"
    assert "another run holds it (kim@runner (pid 7) at 2026" in report["stacks"]["fleet-02"]["summary"]


def test_bad_input_is_named_before_anything_is_changed(three: Fleet, tmp_path: Path) -> None:
    nobody = three.run("up", "--yes", "--select", "wave=9")
    assert (nobody.returncode, "no stack has wave=9" in nobody.stderr) == (ExitCode.BAD_INPUT, True)
    without_contexts = three.report("up", *CHOSEN, "--yes", KUBECONFIG=str(three.plane.kubeconfig("pulumi")))
    assert without_contexts["exitCode"] == ExitCode.BAD_INPUT
    assert "fleet-01" in without_contexts["stacks"]["fleet-01"]["summary"]
    empty = three.report("up", *CHOSEN, "--yes", PULUMI_BACKEND_URL=f"file://{tmp_path}")
    assert empty["exitCode"] == ExitCode.BAD_INPUT
    assert "pulumi stack init fleet-01" in empty["stacks"]["fleet-01"]["summary"]


def test_an_interrupted_run_ends_its_runs_in_order_and_unlocks_their_stacks(three: Fleet) -> None:
    argv = three.argv("refresh-check", *CHOSEN)
    with subprocess.Popen(argv, env=three.workspace.environment, stdout=subprocess.PIPE, text=True) as process:
        until(lambda: require_runs(process), 60, "a run of pulumi")
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert "interrupted" in printed
    assert three.report("up", *CHOSEN, "--yes", "--dry-run")["exitCode"] == 0


def require_runs(process: subprocess.Popen[str]) -> None:
    """Wait for `pulumi` among the processes of a command; it is the fork server's grandchild."""
    for child in psutil.Process(process.pid).children(recursive=True):
        # Some of them end meanwhile.
        with suppress(psutil.NoSuchProcess):
            if "preview" in child.cmdline():
                return
    raise NotYet("pulumi does not run")
