"""What bad input and broken surroundings get: an error that says what to do, before anything is changed."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from local.controlplane import ControlPlane
from local.workspace import Workspace
from pullsecrets.config import load_stack
from pullsecrets.credential.vault import VaultClient
from pullsecrets.errors import ExitCode
from tests.e2e.stack import BASELINE, STACK, Stack

pytestmark = pytest.mark.controlplane


@pytest.fixture(scope="module")
def configured(stack: Stack, adopted: str) -> Stack:
    """The stack with nothing of it deployed by these tests."""
    assert adopted
    stack.configure()
    return stack


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A loopback port on which nobody answers while the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture(scope="module")
def bare_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A real API server without ESO."""
    plane = ControlPlane(tmp_path_factory.mktemp("bare"))
    try:
        plane.start("etcd")
        plane.start("kube-apiserver")
        yield plane
    finally:
        plane.down()


def refused(stack: Stack, environment: dict[str, str | None]) -> str:
    """What `pulumi up` prints in other surroundings, in which it must fail and create nothing."""
    workspace = Workspace(stack.workspace.root, stack.workspace.environment)
    for name, value in environment.items():
        if value is None:
            workspace.environment.pop(name, None)
        else:
            workspace.environment[name] = value
    before = stack.resources()
    done = workspace.pulumi("up", "--yes", "--skip-preview", "--stack", STACK, check=False)
    assert done.returncode, done.stdout
    assert "Traceback" not in done.stdout
    assert stack.resources() == before
    return done.stdout


def kubeconfig_for(source: Path, target: Path, server: str) -> str:
    """A copy of a kubeconfig that names another server."""
    content = YAML(typ="safe").load(source.read_text())
    for entry in content["clusters"]:
        entry["cluster"]["server"] = server
    with target.open("w") as file:
        YAML(typ="safe").dump(content, file)
    return str(target)


class TestSurroundings:
    """Missing and unreachable things are named."""

    def test_no_kubeconfig(self, configured: Stack, tmp_path: Path) -> None:
        printed = refused(configured, {"KUBECONFIG": str(tmp_path / "absent")})
        assert "cluster.context: a kubeconfig cannot be used" in printed
        assert "set KUBECONFIG to a file" in printed

    def test_no_vault_token(self, configured: Stack, tmp_path: Path) -> None:
        printed = refused(configured, {"VAULT_TOKEN": None, "HOME": str(tmp_path)})
        assert "no token; set VAULT_TOKEN, or run `vault login`" in printed

    def test_unreachable_api_server(self, configured: Stack, tmp_path: Path, closed_port: int) -> None:
        source = Path(configured.workspace.environment["KUBECONFIG"])
        server = f"https://127.0.0.1:{closed_port}"
        printed = refused(configured, {"KUBECONFIG": kubeconfig_for(source, tmp_path / "config", server)})
        assert f"Kubernetes API at {server} does not answer" in printed

    def test_unreachable_vault(self, configured: Stack, closed_port: int) -> None:
        address = f"https://127.0.0.1:{closed_port}"
        printed = refused(configured, {"VAULT_ADDR": address})
        assert f"Vault at {address} does not answer" in printed

    def test_vault_with_a_certificate_that_is_not_trusted(self, configured: Stack, plane: ControlPlane) -> None:
        other = plane.layout.pki / "kubernetes" / "ca.crt"
        printed = refused(configured, {"VAULT_CACERT": str(other)})
        assert "its certificate is not trusted" in printed
        assert "VAULT_CACERT" in printed

    def test_a_vault_token_that_is_not_accepted(self, configured: Stack) -> None:
        printed = refused(configured, {"VAULT_TOKEN": "unknown"})
        assert "permission denied; the token lacks the capability, or has expired" in printed

    def test_a_cluster_without_eso_is_told_how_to_install_it(
        self, configured: Stack, bare_cluster: ControlPlane
    ) -> None:
        printed = refused(configured, {"KUBECONFIG": str(bare_cluster.kubeconfig("admin"))})
        assert "does not serve external-secrets.io/v1 ClusterSecretStore" in printed
        assert "helm install external-secrets" in printed


class TestConfiguration:
    """The real engine hands every key on, so that nothing is silently ignored."""

    def test_every_mistake_is_named(self, stack: Stack) -> None:
        printed = stack.up(
            {
                "gaet": "warn",
                "cluster": {"name": "e2e", "port": 6443},
                "gate": "maybe",
                "registries": [{**BASELINE["registries"][0], "selector": {}}],
            },
            fails=True,
        )
        for expected in (
            "gaet: found an unknown key; allowed: binding, cluster, ",
            "(did you mean 'gate'?)",
            "cluster.port: found an unknown key",
            "gate: found 'maybe'; allowed: 'warn', 'fail' or 'off'",
            "registries[0].selector: found {}; allowed: at least one label and value",
        ):
            assert expected in printed
        assert "Traceback" not in printed


def test_the_programs_token_cannot_write_a_credential(stack: Stack) -> None:
    stack.configure()
    stack.seed_all()
    before = version(stack)
    document = stack.credential("e2e-app", "another")
    done = stack.command("seed", "e2e-app", "--from-file", "-", "--yes", stdin=document)
    assert done.returncode == ExitCode.PROBLEM
    assert "permission denied" in done.stderr
    assert version(stack) == before


def version(stack: Stack) -> int:
    config = load_stack(STACK, stack.workspace.root)
    vault = VaultClient(config.vault.address, config.vault.ca_bundle, stack.workspace.environment["VAULT_TOKEN"])
    found = vault.read_metadata("secret", config.registry("e2e-app").path)
    assert found is not None
    return found.current_version
