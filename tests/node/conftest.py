"""A control plane with a real node, and a stack on it whose registries ask for the logins that it delivers."""

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from local import paths, toolchain
from local.controlplane import ControlPlane
from local.controlplane.node.machine import NodeUnsupported
from local.controlplane.node.node import RealNode
from tests.e2e.stack import Stack
from tests.node.pulling import API, APP, Pods

REJECTED = "app-registry.sub.comptech-lab.com"

NODE: dict[str, Any] = {
    "cluster": {"name": "node"},
    "vault": {
        "mount": "secret",
        "auth": {"mount": "kubernetes-node", "role": "external-secrets-node"},
        "egress": {"cidrs": ["127.0.0.1/32"]},
    },
    "eso": {"store": "vault-node"},
    "registries": [
        {
            "name": "node-app",
            "hosts": [APP],
            "rejectedHosts": [REJECTED],
            "selector": {"node.platform/app": "true"},
            "namespaces": ["node-*"],
        },
        {
            "name": "node-api",
            "hosts": [API],
            "selector": {"node.platform/api": "true"},
            "namespaces": ["node-*"],
        },
    ],
    "tenants": {
        "protect": False,
        "namespaces": [{"name": "node-both", "registries": ["node-app", "node-api"]}],
        "matrices": [
            {
                "services": ["auth", "user"],
                "environments": ["dev"],
                "pattern": "node-{service}-{environment}",
                "registries": ["node-app"],
            }
        ],
    },
    "rollout": {"waves": [{"name": "canary", "services": ["auth"]}, {"name": "rest", "services": ["user"]}]},
    "gate": "warn",
}


class NodeStack(Stack):
    """A stack whose logins the registries know; each password is that of a user of its own."""

    node: RealNode

    @staticmethod
    def user_of(password: str) -> str:
        """Name of the user whose password it is."""
        return f"bot-{hashlib.sha256(password.encode()).hexdigest()[:8]}"

    def credential(self, registry: str, password: str | None = None) -> str:
        """A dockerconfigjson document for a registry."""
        password = password or self.passwords[registry]
        login = base64.b64encode(f"{self.user_of(password)}:{password}".encode()).decode()
        return json.dumps({"auths": {host: {"auth": login} for host in self.hosts(registry)}})

    def let_in(self, registry: str, password: str | None = None) -> str:
        """Let the user of a password in at the registry's hosts; return its name."""
        password = password or self.passwords[registry]
        for host in self.hosts(registry):
            self.node.add_user(host, self.user_of(password), password)
        return self.user_of(password)

    def revoke(self, registry: str, password: str) -> None:
        """Let the user of a password in no longer."""
        for host in self.hosts(registry):
            self.node.revoke(host, self.user_of(password))

    def hosts(self, registry: str) -> list[str]:
        """The hosts of a registry."""
        return next(item["hosts"] for item in self.baseline["registries"] if item["name"] == registry)


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    """Of its own: on the others, workloads are on simulated nodes."""
    toolchain.ensure()
    plane = ControlPlane(paths.state_home() / "node")
    plane.up()
    yield plane
    plane.down()


@pytest.fixture(scope="session")
def node(plane: ControlPlane) -> RealNode:
    try:
        return plane.node_up()
    except NodeUnsupported as cause:
        pytest.skip(f"no real node on this machine: {cause}")


@pytest.fixture(scope="session")
def stack(plane: ControlPlane, node: RealNode) -> NodeStack:
    """The stack, seeded and deployed, with its logins let in. A test that changes something puts it back."""
    stack = NodeStack(plane, plane.layout.state / "stack", "node", NODE)
    stack.node = node
    stack.configure()
    for registry in stack.passwords:
        stack.let_in(registry)
    stack.seed_all()
    stack.up()
    return stack


@pytest.fixture(autouse=True)
def logins(stack: NodeStack) -> None:
    """The registries let in what Vault holds, whatever a failed test has revoked."""
    for registry in stack.passwords:
        stack.let_in(registry)


@pytest.fixture
def pods(stack: NodeStack) -> Iterator[Pods]:
    """Pods of one test, which go with it."""
    pods = Pods(stack.admin, stack.node)
    yield pods
    pods.delete()
