"""`python -m local bench --fleet`: many stacks by one command against one stack of the same namespaces."""

import json
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.table import Table

from local import fleet
from local.bench import Measured, measure
from local.controlplane import ControlPlane
from local.controlplane.rbac import FLEET, OPERATORS
from local.demo import generated_credential
from local.demo.credentials import seeder_token
from local.rotation_bench import TUNED
from local.workspace import Workspace

STACKS, NAMESPACES, PARALLEL = 18, 50, 4
"""With the slow and the dead one that is a fleet of 20."""

LIMIT = 60
"""Seconds for each stack of the fleet: what the slow one costs."""

SLOW, DEAD = "fleet-19", "fleet-20"


class FleetBenchmark:
    """As many namespaces once in one stack, once in many, among which one is slow and one is dead."""

    def __init__(self, plane: ControlPlane, console: Console) -> None:
        """Run on this control plane and print to this console."""
        self.plane = plane
        self.console = console
        self.folder = plane.layout.state / "bench-fleet"

    def run(self, namespaces: int, stacks: int = STACKS) -> None:
        """Measure `up` and `rotate` of both, and print their rates and ratios.

        Args:
            namespaces: of each stack.
            stacks: that answer.
        """
        table = Table(title="Many stacks against one", header_style="bold")
        for column in ("stacks", "namespaces", "command", "seconds", "namespaces/s", "of one stack's", "peak MiB"):
            table.add_column(column, justify="right")
        self.plane.restart_eso(TUNED)
        total = stacks * namespaces
        one = self._measured("one", [FLEET[0]], total, 1, {})
        with closing(socket.create_server(("127.0.0.1", 0))) as silent:
            # It takes connections and never answers.
            servers = {SLOW: f"https://127.0.0.1:{silent.getsockname()[1]}", DEAD: fleet.NOBODY}
            many = self._measured("many", FLEET[:stacks], namespaces, PARALLEL, servers)
        for command, measured in one.items():
            table.add_row("1", str(total), command, *_cells(measured, total), "")
            row = (str(stacks), str(total), command, *_cells(many[command], total))
            table.add_row(*row[:5], f"{measured.seconds / many[command].seconds:.2f}", row[5])
        self.plane.restart_eso()
        self.console.print(table)

    def _measured(
        self, name: str, stacks: Sequence[str], namespaces: int, parallel: int, servers: Mapping[str, str]
    ) -> dict[str, Measured]:
        workspace = Workspace(self.folder / name, self.plane.env())
        every = (*stacks, *servers)
        for stack in every:
            names = [f"{stack}-{index:04}" for index in range(namespaces)]
            fleet.use_stack(workspace, stack, fleet.configuration(stack, names))
        options = ("--parallel", str(parallel), "--timeout", str(LIMIT if servers else 1800), "--yes", "--json")
        identities = {"deployer": Path(self.plane.env()["KUBECONFIG"])}
        identities["operator"] = self.plane.kubeconfig_for("operator", [OPERATORS])
        contexts = {who: fleet.kubeconfig(self.plane, file, every, servers) for who, file in identities.items()}
        workspace.environment["KUBECONFIG"] = str(contexts["deployer"])
        try:
            up = self._run(workspace, contexts["deployer"], ["up", *options], servers)
            workspace.environment["VAULT_TOKEN"] = seeder_token(self.plane)
            arguments = ["rotate", "fleet-*", "--from-file", "-", "--skip-unready", *options]
            rotate = self._run(workspace, contexts["operator"], arguments, servers)
        finally:
            workspace.environment["VAULT_TOKEN"] = self.plane.env()["VAULT_TOKEN"]
            for stack in stacks:
                workspace.pulumi("destroy", "--yes", "--skip-preview", "--stack", stack)
        return {"up": up, "rotate": rotate}

    def _run(
        self, workspace: Workspace, kubeconfig: Path, arguments: Sequence[str], failing: Mapping[str, str]
    ) -> Measured:
        command = [sys.executable, "-m", "pullsecrets", "fleet", *arguments, "--kubeconfig", str(kubeconfig)]
        stdin = generated_credential((fleet.HOST,)) if "rotate" in arguments else None
        command += ["--directory", str(workspace.root)]
        measured = measure(command, workspace, stdin=stdin, fails=bool(failing))
        report = json.loads(measured.printed)
        bad = {item["stack"] for item in report["stacks"] if item["state"] != "done"}
        if bad != set(failing):
            raise RuntimeError(f"failed: {bad}; expected {set(failing)}: {measured.printed}")
        self.console.print(f"[dim]fleet {arguments[0]} of {len(report['stacks'])}: {measured.seconds:.1f} s[/]")
        return measured


def _cells(measured: Measured, namespaces: int) -> tuple[str, str, str]:
    return f"{measured.seconds:.1f}", f"{namespaces / measured.seconds:.1f}", f"{measured.peak_bytes / 2**20:.0f}"
