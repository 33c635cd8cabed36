"""A stranger: an empty folder and the wheel, from `init` over an upgrade to the end, and nothing of the checkout."""

import base64
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from local.controlplane import ControlPlane
from local.controlplane.api import RequestRefused
from local.paths import repository
from tests.e2e.stack import account, namespace, secret
from tests.pages import Scenario, Shell, merge, try_page

pytestmark = pytest.mark.controlplane

DOCS = repository() / "docs"
HOST = "stranger.registry.example.com"
REGISTRY = "stranger-pull"
CLUSTERS = ("stranger-one", "stranger-two")
OLD_PROVIDER = base64.b64encode(
    b"\x80\x04\x959\x00\x00\x00\x00\x00\x00\x00\x8c$components.image_pull_secret_binding"
    b"\x94\x8c\t_Provider\x94\x93\x94)\x81\x94."
).decode()
"""The provider of bindings as state has it from before the package held the components."""


class Stranger:
    """Somebody in a folder of their own, with `uv`, `pulumi`, `kubectl` and a cluster."""

    def __init__(self, plane: ControlPlane, home: Path) -> None:
        self.home = home
        self.repository = home / "registry-access"
        self.plane = plane
        tools = home / "tools"
        tools.mkdir()
        self._link(tools / "kubectl", shutil.which("kubectl", path=plane.env()["PATH"]))
        self._link(tools / "uv", os.environ.get("UV") or shutil.which("uv") or repository() / ".local/uv/bin/uv")
        theirs = [part for part in plane.env()["PATH"].split(":") if not part.startswith(str(repository() / ".venv"))]
        self.path = [self.repository / ".venv/bin", tools, *theirs]
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "UV_", "VIRTUAL"))},
            **plane.env(),
            "PATH": ":".join(map(str, self.path)),
            "KUBECONFIG": str(plane.kubeconfig("admin")),
            "PULUMI_SKIP_CONFIRMATIONS": "true",
            "PULUMI_OPTION_SKIP_PREVIEW": "true",
            "UV_PYTHON": sys.executable,
        }

    @staticmethod
    def _link(link: Path, program: str | Path | None) -> None:
        assert program, f"{link.name} is not installed"
        link.symlink_to(Path(program).resolve())

    def run(self, *command: str, stdin: str | None = None, **variables: str) -> str:
        """Run a command in the repository and return what it printed; it must end with 0."""
        self.repository.mkdir(exist_ok=True)
        done = subprocess.run(
            [shutil.which(command[0], path=self.environment["PATH"]) or self.repository / command[0], *command[1:]],
            cwd=self.repository,
            env={**self.environment, **variables},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def wheel(self) -> Path:
        """Return the wheel that PULL_SECRETS_WHEEL names, or one that is built here."""
        if given := os.environ.get("PULL_SECRETS_WHEEL"):
            return Path(given)
        self.run("uv", "build", "--quiet", "--wheel", str(repository()), "--out-dir", str(self.home))
        return next(self.home.glob("*.whl"))

    def install(self) -> None:
        """Install what pyproject.toml names: from the cache of this machine, or else from the package index."""
        try:
            self.run("uv", "sync", "--quiet", "--offline")
            self.environment["UV_OFFLINE"] = "true"
        except AssertionError:
            self.run("uv", "sync", "--quiet")

    def init(self, cluster: str, *options: str) -> None:
        """Write the repository for a cluster, whose objects must not be those of others in the same one."""
        answers = {
            "--cluster": cluster,
            "--vault": self.environment["VAULT_ADDR"],
            "--vault-ca": self.environment["VAULT_CACERT"],
            "--host": HOST,
            "--registry": f"{REGISTRY}-{cluster}",
            "--tenant": f"{cluster}-made",
            "--adopt": f"{cluster}-found",
        }
        program, given = self.home / "wheel/bin/pull-secrets", [part for item in answers.items() for part in item]
        self.run(str(program), "init", ".", "--from-cluster", *given, *options)
        of_its_own = {"config": {"pull-secrets:eso": {"store": f"vault-{cluster}"}}}
        merge(self.repository / f"Pulumi.{cluster}.yaml", of_its_own)

    def page(self, name: str, scenario: Scenario) -> None:
        """Try a page of the documentation in the repository."""
        shell = Shell(self.repository, self.environment)
        try:
            try_page(DOCS / name, shell, scenario)
        finally:
            print("".join(shell.printed))

    def deploy(self, cluster: str) -> dict[str, Any]:
        """Seed, update and audit a cluster as the README of the repository says; return the rows of the audit."""
        login = base64.b64encode(f"bot:{secrets.token_hex(16)}".encode()).decode()
        document = json.dumps({"auths": {HOST: {"auth": login}}})
        seeder = self.plane.layout.seeder_token.read_text().strip()
        seed = ("pull-secrets", "seed", f"{REGISTRY}-{cluster}", "--stack", cluster, "--from-file", "-", "--yes")
        self.run(*seed, stdin=document, VAULT_TOKEN=seeder)
        self.run("pulumi", "up", "--stack", cluster, "--non-interactive", "--yes", "--skip-preview")
        return json.loads(self.run("pull-secrets", "audit", "--stack", cluster, "--wait", "60", "--json"))


@pytest.fixture(scope="module")
def stranger(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stranger]:
    """The stranger, with the wheel installed and a repository for the first cluster."""
    stranger = Stranger(plane, tmp_path_factory.mktemp("stranger"))
    admin = plane.admin()
    for cluster in CLUSTERS:
        admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{cluster}-found"}})
    wheel = stranger.wheel()
    stranger.run("uv", "venv", "--quiet", str(stranger.home / "wheel"))
    stranger.run("uv", "pip", "install", "--quiet", "--python", str(stranger.home / "wheel"), str(wheel))
    stranger.init(CLUSTERS[0], "--requirement", f"pull-secrets[pulumi,policies] @ {wheel.as_uri()}")
    stranger.install()
    yield stranger
    for cluster in CLUSTERS:
        with suppress(AssertionError):
            stranger.run("pulumi", "stack", "rm", "--yes", "--force", cluster)
        for name in ("found", "made"):
            with suppress(RequestRefused):
                admin.call("DELETE", namespace(f"{cluster}-{name}"))
        path = f"{cluster}/registries/{REGISTRY}-{cluster}"
        plane.vault("root").secrets.kv.v2.delete_metadata_and_all_versions(path, mount_point="secret")


def test_a_new_repository_previews(stranger: Stranger) -> None:
    modules = stranger.run("python", "-P", "-c", "import sys, pullsecrets.program as p; print(p.__file__, *sys.path)")
    assert str(stranger.repository / ".venv") in modules.split()[0]
    assert [path for path in modules.split() if path.startswith(str(repository()))] == []
    stranger.run("pulumi", "stack", "init", CLUSTERS[0])
    printed = stranger.run("pulumi", "preview", "--stack", CLUSTERS[0], "--non-interactive")
    assert re.search(r"\+ \d+ to create", printed), printed


def test_a_pipeline_previews_with_the_packs_of_the_package(stranger: Stranger) -> None:
    stranger.run(".ci/stack", "preview", CLUSTERS[0])
    comment = (stranger.repository / "build" / f"comment-{CLUSTERS[0]}.md").read_text()
    assert f"{CLUSTERS[0]}-made" in comment, comment
    assert "mandatory" not in comment, comment


def test_pulumi_new_takes_the_template_of_the_installed_package(stranger: Stranger) -> None:
    (template,) = (stranger.home / "wheel").rglob("pullsecrets/starter/template")
    new = stranger.home / "new"
    stranger.run("pulumi", "new", str(template), "--generate-only", "--yes", "--name", "ours", "--dir", str(new))
    written = {file.name: file.read_text() for file in new.iterdir()}
    assert {"Pulumi.yaml", "__main__.py", "pyproject.toml", "README.md"} <= written.keys()
    assert "name: ours" in written["Pulumi.yaml"]
    assert not any("${" in text for text in written.values())


def test_a_stranger_deploys_upgrades_adds_a_cluster_and_goes(stranger: Stranger) -> None:
    one, two = CLUSTERS
    found = stranger.deploy(one)
    assert found["green"], found
    assert {row["namespace"] for row in found["rows"]} == {f"{one}-found", f"{one}-made"}

    state = stranger.run("pulumi", "stack", "export", "--stack", one)
    older = re.sub(r'("__provider": ")[^"]*(?=")', rf"\g<1>{OLD_PROVIDER}", state)
    assert older != state
    stranger.run("pulumi", "stack", "import", "--stack", one, stdin=older)
    stranger.page("upgrading.md", Scenario({"PULL_SECRETS_STACK": one}))
    assert OLD_PROVIDER not in stranger.run("pulumi", "stack", "export", "--stack", one)

    stranger.init(two)
    assert f'stacks=["{one}", "{two}"]' in stranger.run("pull-secrets", "stacks", "--matrix", "github")
    stranger.run("pulumi", "stack", "init", two)
    assert stranger.deploy(two)["green"]

    stranger.page("decommissioning.md", Scenario({"PULL_SECRETS_STACK": one, "REGISTRY": f"{REGISTRY}-{one}"}))
    client = stranger.plane.admin()
    kept = client.call("GET", namespace(f"{one}-found"))["metadata"].get("labels", {})
    assert f"pull-secrets/{REGISTRY}-{one}" not in kept
    assert not client.call("GET", account(f"{one}-found")).get("imagePullSecrets")
    assert client.call("GET", secret(f"{two}-made", f"{REGISTRY}-{two}")), "the other cluster's stack goes on"
    stranger.page("decommissioning.md", Scenario({"PULL_SECRETS_STACK": two, "REGISTRY": f"{REGISTRY}-{two}"}))
