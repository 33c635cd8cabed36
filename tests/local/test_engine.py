"""The engine with the plugins and the language host that the control plane gives it, on the real API server."""

import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local import paths, toolchain
from local.controlplane import ControlPlane, NotYet, until
from local.plugin_probe import version_of

pytestmark = pytest.mark.controlplane

# A namespace, and a dynamic resource that takes as long to create as the environment says.
PROGRAM = """
import os
import pulumi, pulumi_kubernetes as k8s
from things import Thing

options = pulumi.ResourceOptions(provider=k8s.Provider("cluster", kubeconfig=os.environ["KUBECONFIG"]))
labels = {"engine.example/tenant": os.environ["LABEL"]}
k8s.core.v1.Namespace("tenant", metadata={"name": os.environ["NAMESPACE"], "labels": labels}, opts=options)
if "SLOW" in os.environ:
    Thing("thing")
"""
THINGS = """
from pulumi.dynamic import CreateResult, Resource, ResourceProvider
import time


class Provider(ResourceProvider):
    def create(self, props):
        open("creating", "w").close()
        time.sleep(600)
        return CreateResult("made", props)


class Thing(Resource):
    def __init__(self, name):
        super().__init__(Provider(), name, {})
"""


class Project:
    """A Pulumi project of one stack, with a backend of its own."""

    def __init__(self, folder: Path, plane: ControlPlane, namespace: str) -> None:
        self.folder = folder
        self.namespace = namespace
        self.environment = {
            **os.environ,
            **plane.env(),
            "KUBECONFIG": str(plane.kubeconfig("admin")),
            "PULUMI_BACKEND_URL": f"file://{folder / 'backend'}",
            "NO_COLOR": "1",
            "NAMESPACE": namespace,
            "LABEL": "first",
        }
        (folder / "backend").mkdir(parents=True)
        virtualenv = paths.repository() / ".venv"
        runtime = f"runtime: {{name: python, options: {{toolchain: uv, virtualenv: {virtualenv}}}}}"
        (folder / "Pulumi.yaml").write_text(f"name: engine\n{runtime}\n")
        (folder / "__main__.py").write_text(PROGRAM)
        (folder / "things.py").write_text(THINGS)
        self.pulumi("stack", "init", "test")

    def pulumi(self, *arguments: str, fails: bool = False, **more: str) -> str:
        """Runs the command line with these variables too, and returns what it printed."""
        done = subprocess.run(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=self.folder,
            env=self.environment | more,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        printed = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, printed
        return printed

    def kubectl(self, *arguments: str) -> str:
        """Runs kubectl as an administrator."""
        command = [toolchain.binary("kubectl"), *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout


@pytest.fixture(scope="module")
def plane() -> ControlPlane:
    toolchain.ensure()
    plane = ControlPlane(paths.state_home())
    plane.up()
    return plane


@pytest.fixture
def project(plane: ControlPlane, tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path / "project", plane, f"engine-{secrets.token_hex(3)}")
    yield project
    project.kubectl("delete", "namespace", project.namespace, "--ignore-not-found")


def test_an_object_from_its_first_preview_to_its_end_without_a_word_about_versions(project: Project):
    printed = [project.pulumi("preview"), project.pulumi("up", "--yes")]
    printed.append(project.pulumi("preview", "--expect-no-changes"))
    printed.append(project.pulumi("preview", "--diff", LABEL="second"))
    assert "+ 3 to create" in printed[0]
    assert "+ 3 created" in printed[1]
    assert '~ engine.example/tenant: "first" => "second"' in printed[3]
    assert [text for text in printed if "warning" in text or "expected to have version" in text] == []
    project.pulumi("destroy", "--yes", "--skip-preview")
    assert project.namespace not in project.kubectl("get", "namespaces", "-o", "name")


def test_the_plugin_that_serves_is_the_one_that_is_said_to(plane: ControlPlane):
    [program] = (plane.layout.state / "pulumi-home").glob("plugins/*/pulumi-resource-kubernetes")
    told = {plugin.package: plugin.version for plugin in plane.plugins()}
    assert told["kubernetes"] == version_of(program, "kubernetes")


def test_an_engine_that_is_killed_leaves_no_process_behind(project: Project):
    engine = subprocess.Popen(
        ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive"],
        cwd=project.folder,
        env=project.environment | {"SLOW": "yes"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: creating(project), 60, "the dynamic provider works")
        plugins = psutil.Process(engine.pid).children(recursive=True)
        # The language host, the program, the Kubernetes plugin and the dynamic provider.
        assert len(plugins) >= 4
    finally:
        engine.send_signal(signal.SIGKILL)
        engine.wait()
    _, alive = psutil.wait_procs(plugins, timeout=20)
    assert alive == []


def creating(project: Project) -> None:
    if not (project.folder / "creating").exists():
        raise NotYet("it has not begun")


def test_what_a_program_prints_and_raises_is_shown(project: Project):
    (project.folder / "__main__.py").write_text('print("hello")\nraise ValueError("wrong")\n')
    printed = project.pulumi("preview", fails=True)
    assert "hello" in printed
    assert "ValueError: wrong" in printed
