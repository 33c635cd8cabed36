"""The demo from its first step to the numbers at its end."""

import datetime as dt
import json
import time
from collections.abc import Collection, Mapping
from typing import Any

from rich.console import Console

from local.controlplane import ControlPlane
from local.controlplane.node.node import RealNode
from local.controlplane.people import PEOPLE
from local.demo import numbers, pulling
from local.demo.credentials import generated_credential, seeder_token
from local.demo.services import RolledOut, Services
from local.demo.set_up import SetUp, set_up
from local.demo.steps import Steps, UnexpectedError
from pullsecrets.credential.vault import VaultClient
from pullsecrets.kube.client import METADATA_ONLY
from pullsecrets.kube.objects import owners_of
from pullsecrets.text import listed

_SECRETS = "/api/v1/secrets?fieldSelector=type%3Dkubernetes.io%2Fdockerconfigjson"


class _Pulls:
    """Pulls of every namespace before and after the rotation, on a real node: of its workloads, and of test Pods."""

    def __init__(self, steps: Steps, node: RealNode, of_workloads: Mapping[str, Collection[str]]) -> None:
        """Use the demo's node, from whose registries workloads have pulled these images by namespace."""
        self._steps = steps
        self._node = node
        tenants = steps.config.resolve_tenants()
        self._anew = {tenant.name: pulling.image_of(steps.config, tenant.name) for tenant in tenants}
        self._images = {name: {image, *of_workloads.get(name, ())} for name, image in self._anew.items()}
        hosts = {host for registry in steps.config.registries for host in registry.hosts}
        self._old = {(host, user) for host in hosts for user in node.users(host)}
        self._revoked = dt.datetime.now(dt.UTC)

    def before(self) -> None:
        """Have a test Pod pull where no workload has pulled with the login of now."""
        if lacking := [name for name, counts in self._seen().items() if not counts.before]:
            with self._steps.step(f"A test Pod pulls where no workload has: {listed(lacking)}"):
                self._pull(lacking)

    def let_in(self, document: str) -> None:
        """Let a new credential's logins in beside those before."""
        pulling.let_in(self._node, document)

    def after(self) -> None:
        """Let the logins before in no longer, and have a test Pod pull in every namespace."""
        for host, user in self._old:
            self._node.revoke(host, user)
        self._revoked = dt.datetime.now(dt.UTC)
        with self._steps.step("The login before is revoked at the registries; new Pods pull with the new one"):
            self._pull(self._anew)

    def show(self) -> None:
        """Print what the registries saw."""
        self._steps.console.print(pulling.table(self._seen()))

    def _pull(self, namespaces: Collection[str]) -> None:
        images = {name: self._anew[name] for name in namespaces}
        pulling.pull_anew(self._steps.verifier, self._steps.config, self._node, images)
        self._steps.say(f"{len(images)} of {len(images)} namespaces pulled an image that no node has had")

    def _seen(self) -> dict[str, pulling.Seen]:
        return pulling.seen(self._node, self._images, self._old, self._revoked)


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
        node = self.steps.node
        pulls = _Pulls(self.steps, node, rolled_out.images) if node else None
        if pulls:
            pulls.before()
        with self.steps.step("Rotation of both registries: a new credential, proved in every namespace"):
            rotation = self._rotate(pulls)
        if pulls:
            pulls.after()
        with self.steps.step("What it comes to"):
            measured = self._measure(taken, rolled_out, rotation)
            self.steps.console.print(numbers.table(measured))
            if pulls:
                pulls.show()
            self.steps.say(f"{time.monotonic() - began:.0f} s in all. {self._nodes}")
            self.steps.say('A shell in it: eval "$(.venv/bin/python -m local env --as WHO)", where WHO is')
            for name, person in PEOPLE.items():
                self.steps.say(f"  {name:9} {person.does}")

    def _rotate(self, pulls: _Pulls | None) -> float:
        environment = {**self.steps.on_call, "VAULT_TOKEN": seeder_token(self.steps.plane)}
        began = time.monotonic()
        for registry in self.steps.config.registries:
            words = ("rotate", registry.name, "--from-file", "-", "--yes")
            document = generated_credential(registry.hosts)
            if pulls:
                pulls.let_in(document)
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
