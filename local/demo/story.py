"""The demo from its first step to the numbers at its end."""

import datetime as dt
import json
import time
from typing import Any

from rich.console import Console

from local.controlplane import ControlPlane
from local.demo import numbers, pulling
from local.demo.credentials import generated_credential, seeder_token
from local.demo.services import RolledOut, Services
from local.demo.set_up import SetUp, set_up
from local.demo.steps import Steps, UnexpectedError
from pullsecrets.credential.vault import VaultClient
from pullsecrets.kube.client import METADATA_ONLY
from pullsecrets.kube.objects import owners_of

_SECRETS = "/api/v1/secrets?fieldSelector=type%3Dkubernetes.io%2Fdockerconfigjson"


class _Anew:
    """New Pods in every namespace before and after the rotation, where a real node pulls their images."""

    def __init__(self, steps: Steps) -> None:
        """Use the demo's node, if it has one."""
        self._steps = steps
        tenants = steps.config.resolve_tenants()
        self._images = {tenant.name: pulling.image_of(steps.config, tenant.name) for tenant in tenants}
        self._old: set[tuple[str, str]] = set()
        self._revoked = dt.datetime.now(dt.UTC)

    def pull(self, title: str) -> None:
        """Have a new Pod in each namespace pull an image."""
        if self._steps.node is None:
            return
        with self._steps.step(title):
            pulling.pull_anew(self._steps.verifier, self._steps.config, self._steps.node, self._images)
            self._steps.say(f"{len(self._images)} of {len(self._images)} namespaces pulled")

    def let_in(self, document: str) -> None:
        """Let a new credential's logins in beside those before, which are remembered."""
        if self._steps.node is not None:
            for host, user in pulling.let_in(self._steps.node, document):
                self._old |= {(host, name) for name in self._steps.node.users(host) if name != user}

    def revoke(self) -> None:
        """Let the logins before in no longer."""
        if self._steps.node is not None:
            for host, user in self._old:
                self._steps.node.revoke(host, user)
            self._revoked = dt.datetime.now(dt.UTC)

    def show(self) -> None:
        """Print what the registries saw."""
        if self._steps.node is not None:
            found = pulling.seen(self._steps.node, self._images, self._old, self._revoked)
            self._steps.console.print(pulling.table(found))


class Demo:
    """The whole demo on one control plane."""

    def __init__(self, plane: ControlPlane, console: Console) -> None:
        """Run on this control plane and print to this console."""
        node, self._nodes = pulling.start_node(plane)
        self.steps = Steps(plane, console, node)

    def run(self) -> None:
        """Run every step and print what was measured.

        Raises:
            StepFailedError: a step failed; it names the step.
        """
        began = time.monotonic()
        self.steps.say(f"[bold yellow]{self._nodes}[/]")
        services = Services(self.steps)
        services.forget()
        taken = set_up(self.steps)
        rolled_out = services.run()
        anew = _Anew(self.steps)
        anew.pull("New Pods pull with the delivered login, each an image that no node has had")
        with self.steps.step("Rotation of both registries: a new credential, proved in every namespace"):
            rotation = self._rotate(anew)
        anew.revoke()
        anew.pull("The login before is revoked at the registries; new Pods pull with the new one")
        with self.steps.step("What it comes to"):
            measured = self._measure(taken, rolled_out, rotation)
            self.steps.console.print(numbers.table(measured))
            anew.show()
            self.steps.say(f"{time.monotonic() - began:.0f} s in all. {self._nodes}")

    def _rotate(self, anew: _Anew) -> float:
        environment = {**self.steps.on_call, "VAULT_TOKEN": seeder_token(self.steps.plane)}
        began = time.monotonic()
        for registry in self.steps.config.registries:
            words = ("rotate", registry.name, "--from-file", "-", "--yes")
            document = generated_credential(registry.hosts)
            anew.let_in(document)
            self.steps.run(environment, *words, stdin=document)
        return time.monotonic() - began

    def _measure(self, taken: SetUp, rolled_out: RolledOut, rotation: float) -> numbers.Measured:
        config = self.steps.config
        found = json.loads(self.steps.run(self.steps.auditor, "audit", "--json", captured=True).stdout)
        self.steps.say(f"pull-secrets audit: {found['headline']}")
        rows: list[dict[str, Any]] = found["rows"]
        secrets = self._secrets()
        return numbers.Measured(
            commands=len(self.steps.commands),
            kubectl=sum(command.startswith("kubectl") for command in self.steps.commands),
            secrets=len(secrets),
            by_hand=sum(not _delivered(item) for item in secrets),
            set_up_seconds=taken.seconds,
            from_nothing=taken.from_nothing,
            rotation_seconds=rotation,
            registries=len(config.registries),
            namespaces=len(rows),
            proved=sum(row["green"] for row in rows),
            violations=rolled_out.violations,
            commits=rolled_out.commits,
            versions=self._versions(),
        )

    def _secrets(self) -> list[dict[str, Any]]:
        """The metadata of the pull Secrets in the tenants' namespaces; their content stays where it is."""
        status, body = self.steps.admin.http.request("GET", _SECRETS, headers={"Accept": METADATA_ONLY})
        if status != 200:
            raise UnexpectedError(f"the API server answers {status} to a list of Secrets' metadata")
        tenants = {tenant.name for tenant in self.steps.config.resolve_tenants()}
        return [item for item in json.loads(body)["items"] if item["metadata"]["namespace"] in tenants]

    def _versions(self) -> int:
        config = self.steps.config
        token = self.steps.workspace.environment["VAULT_TOKEN"]
        vault = VaultClient(config.vault.address, config.vault.ca_bundle, token)
        entries = [vault.read_metadata(config.vault.mount, registry.path) for registry in config.registries]
        return sum(entry.current_version for entry in entries if entry)


def _delivered(secret: dict[str, Any]) -> bool:
    return any(owner["kind"] == "ExternalSecret" for owner in owners_of(secret))
