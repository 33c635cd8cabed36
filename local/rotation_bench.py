"""`python -m local bench --rotation`: what a rotation costs by number of namespaces; it reports and asserts nothing."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from local import toolchain
from local.bench import LABEL, REGISTRY, STACK, Benchmark
from local.controlplane import ControlPlane
from local.controlplane.api import RequestRefused
from local.controlplane.rbac import OPERATORS
from local.controlplane.waiting import NotYet, until
from local.demo import generated_credential, seed_generated
from local.demo.credentials import seeder_token
from pullsecrets.config import load_stack
from pullsecrets.kube.eso_versions import parse_version, recommended_flags
from pullsecrets.manifests.builders import namespace

_RECOMMENDED = recommended_flags(parse_version(toolchain.version("external-secrets")))
TUNED = tuple(f"--{name}={value}" for name, value in _RECOMMENDED.items())
"""Flags of ESO that `doctor` recommends for long queues."""

DEADLINE = 1800
_PARALLEL = 8
_API_REQUESTS = re.compile(rb"^apiserver_request_total\{(?P<labels>[^}]*)\} (?P<count>[0-9.e+]+)$", re.MULTILINE)


@dataclass(frozen=True)
class Counted:
    """Requests that the servers have seen so far."""

    vault: int
    api: int


@dataclass(frozen=True)
class Rotated:
    """One rotation: the whole command, how much of it was delivery, and the requests meanwhile."""

    seconds: float
    delivery: float
    requests: Counted


class RotationBenchmark:
    """The benchmark stack without tenants, and plain namespaces with its label."""

    def __init__(self, plane: ControlPlane, console: Console) -> None:
        """Run on this control plane and print to this console."""
        self.plane = plane
        self.console = console
        self.admin = plane.admin()
        self.benchmark = Benchmark(plane, console)
        self.workspace = self.benchmark.workspace
        self.operator = plane.kubeconfig_for("operator", [OPERATORS])

    def run(self, sizes: Sequence[int]) -> None:
        """Measure each size with ESO's own flags (default) and with the recommended ones (tuned)."""
        table = Table(title="Rotation, by `pull-secrets rotate`", header_style="bold")
        for column in ("namespaces", "ESO flags", "command s", "delivery s", "per s", "Vault", "API"):
            table.add_column(column, justify="right")
        self._deploy()
        try:
            for size in sorted(sizes):
                self._fill(size)
                for name, flags in (("default", ()), ("tuned", TUNED)):
                    table.add_row(*self._row(size, name, flags))
        finally:
            self.plane.restart_eso()
            self.console.print(table)
            self._clear(max(sizes))

    def _row(self, size: int, name: str, flags: Sequence[str]) -> list[str]:
        self.plane.restart_eso(flags)
        self._quiet()
        done = self._rotate(size)
        rate = f"{size / done.delivery:.0f}"
        self.console.print(f"[dim]{size} namespaces, {name} flags: {done.delivery:.1f} s[/]")
        counts = (str(done.requests.vault), str(done.requests.api))
        return [str(size), name, f"{done.seconds:.1f}", f"{done.delivery:.1f}", rate, *counts]

    def _deploy(self) -> None:
        self.benchmark.configure(0)
        for registry in load_stack(STACK, self.workspace.root).registries:
            seed_generated(self.plane, self.workspace, STACK, registry)
        self.workspace.pulumi("up", "--yes", "--skip-preview", "--stack", STACK)

    def _fill(self, size: int) -> None:
        """Make namespaces up to so many and wait until each holds the Secret."""
        self.plane.restart_eso(TUNED)
        with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
            list(pool.map(lambda name: self.admin.apply(namespace(name, LABEL)), _names(size)))
        until(lambda: self._require_secrets(size), DEADLINE, f"{size} Secrets", every=0.5)

    def _require_secrets(self, size: int) -> None:
        found = self.admin.call("GET", f"/api/v1/secrets?fieldSelector=metadata.name%3D{REGISTRY}")["items"]
        if len(found) < size:
            raise NotYet(f"there are {len(found)}")

    def _quiet(self) -> None:
        """Wait until ESO, which looks at everything when it starts, asks the API server for nothing more."""
        seen = [self._counted().api]

        def check() -> None:
            seen.append(self._counted().api)
            if seen[-1] - seen[-2] > 100:
                raise NotYet(f"{seen[-1] - seen[-2]} requests in the last second")

        until(check, DEADLINE, "a quiet API server", every=1)

    def _rotate(self, size: int) -> Rotated:
        config = load_stack(STACK, self.workspace.root)
        token = seeder_token(self.plane)
        command = (sys.executable, "-m", "pullsecrets", "rotate", REGISTRY, "--stack", STACK, "--json", "--yes")
        before, began = self._counted(), time.monotonic()
        done = subprocess.run(
            [*command, "--from-file", "-", "--timeout", str(DEADLINE), "--directory", str(self.workspace.root)],
            env={**self.workspace.environment, "KUBECONFIG": str(self.operator), "VAULT_TOKEN": token},
            input=generated_credential(config.registry(REGISTRY).hosts),
            stdout=subprocess.PIPE,
            text=True,
            timeout=DEADLINE,
            check=True,
        )
        seconds, after = time.monotonic() - began, self._counted()
        found: dict[str, Any] = json.loads(done.stdout)
        if len(found["namespaces"]) != size:
            raise RuntimeError(f"{len(found['namespaces'])} namespaces were proved, {size} are there")
        return Rotated(seconds, found["seconds"], Counted(after.vault - before.vault, after.api - before.api))

    def _counted(self) -> Counted:
        audit = self.plane.layout.logs / "openbao-audit.log"
        with audit.open("rb") as file:
            vault = sum(b'"type":"request"' in line for line in file)
        metrics = self.admin.http.expect_ok("/metrics")
        api = sum(
            float(found["count"]) for found in _API_REQUESTS.finditer(metrics) if b'verb="WATCH"' not in found["labels"]
        )
        return Counted(vault, round(api))

    def _clear(self, size: int) -> None:
        """Delete the namespaces while they are labelled, so that ESO lets go of them, and then the stack."""
        for name in _names(size):
            with suppress(RequestRefused):
                self.admin.call("DELETE", f"/api/v1/namespaces/{name}")
        until(lambda: self._require_gone(size), DEADLINE, "namespaces gone", every=1)
        self.workspace.pulumi("destroy", "--yes", "--skip-preview", "--stack", STACK)

    def _require_gone(self, size: int) -> None:
        left = {item["metadata"]["name"] for item in self.admin.call("GET", "/api/v1/namespaces")["items"]}
        left &= set(_names(size))
        if left:
            raise NotYet(f"{len(left)} are there")


def _names(size: int) -> list[str]:
    return [f"bench-rotated-{index:04}" for index in range(size)]
