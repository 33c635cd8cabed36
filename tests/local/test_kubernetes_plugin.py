"""The Kubernetes plugin and the Python language host under the real engine, on the real API server.

Whichever plugin is in place is tested: with LOCAL_KUBERNETES_PLUGIN set, another one than the stand-in.
"""

import json
import os
import secrets
import signal
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from local import paths, toolchain
from local.controlplane import ControlPlane, NotYet, until

pytestmark = pytest.mark.controlplane

# Declares what objects.json lists, so that a test changes a program by writing that file.
PROGRAM = """
import json, os, time
import pulumi, pulumi_kubernetes as k8s
from things import Thing

declared = json.load(open("objects.json"))
provider = k8s.Provider("cluster", kubeconfig=os.environ["KUBECONFIG"], **declared.get("provider", {}))
made = {}
for item in declared["objects"]:
    module, _, name = item["type"].rpartition(".")
    cls = k8s
    for part in filter(None, [*module.split("."), name]):
        cls = getattr(cls, part)
    after = [made[name] for name in item.get("after", [])]
    timeouts = pulumi.CustomTimeouts(**item.get("timeouts", {}))
    options = pulumi.ResourceOptions(provider=provider, depends_on=after, custom_timeouts=timeouts)
    made[item["name"]] = cls(item["name"], **item["properties"], opts=options)
for name, value in declared.get("things", {}).items():
    Thing(name, value)
"""
THINGS = """
from pulumi.dynamic import CreateResult, Resource, ResourceProvider
import time


class Provider(ResourceProvider):
    def create(self, props):
        if props["value"] == "slow":
            open("creating", "w").close()
            time.sleep(600)
        return CreateResult("made", props)


class Thing(Resource):
    def __init__(self, name, value):
        super().__init__(Provider(), name, {"value": value})
"""


class Project:
    """A Pulumi project of one stack, with a backend of its own."""

    def __init__(self, folder: Path, plane: ControlPlane, prefix: str) -> None:
        self.folder = folder
        self.prefix = prefix
        self.environment = {
            **os.environ,
            **plane.env(),
            "KUBECONFIG": str(plane.kubeconfig("admin")),
            "PULUMI_BACKEND_URL": f"file://{folder / 'backend'}",
            "NO_COLOR": "1",
            # Without checkpoints a killed run would leave objects that no destroy knows of.
            "PULUMI_SKIP_CHECKPOINTS": "false",
        }
        (folder / "backend").mkdir(parents=True)
        virtualenv = paths.repository() / ".venv"
        runtime = f"runtime: {{name: python, options: {{toolchain: uv, virtualenv: {virtualenv}}}}}"
        (folder / "Pulumi.yaml").write_text(f"name: plugin\n{runtime}\n")
        (folder / "__main__.py").write_text(PROGRAM)
        (folder / "things.py").write_text(THINGS)
        self.declare()
        self.pulumi("stack", "init", "test")

    def declare(self, *objects: dict[str, Any], **more: Any) -> None:
        """Makes these objects the program."""
        (self.folder / "objects.json").write_text(json.dumps({"objects": objects, **more}))

    def pulumi(self, *arguments: str, fails: bool = False) -> str:
        """Runs the command line and returns what it printed."""
        command = ["pulumi", *arguments, "--non-interactive"]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False, timeout=240
        )
        printed = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, printed
        return printed

    def up(self, *, fails: bool = False) -> str:
        """Brings up what is declared."""
        return self.pulumi("up", "--yes", fails=fails)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Runs kubectl as an administrator."""
        done = subprocess.run(
            [toolchain.binary("kubectl"), *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout

    def labels(self, namespace: str) -> dict[str, str]:
        """The labels of a namespace."""
        return json.loads(self.kubectl("get", "namespace", namespace, "-o", "json"))["metadata"]["labels"]


@pytest.fixture(scope="module")
def plane() -> ControlPlane:
    toolchain.ensure()
    plane = ControlPlane(paths.state_home())
    plane.up()
    return plane


@pytest.fixture
def project(plane: ControlPlane, tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path / "project", plane, f"plugin-{secrets.token_hex(3)}")
    yield project
    project.pulumi("cancel", "--yes", "test", fails=False)
    project.pulumi("destroy", "--yes", "--skip-preview")
    found = project.kubectl("get", "namespaces", "-o", "name").split()
    assert [name for name in found if name.startswith(f"namespace/{project.prefix}")] == []


def namespace(project: Project, *, name: str = "tenant", **metadata: Any) -> dict[str, Any]:
    metadata = {"name": f"{project.prefix}-{name}", **metadata}
    return {"type": "core.v1.Namespace", "name": name, "properties": {"metadata": metadata}}


def test_a_namespace_from_its_first_preview_to_its_end(project: Project):
    project.declare(namespace(project, labels={"plugin.example/tenant": "true"}))
    assert "+ 3 to create" in project.pulumi("preview")
    assert "+ 3 created" in project.up()
    project.pulumi("preview", "--expect-no-changes")
    project.declare(namespace(project, labels={"plugin.example/tenant": "false"}))
    assert '~ plugin.example/tenant: "true" => "false"' in project.pulumi("preview", "--diff")
    assert "~ 1 updated" in project.up()
    assert project.labels(f"{project.prefix}-tenant")["plugin.example/tenant"] == "false"


def test_drift_is_seen_by_a_refresh_and_repaired_by_force(project: Project):
    forced = namespace(project, labels={"a": "1"}, annotations={"pulumi.com/patchForce": "true"})
    project.declare(forced)
    project.up()
    project.kubectl("label", "namespace", f"{project.prefix}-tenant", "a=drift", "--overwrite")
    assert "~ 1 updated" in project.pulumi("refresh", "--yes")
    assert '~ a: "drift" => "1"' in project.pulumi("preview", "--diff")
    project.up()
    assert project.labels(f"{project.prefix}-tenant")["a"] == "1"


def test_a_new_name_replaces_and_the_old_namespace_goes(project: Project):
    project.declare(namespace(project))
    project.up()
    renamed = namespace(project)
    renamed["properties"]["metadata"]["name"] += "-2"
    project.declare(renamed)
    assert "+-1 replaced" in project.up()
    names = project.kubectl("get", "namespaces", "-o", "name").split()
    assert [n for n in names if project.prefix in n] == [f"namespace/{project.prefix}-tenant-2"]


def test_an_object_that_exists_is_not_taken_over_unless_the_provider_upserts(project: Project):
    project.kubectl("create", "namespace", f"{project.prefix}-tenant")
    project.declare(namespace(project, labels={"mine": "yes"}))
    printed = project.up(fails=True)
    assert f'namespaces "{project.prefix}-tenant" already exists' in printed
    assert "upsertExistingObjects" in printed
    project.declare(namespace(project, labels={"mine": "yes"}), provider={"upsert_existing_objects": True})
    project.up()
    assert project.labels(f"{project.prefix}-tenant")["mine"] == "yes"


def test_a_patch_brings_its_label_and_takes_only_that_away(project: Project):
    target = f"{project.prefix}-existing"
    project.kubectl("create", "namespace", target)
    project.kubectl("label", "namespace", target, "theirs=1")
    patch = {
        "type": "core.v1.NamespacePatch",
        "name": "patch",
        "properties": {"metadata": {"name": target, "labels": {"mine": "1"}}},
    }
    project.declare(patch)
    project.up()
    assert project.labels(target).items() >= {"mine": "1", "theirs": "1"}.items()
    project.declare()
    project.up()
    assert "mine" not in project.labels(target)
    assert project.labels(target)["theirs"] == "1"
    project.kubectl("delete", "namespace", target)


def test_a_conflict_names_field_and_manager(project: Project):
    target = f"{project.prefix}-existing"
    project.kubectl("create", "namespace", target)
    project.kubectl("label", "namespace", target, "shared=theirs")
    patch = {
        "type": "core.v1.NamespacePatch",
        "name": "patch",
        "properties": {"metadata": {"name": target, "labels": {"shared": "mine"}}},
    }
    project.declare(patch)
    printed = project.up(fails=True)
    assert 'conflict with "kubectl-label" using v1: .metadata.labels.shared' in printed
    project.kubectl("delete", "namespace", target)


def definition_and_custom_object(project: Project) -> list[dict[str, Any]]:
    group = f"{project.prefix}.example.com"
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    definition = {
        "type": "apiextensions.v1.CustomResourceDefinition",
        "name": "definition",
        "properties": {
            "metadata": {"name": f"widgets.{group}"},
            "spec": {"group": group, "scope": "Cluster", "names": names, "versions": [version]},
        },
    }
    custom = {
        "type": "apiextensions.CustomResource",
        "name": "custom",
        "after": ["definition"],
        "properties": {
            "api_version": f"{group}/v1",
            "kind": "Widget",
            "metadata": {"name": "w", "annotations": {"pulumi.com/waitFor": "jsonpath={.spec.size}=3"}},
            "spec": {"size": 3, "list": [{"a": True}], "empty": {}},
        },
    }
    return [definition, custom]


def test_a_custom_object_whose_kind_the_same_program_declares(project: Project):
    project.declare(*definition_and_custom_object(project))
    assert "+ 4 to create" in project.pulumi("preview")
    project.up()
    project.pulumi("preview", "--expect-no-changes")
    shown = project.kubectl("get", f"widgets.{project.prefix}.example.com", "w", "-o", "json")
    assert json.loads(shown)["spec"] == {"size": 3, "list": [{"a": True}], "empty": {}}


def test_a_condition_that_does_not_come_fails_in_its_time_and_the_object_stays_known(project: Project):
    waiting = namespace(project, annotations={"pulumi.com/waitFor": "condition=Ready"})
    project.declare({**waiting, "timeouts": {"create": "2s"}})
    assert "timed out waiting for the condition" in project.up(fails=True)
    assert f"{project.prefix}-tenant" in project.pulumi("stack", "export")


def test_a_secret_is_nowhere_to_be_read(project: Project):
    secret = {
        "type": "core.v1.Secret",
        "name": "secret",
        "after": ["tenant"],
        "properties": {
            "metadata": {"name": "s", "namespace": f"{project.prefix}-tenant"},
            "string_data": {"password": "correct-horse"},
        },
    }
    project.declare(namespace(project), secret)
    printed = project.pulumi("up", "--yes", "--diff") + project.pulumi("stack", "export")
    assert "correct-horse" not in printed
    assert "Y29ycmVjdC1ob3JzZQ==" not in printed
    assert "[secret]" in printed


def test_an_engine_that_is_killed_leaves_no_process_behind(project: Project):
    project.declare(namespace(project), things={"slow": "slow"})
    engine = subprocess.Popen(
        ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive"],
        cwd=project.folder,
        env=project.environment,
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
    # Made or not by then, it is in no state that a destroy could go by.
    project.kubectl("delete", "namespace", f"{project.prefix}-tenant", "--ignore-not-found")


def creating(project: Project) -> None:
    if not (project.folder / "creating").exists():
        raise NotYet("it has not begun")


def test_what_a_program_prints_and_raises_is_shown(project: Project):
    program = 'print("hello")\nraise ValueError("wrong")\n'
    (project.folder / "__main__.py").write_text(textwrap.dedent(program))
    printed = project.pulumi("preview", fails=True)
    assert "hello" in printed
    assert "ValueError: wrong" in printed
