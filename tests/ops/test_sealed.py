"""A sealed registry: encrypted for the real controller, declared by the program, fanned out and proved."""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from local import toolchain
from local.controlplane.layout import SEALED_SECRETS
from local.controlplane.waiting import NotYet, until
from tests.e2e.stack import Stack, secret
from tests.ops.conftest import one_more_registry, require_green
from tests.unit.credential.test_sealed import certificate

pytestmark = pytest.mark.controlplane

REGISTRY = "ops-sealed"
NAMESPACES = ("ops-sealed-one", "ops-sealed-two")
CONTROLLERS_KEY = "SEALED_SECRETS_CERT"


@pytest.fixture(scope="module")
def sealing(stack: Stack) -> Iterator[Stack]:
    """The stack with one more registry, sealed, and the controller that opens it."""
    plane = stack.plane
    toolchain.ensure("sealed-secrets")
    plane.start(SEALED_SECRETS)
    shutil.rmtree(stack.workspace.root / "sealed", ignore_errors=True)
    selector = {"ops.platform/sealed": "true"}
    more = {"hosts": ["sealed.registry.example.com"], "namespaces": ["ops-sealed-*"], "source": "sealedSecret"}
    with one_more_registry(stack, NAMESPACES, name=REGISTRY, selector=selector, **more):
        yield stack
    plane.stop(SEALED_SECRETS)


def seal(stack: Stack, password: str, environment: Mapping[str, str] | None = None) -> None:
    stack.passwords[REGISTRY] = password
    port = next(item for item in stack.plane.status() if item.name == SEALED_SECRETS).ports["sealed-secrets"]
    certificate = {CONTROLLERS_KEY: f"http://127.0.0.1:{port}/v1/cert.pem", **(environment or {})}
    done = stack.command(
        "seal", REGISTRY, "--from-file", "-", stdin=stack.credential(REGISTRY), environment=certificate
    )
    assert done.returncode == 0, done.stderr
    assert "written" in done.stdout


def green(stack: Stack) -> None:
    require_green(stack, REGISTRY, NAMESPACES)


def test_what_was_sealed_here_or_by_kubeseal_arrives_and_is_rotated(sealing: Stack) -> None:
    stack = sealing
    done = stack.pulumi("up", "--yes", "--skip-preview", fails=True)
    assert "run: pull-secrets seal ops-sealed" in done

    seal(stack, stack.new_password())
    stack.pulumi("up", "--yes", "--skip-preview")
    until(lambda: green(stack), 60, "the sealed credential in each namespace")
    assert stack.find(secret("external-secrets", REGISTRY))

    kubeseal = toolchain.binary("kubeseal")
    seal(stack, stack.new_password(), {"PATH": f"{kubeseal.parent}:{os.environ['PATH']}"})
    stack.pulumi("up", "--yes", "--skip-preview")
    environment = {"KUBECONFIG": str(stack.operator), "VAULT_TOKEN": ""}
    done = stack.command("rotate", REGISTRY, "--yes", "--timeout", "60", environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    green(stack)


def test_what_was_sealed_for_another_cluster_is_the_diagnosis(sealing: Stack, tmp_path: Path) -> None:
    stack = sealing
    (tmp_path / "cert.pem").write_bytes(certificate(rsa.generate_private_key(public_exponent=65537, key_size=2048)))
    seal(stack, stack.new_password(), {CONTROLLERS_KEY: str(tmp_path / "cert.pem")})
    stack.pulumi("up", "--yes", "--skip-preview")

    def diagnosed() -> None:
        found = stack.diagnoses()
        if found[:1] != ["sealed-secret-unopened"]:
            raise NotYet(f"doctor names {found}")

    until(diagnosed, 60, "the controller's refusal", every=1)
    seal(stack, stack.new_password())
    stack.pulumi("up", "--yes", "--skip-preview")


def test_the_credential_is_in_no_file_no_state_and_nothing_printed(sealing: Stack) -> None:
    exported = sealing.pulumi("stack", "export", "--show-secrets")
    file = (sealing.workspace.root / f"sealed/ops/{REGISTRY}.yaml").read_text()
    canaries = [password for password in sealing.passwords.values() if password]
    assert canaries
    for text in (exported, file, *sealing.printed):
        assert not [canary for canary in canaries if canary in text]
