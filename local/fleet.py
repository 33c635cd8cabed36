"""Several stacks on the one control plane, as if each had a cluster and a Vault of its own."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from local.controlplane import ControlPlane
from local.workspace import PROJECT, Workspace

HOST = "fleet.registry.example.com"
NOBODY = "https://127.0.0.1:1"
"""Address at which no API server answers."""


def registry_of(stack: str) -> str:
    """Return the name of a stack's registry, which names objects of the cluster that they share here."""
    return f"{stack}-registry"


def configuration(stack: str, namespaces: Sequence[str], wave: int = 1, host: str = HOST) -> dict[str, Any]:
    """Return what a stack's file holds.

    Args:
        stack: its name, which names whatever it declares.
        namespaces: its tenants.
        wave: its wave.
        host: of its registry.
    """
    registry = {
        "name": registry_of(stack),
        "hosts": [host],
        "selector": {f"{stack}.platform/registry": "true"},
        "namespaces": [f"{stack}-*"],
    }
    return {
        "cluster": {"name": stack, "context": stack},
        "vault": {
            "mount": "secret",
            "auth": {"mount": f"kubernetes-{stack}", "role": f"external-secrets-{stack}"},
            "egress": {"cidrs": ["127.0.0.1/32"]},
        },
        "eso": {"store": f"vault-{stack}", "networkPolicy": f"eso-allow-egress-to-vault-{stack}"},
        "guard": {"mode": "off"},
        "registries": [registry],
        "tenants": {
            "protect": False,
            "onLeave": "delete",
            "namespaces": [{"name": name, "registries": [registry["name"]]} for name in namespaces],
        },
        "fleet": {"wave": wave},
    }


def use_stack(workspace: Workspace, stack: str, values: Mapping[str, Any]) -> None:
    """Give a workspace the file of a stack, and make the stack in the backend if it is not there."""
    stream = io.StringIO()
    YAML(typ="safe").dump({"config": {f"{PROJECT}:{key}": value for key, value in values.items()}}, stream)
    workspace.use_stack(stack, stream.getvalue())


def kubeconfig(plane: ControlPlane, identity: Path, stacks: Sequence[str], servers: Mapping[str, str]) -> Path:
    """Write a kubeconfig with a context for each stack, all of them with one identity; return the file.

    Args:
        plane: the control plane.
        identity: kubeconfig of whoever asks.
        stacks: whose contexts.
        servers: by stack, an address in place of the control plane's.
    """
    content = YAML(typ="safe").load(identity.read_text(encoding="utf-8"))
    cluster, user = content["clusters"][0]["cluster"], content["users"][0]["name"]
    content["clusters"] = [
        {"name": stack, "cluster": {**cluster, "server": servers.get(stack, cluster["server"])}} for stack in stacks
    ]
    content["contexts"] = [{"name": stack, "context": {"cluster": stack, "user": user}} for stack in stacks]
    content["current-context"] = stacks[0]
    file = plane.layout.state / f"fleet-{identity.stem}.yaml"
    file.touch(mode=0o600)
    with file.open("w", encoding="utf-8") as stream:
        YAML(typ="safe").dump(content, stream)
    return file
