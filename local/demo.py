"""`make demo`: the main job on the real control plane, from nothing to every tenant with a working pull Secret."""

import base64
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from local.controlplane import ControlPlane
from local.controlplane.api import KubernetesApi, RequestRefused
from local.controlplane.rbac import AUDITORS
from local.controlplane.waiting import NotYet, until
from local.packs import pack_options
from local.workspace import Workspace
from pullsecrets.config import Registry, load_stack
from pullsecrets.seed import seeded_digest
from pullsecrets.vault import VaultClient

STACK = "dev"
OTHERS_ENTRY = "default-dockercfg-abc"
"""An entry as OpenShift keeps it in each ServiceAccount's list; the binding must leave it there."""


class Demo:
    """The steps of the demo, each printed with what it took."""

    def __init__(self, plane: ControlPlane, console: Console) -> None:
        """Run on this control plane and print to this console."""
        self.plane = plane
        self.console = console
        self.workspace = Workspace(plane.layout.state / "workspace", plane.env())
        self.workspace.use_stack(STACK)
        self.config = load_stack(STACK, self.workspace.root, self.workspace.environment)

    def run(self) -> int:
        """Run every step; return the exit code of the proof of delivery."""
        adopted = [tenant.name for tenant in self.config.resolve_tenants() if tenant.adopt]
        with self.step(f"A namespace that exists before the program: {', '.join(adopted)}"):
            for namespace in adopted:
                self._existing_namespace(namespace)
        with self.step("A generated credential for each registry, seeded into Vault"):
            for registry in self.config.registries:
                if not seed_generated(self.plane, self.workspace, STACK, registry):
                    # A new one would be a rotation, which the namespaces see at their next refresh only.
                    self.console.print(f"{registry.name} holds the one of an earlier demo")
        packs = pack_options(self.config, self.workspace.root)
        with self.step(f"pulumi up --stack {STACK}, with the policy packs on"):
            up = ("up", "--stack", STACK, "--yes", "--skip-preview", "--suppress-outputs")
            self.workspace.pulumi(*up, *packs, stream=True)
        with self.step("Coverage, proved by the digest beside each Secret"):
            code = self._audit("--wait", "120")
        with self.step(f"pulumi preview --stack {STACK} once more: nothing left to change"):
            preview = ("preview", "--stack", STACK, "--expect-no-changes", "--suppress-outputs", "--diff")
            self.workspace.pulumi(*preview, stream=True)
        return code

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Print a step's title before it and its time after it."""
        self.console.rule(f"[bold]{title}", align="left")
        started = time.monotonic()
        yield
        self.console.print(f"[dim]{time.monotonic() - started:.1f} s[/]")

    def _existing_namespace(self, namespace: str) -> None:
        admin = self.plane.admin()
        admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
        account = until(lambda: existing(admin, path), deadline=30, what=f"ServiceAccount default in {namespace}")
        if not account.get("imagePullSecrets"):
            entries = {"imagePullSecrets": [{"name": OTHERS_ENTRY}]}
            admin.call("PATCH", path, entries, "application/merge-patch+json")
        self.console.print(f"its default ServiceAccount lists {OTHERS_ENTRY}, which is not ours to lose")

    def _audit(self, *options: str) -> int:
        environment = {
            **self.workspace.environment,
            "KUBECONFIG": str(self.plane.kubeconfig_for("auditor", [AUDITORS])),
        }
        return run_command(self.workspace, environment, "audit", "--stack", STACK, *options).returncode


def seed_generated(plane: ControlPlane, workspace: Workspace, stack: str, registry: Registry) -> bool:
    """Seed a generated credential with the seeder's token; return False when the path holds one already."""
    config = load_stack(stack, workspace.root, workspace.environment)
    vault = VaultClient(config.vault.address, config.vault.ca_bundle, workspace.environment["VAULT_TOKEN"])
    if seeded_digest(vault.read_metadata(config.vault.mount, registry.path)):
        return False
    # Only the seeder's token may write the value; the program's cannot even read it.
    token = (plane.layout.openbao / "seeder-token").read_text(encoding="utf-8").strip()
    environment = {**workspace.environment, "VAULT_TOKEN": token}
    words = ("seed", registry.name, "--stack", stack, "--from-file", "-", "--yes")
    run_command(workspace, environment, *words, stdin=generated_credential(registry.hosts)).check_returncode()
    return True


def run_command(
    workspace: Workspace, environment: Mapping[str, str], *words: str, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a `pull-secrets` command on the workspace's stack files, its output going to ours."""
    sys.stdout.flush()
    return subprocess.run(
        [sys.executable, "-m", "pullsecrets", *words, "--directory", str(workspace.root)],
        env=dict(environment),
        input=stdin,
        text=True,
        timeout=300,
        check=False,
    )


def existing(api: KubernetesApi, path: str) -> dict[str, Any]:
    """Return an object; for `until`, which waits while it is not there."""
    try:
        return api.call("GET", path)
    except RequestRefused as error:
        raise NotYet(str(error)) from error


def generated_credential(hosts: tuple[str, ...]) -> str:
    """Return a dockerconfigjson document with a random password for each host."""
    auths = {
        host: {
            "auth": base64.b64encode(f"platform-bot:{secrets.token_urlsafe(24)}".encode()).decode(),
            "email": f"platform-bot@{host.partition('.')[2].partition(':')[0]}",
        }
        for host in hosts
    }
    return json.dumps({"auths": auths})
