"""Generated credentials, and the command that seeds one."""

import base64
import json
import secrets

from local.controlplane import ControlPlane
from local.demo.steps import run_command
from local.workspace import Workspace
from pullsecrets.config import Registry, load_stack
from pullsecrets.credential.vault import VaultClient
from pullsecrets.credential.vault_entry import seeded_digest


def seed_generated(plane: ControlPlane, workspace: Workspace, stack: str, registry: Registry) -> bool:
    """Seed a generated credential with the seeder's token; return False when the path holds one already."""
    config = load_stack(stack, workspace.root)
    vault = VaultClient(config.vault.address, config.vault.ca_bundle, workspace.environment["VAULT_TOKEN"])
    if seeded_digest(vault.read_metadata(config.vault.mount, registry.path)):
        return False
    # Only the seeder's token may write the value; the program's cannot even read it.
    environment = {**workspace.environment, "VAULT_TOKEN": seeder_token(plane)}
    words = ("seed", registry.name, "--stack", stack, "--from-file", "-", "--yes")
    run_command(workspace, environment, *words, stdin=generated_credential(registry.hosts)).check_returncode()
    return True


def seeded_credential(plane: ControlPlane, mount: str, path: str) -> str:
    """Return the credential that Vault holds, as whoever owns the registry knows it without asking."""
    found = plane.vault("root").secrets.kv.v2.read_secret_version(
        path, mount_point=mount, raise_on_deleted_version=True
    )
    return found["data"]["data"]["dockerconfigjson"]


def seeder_token(plane: ControlPlane) -> str:
    """Return the token of anyone who may write credentials."""
    return plane.layout.seeder_token.read_text(encoding="utf-8").strip()


def generated_credential(hosts: tuple[str, ...]) -> str:
    """Return a dockerconfigjson document with a random password for each host."""
    # A user of its own, so that a registry can go on knowing the one before until nobody needs it.
    user = f"platform-bot-{secrets.token_hex(3)}"
    auths = {
        host: {
            "auth": base64.b64encode(f"{user}:{secrets.token_urlsafe(24)}".encode()).decode(),
            "email": f"platform-bot@{host.partition('.')[2].partition(':')[0]}",
        }
        for host in hosts
    }
    return json.dumps({"auths": auths})
