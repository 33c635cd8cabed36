"""A control plane of its own, which these tests may break, and one stack deployed on it."""

import copy
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from local import paths, toolchain
from local.controlplane import ControlPlane
from local.controlplane.waiting import NotYet
from tests.e2e.stack import Stack

OPS: dict[str, Any] = {
    "cluster": {"name": "ops"},
    "vault": {
        "mount": "secret",
        "auth": {"mount": "kubernetes-ops", "role": "external-secrets-ops"},
        "egress": {"cidrs": ["127.0.0.1/32"]},
    },
    "eso": {"store": "vault-ops"},
    "registries": [
        {
            "name": "ops-app",
            "hosts": ["app.registry.example.com"],
            "rejectedHosts": ["registry.example.com"],
            "selector": {"ops.platform/app": "true"},
            "namespaces": ["ops-*"],
        },
        {
            "name": "ops-web",
            "hosts": ["web.registry.example.com"],
            "selector": {"ops.platform/web": "true"},
            "namespaces": ["ops-*"],
        },
    ],
    "tenants": {
        "protect": False,
        "onLeave": "delete",
        "namespaces": [{"name": "ops-both", "registries": ["ops-app", "ops-web"], "serviceAccounts": ["builder"]}],
        "matrices": [
            {
                "services": ["auth", "user", "order"],
                "environments": ["dev"],
                "pattern": "ops-{service}-{environment}",
                "registries": ["ops-app"],
            }
        ],
    },
    "gate": "warn",
}


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    """Beside the one that the demo and the other tests run on: here Vault is sealed and ESO stopped."""
    toolchain.ensure()
    plane = ControlPlane(paths.state_home() / "ops")
    plane.up()
    yield plane
    plane.down()


@pytest.fixture(scope="session")
def stack(plane: ControlPlane) -> Stack:
    """The stack, seeded and deployed. A test that changes something puts it back."""
    stack = Stack(plane, plane.layout.state / "stack", "ops", OPS)
    stack.configure()
    stack.seed_all()
    stack.up()
    return stack


@contextmanager
def one_more_registry(stack: Stack, names: Collection[str], /, **entry: Any) -> Iterator[None]:
    """The stack's file with a registry more, in namespaces of its own; afterwards it is deployed without it again."""
    config = copy.deepcopy(OPS)
    config["cluster"]["apiServer"] = {"url": stack.admin.http.address}
    config["registries"].append(entry)
    config["tenants"]["namespaces"] += [{"name": name, "registries": [entry["name"]]} for name in names]
    baseline, stack.baseline = stack.baseline, config
    stack.configure()
    yield
    stack.baseline = baseline
    stack.up()
    stack.passwords.pop(entry["name"], None)


def require_green(stack: Stack, registry: str, namespaces: Collection[str]) -> None:
    """Raise `NotYet` unless exactly these namespaces have a registry's Secret, and can pull with it."""
    rows = [row for row in stack.audit("--wait", "15")["rows"] if row["registry"] == registry]
    waiting = [row["namespace"] for row in rows if not row["green"]]
    if waiting or {row["namespace"] for row in rows} != set(namespaces):
        raise NotYet(f"not green: {waiting}")
