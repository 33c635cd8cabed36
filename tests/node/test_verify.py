"""`verify` and `rotate --verify` on a real kubelet: what it pulled, what it says when it cannot, and nothing left."""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from local.controlplane.identities import NODE_NAME
from local.controlplane.rbac import OPERATORS, VERIFIERS
from pullsecrets.cli.app import app
from pullsecrets.kube.marks import VERIFY_POD_NAME
from tests.e2e.stack import namespace
from tests.node.conftest import NodeStack
from tests.node.pulling import APP, Pods
from tests.ops import workloads

pytestmark = pytest.mark.controlplane

REGISTRY = "node-app"
NAMESPACES = ["node-auth-dev", "node-both", "node-user-dev"]
PATIENCE = "120"


@pytest.fixture
def verifier(stack: NodeStack) -> Iterator[NodeStack]:
    """The stack, with commands run by an operator who may verify; afterwards with its first login again."""
    stack.operator = stack.plane.kubeconfig_for("verifier", [OPERATORS, VERIFIERS])
    yield stack
    stack.let_in(REGISTRY)
    assert rotate(stack, stack.passwords[REGISTRY])[0] == 0


def run(stack: NodeStack, *arguments: str, stdin: str | None = None) -> tuple[int, dict[str, Any]]:
    environment = {**stack.workspace.environment, "VAULT_TOKEN": stack.seeder_token, "KUBECONFIG": str(stack.operator)}
    where = ("--stack", stack.name, "--directory", str(stack.workspace.root), "--json")
    done = CliRunner().invoke(app, [*arguments, *where], input=stdin, env=environment)
    assert done.stdout, done.exception
    return done.exit_code, json.loads(done.stdout)


def rotate(stack: NodeStack, password: str, *options: str) -> tuple[int, dict[str, Any]]:
    words = ("rotate", REGISTRY, "--from-file", "-", "--yes", "--timeout", PATIENCE)
    return run(stack, *words, *options, stdin=stack.credential(REGISTRY, password))


def left_over(stack: NodeStack) -> list[str]:
    return [name for name in NAMESPACES if stack.find(f"{namespace(name)}/pods/{VERIFY_POD_NAME}")]


def test_each_namespace_pulls_with_the_delivered_login_and_the_registry_has_seen_it(
    verifier: NodeStack, pods: Pods
) -> None:
    image = pods.fresh(APP)
    digest = verifier.node.push(image)
    code, found = run(verifier, "verify", "--image", image, "--each-node")
    assert code == 0, found
    assert [item["namespace"] for item in found["pulls"]] == NAMESPACES
    for item in found["pulls"]:
        assert (item["digest"], item["node"], item["architecture"]) == (digest, NODE_NAME, "amd64")
        assert item["seconds"] > 0
        assert item["message"].startswith("Successfully pulled image")
    user = verifier.user_of(verifier.passwords[REGISTRY])
    repository, _, tag = image.partition("/")[2].rpartition(":")
    seen = [pull for pull in verifier.node.pulls(APP) if (pull.repository, pull.reference) == (repository, tag)]
    assert sum((pull.user, pull.status) == (user, 200) for pull in seen) >= len(NAMESPACES)
    assert left_over(verifier) == []
    rows = run(verifier, "audit")[1]["rows"]
    proofs = {row["namespace"]: row["pulled"] for row in rows if row["registry"] == REGISTRY}
    assert proofs == {item["namespace"]: f"pull-secrets verify, {item['at']}" for item in found["pulls"]}


def test_the_restricted_standard_lets_the_pod_in(verifier: NodeStack, pods: Pods) -> None:
    label = "pod-security.kubernetes.io/enforce"
    verifier.patch(namespace("node-both"), {"metadata": {"labels": {label: "restricted"}}})
    try:
        code, found = run(verifier, "verify", "node-both", "--image", pods.fresh(APP))
        assert (code, found["pulls"][0]["pulled"]) == (0, True), found
    finally:
        verifier.patch(namespace("node-both"), {"metadata": {"labels": {label: None}}})


def test_a_revoked_login_is_told_in_the_kubelets_words(verifier: NodeStack, pods: Pods) -> None:
    image = pods.fresh(APP)
    verifier.revoke(REGISTRY, verifier.passwords[REGISTRY])
    code, found = run(verifier, "verify", "--image", image)
    assert (code, [item["pulled"] for item in found["pulls"]]) == (1, [False] * len(NAMESPACES))
    assert all("Failed to pull image" in item["message"] and "401" in item["message"] for item in found["pulls"])
    assert left_over(verifier) == []


def test_a_rotation_is_done_once_a_pod_has_pulled_with_it_and_one_to_a_wrong_login_is_taken_back(
    verifier: NodeStack, pods: Pods
) -> None:
    image, good = pods.fresh(APP), f"next-{secrets.token_hex(8)}"
    verifier.let_in(REGISTRY, good)
    code, found = rotate(verifier, good, "--verify", image)
    assert (code, found["outcome"], found["unpulled"]) == (0, "done", {})
    # Nobody let this one in: every Secret holds it, and no Pod could pull.
    code, found = rotate(verifier, f"mistyped-{secrets.token_hex(8)}", "--verify", image, "--rollback-on-failure")
    assert (code, found["outcome"], sorted(found["unpulled"])) == (1, "rolled back", NAMESPACES)
    assert run(verifier, "verify", "--image", image)[0] == 0


def test_a_rollout_has_each_wave_pull_before_it_restarts_it_and_stops_at_one_that_cannot(
    verifier: NodeStack, pods: Pods
) -> None:
    deployments = [workloads.deployment(f"node-{name}-dev", name, pods.fresh(APP)) for name in ("auth", "user")]
    words = ("rollout", REGISTRY, "--yes", "--pause", "--timeout", PATIENCE, "--verify", pods.fresh(APP))

    def roll() -> tuple[int, dict[str, dict[str, Any]]]:
        code, found = run(verifier, *words)
        return code, {wave["wave"]: wave for wave in found["waves"]}

    try:
        workloads.create(verifier.admin, *deployments)
        for item in deployments:
            workloads.until_ready(verifier.admin, item, 1)
        code, waves = roll()
        assert (code, waves["canary"]["state"], waves["rest"]["state"]) == (0, "done", "waiting"), waves
        assert waves["canary"]["passed"] == ["Secret proved", "test pull", "workloads", "Pods", "image-pull events"]
        verifier.revoke(REGISTRY, verifier.passwords[REGISTRY])
        code, waves = roll()
        assert (code, waves["canary"]["state"]) == (1, "done before")
        assert (waves["rest"]["state"], waves["rest"]["failed_gate"]) == ("failed", "test pull")
        assert "401 Unauthorized" in waves["rest"]["problems"]["node-user-dev"]
        assert waves["rest"]["restarted"] == 0
        assert left_over(verifier) == []
        verifier.let_in(REGISTRY)
        code, waves = roll()
        assert (code, waves["rest"]["state"], waves["rest"]["restarted"]) == (0, "done", 1)
    finally:
        workloads.delete(verifier.admin, *deployments)
