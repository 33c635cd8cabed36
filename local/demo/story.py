"""The demo from its first step to the numbers at its end."""

import json
import time
from typing import Any

from rich.console import Console

from local.controlplane import ControlPlane
from local.demo import numbers
from local.demo.credentials import generated_credential, seeder_token
from local.demo.services import RolledOut, Services
from local.demo.set_up import SetUp, set_up
from local.demo.steps import Steps, UnexpectedError
from pullsecrets.kube import METADATA_ONLY
from pullsecrets.vault import VaultClient

_SECRETS = "/api/v1/secrets?fieldSelector=type%3Dkubernetes.io%2Fdockerconfigjson"


class Demo:
    """The whole demo on one control plane."""

    def __init__(self, plane: ControlPlane, console: Console) -> None:
        """Run on this control plane and print to this console."""
        self.steps = Steps(plane, console)

    def run(self) -> None:
        """Run every step and print what was measured.

        Raises:
            StepFailedError: a step failed; it names the step.
        """
        began = time.monotonic()
        services = Services(self.steps)
        services.forget()
        taken = set_up(self.steps)
        rolled_out = services.run()
        with self.steps.step("Rotation of both registries: a new credential, proved in every namespace"):
            rotation = self._rotate()
        with self.steps.step("What it comes to"):
            measured = self._measure(taken, rolled_out, rotation)
            self.steps.console.print(numbers.table(measured))
            self.steps.say(f"{time.monotonic() - began:.0f} s in all, on nodes that are simulated")

    def _rotate(self) -> float:
        environment = {**self.steps.on_call, "VAULT_TOKEN": seeder_token(self.steps.plane)}
        began = time.monotonic()
        for registry in self.steps.config.registries:
            words = ("rotate", registry.name, "--from-file", "-", "--yes")
            self.steps.run(environment, *words, stdin=generated_credential(registry.hosts))
        return time.monotonic() - began

    def _measure(self, taken: SetUp, rolled_out: RolledOut, rotation: float) -> numbers.Measured:
        config = self.steps.config
        document = self.steps.run(self.steps.auditor, "audit", "--json", captured=True).stdout
        rows: list[dict[str, Any]] = json.loads(document)["rows"]
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
    owners = secret["metadata"].get("ownerReferences") or ()
    return any(owner["kind"] == "ExternalSecret" for owner in owners)
