"""The examples of the components, as programs in the languages that they are written in."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from local import toolchain
from local.controlplane import ControlPlane
from local.paths import repository
from pullsecrets.components import document
from pullsecrets.kube.kubeconfig import Reach, read_access
from tests.e2e.stack import account, namespace
from tests.prometheus import RULES, rule_definition

pytestmark = pytest.mark.controlplane

STACK, MONITORING = "examples", "monitoring"
REGISTRY, TENANT, LATE = "team-pull", "team-shop", "migrations"


class Example:
    """The programs in a tree that is laid out as the repository is, and one stack for all of them."""

    def __init__(self, root: Path, environment: Mapping[str, str], values: Mapping[str, str]) -> None:
        for name in ("pullsecrets", ".venv", "pyproject.toml", "uv.lock", "Pulumi.prod.yaml"):
            (root / name).symlink_to(repository() / name)
        self.programs = shutil.copytree(document.EXAMPLES, root / "docs" / "examples")
        self.environment = {**os.environ, **environment}
        # The stack's keys, and how its secrets are encrypted, are in one file for all.
        self.stack_file = self.programs / "yaml" / f"Pulumi.{STACK}.yaml"
        config = {f"registry-access:{key}": value for key, value in values.items()}
        # The deployers' token may make no further one.
        YAML().dump({"config": {**config, "vault:skipChildToken": "true"}}, self.stack_file)
        self.pulumi("yaml", "stack", "init")
        (self.programs / "python" / self.stack_file.name).symlink_to(self.stack_file)

    def pulumi(self, language: str, *arguments: str, fails: bool = False) -> str:
        """Run a `pulumi` command on the program in a language and return its output; of one that fails, all of it."""
        program = shutil.which("pulumi", path=self.environment["PATH"]) or "pulumi"
        done = subprocess.run(
            [program, "-C", str(self.programs / language), "--non-interactive", *arguments, "--stack", STACK],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert bool(done.returncode) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr * fails


@pytest.fixture(scope="module")
def example(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    toolchain.ensure("pulumi-language-yaml")
    environment, kubeconfig = plane.env(), plane.kubeconfig("admin")
    # The engine brings a package's environment up to date before it starts it, with uv in a clone.
    uv = Path(os.environ.get("UV") or shutil.which("uv") or repository() / ".local/uv/bin/uv")
    added = f"{toolchain.binary('pulumi-language-yaml').parent}:{uv.parent}"
    cluster = read_access(Reach(kubeconfig=kubeconfig)).cluster
    example = Example(
        tmp_path_factory.mktemp("examples"),
        {**environment, "KUBECONFIG": str(kubeconfig), "PATH": f"{environment['PATH']}:{added}"},
        {
            "vaultAddress": environment["VAULT_ADDR"],
            "vaultCa": Path(environment["VAULT_CACERT"]).read_text(),
            "apiServer": cluster.server,
            "apiServerCa": cluster.authority or "",
        },
    )
    admin = plane.admin()
    admin.apply_raw(RULES, json.dumps(rule_definition()).encode())
    admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": MONITORING}})
    yield example
    example.pulumi("yaml", "destroy", "--yes", "--skip-preview")
    example.pulumi("yaml", "stack", "rm", "--yes")
    admin.call("DELETE", namespace(MONITORING))
    admin.call("DELETE", RULES)


def test_a_program_in_yaml_without_a_python_for_the_dynamic_resources_is_told_what_to_add(example: Example) -> None:
    project = example.programs / "yaml" / "Pulumi.yaml"
    text = project.read_text()
    project.write_text(text.replace("../../../.venv", "nowhere"))
    try:
        printed = example.pulumi("yaml", "preview", fails=True)
    finally:
        project.write_text(text)
    assert "runtime.options.virtualenv of Pulumi.yaml" in printed
    assert "Traceback" not in printed
    assert "File " not in printed


def test_every_component_is_deployed_from_yaml_and_python_finds_the_same(example: Example, plane: ControlPlane) -> None:
    example.pulumi("yaml", "up", "--yes", "--skip-preview")
    admin = plane.admin()
    assert {"name": REGISTRY} in admin.call("GET", account(TENANT))["imagePullSecrets"]
    admin.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": LATE, "namespace": TENANT}})
    example.pulumi("yaml", "up", "--yes", "--skip-preview")
    assert admin.call("GET", account(TENANT, LATE))["imagePullSecrets"] == [{"name": REGISTRY}]

    shown = json.loads(example.pulumi("python", "preview", "--json"))
    changed = {step["urn"]: step["op"] for step in shown["steps"] if step["op"] != "same"}
    # Of a component itself the state holds the inputs from YAML, and none from Python.
    assert {urn: op for urn, op in changed.items() if not kind(urn).startswith("pullsecrets:index:")} == {}


def kind(urn: str) -> str:
    """The type of a resource, without its parents'."""
    return urn.split("::")[2].rpartition("$")[2]
