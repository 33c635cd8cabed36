"""`make bench`: what tenants cost; it reports and asserts nothing."""

import io
import json
import random
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

from local.controlplane import ControlPlane
from local.controlplane.api import KubernetesApi, RequestRefused
from local.controlplane.waiting import NotYet, until
from local.demo import existing, seed_generated
from local.paths import repository
from local.workspace import PROJECT, Workspace
from pullsecrets.config import load_stack
from pullsecrets.manifests.builders import namespace
from pullsecrets.packs.catalog import PACKS
from pullsecrets.packs.options import pack_options
from pullsecrets.packs.pull_secrets import PACK
from pullsecrets.packs.timing import start_seconds

STACK = "bench"
REGISTRY = "bench-registry"
LABEL = {"bench.platform/registry": "true"}
SIZES = (25, 100, 400, 1000)
SAMPLE_SECONDS = 0.1
RUN_SECONDS = 3600
KILLED_TENANTS = 10
PACK_TENANTS = 25
PACK_RUNS = 3


@dataclass(frozen=True)
class Measured:
    """One command: how long it took, the CPU time and the most memory of all its processes, and what it printed."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    printed: str


class Benchmark:
    """One benchmark stack on the running control plane."""

    def __init__(self, plane: ControlPlane, console: Console) -> None:
        """Run on this control plane and print to this console."""
        self.plane = plane
        self.admin = plane.admin()
        self.console = console
        self.workspace = Workspace(plane.layout.state / STACK, plane.env())

    def run(self, sizes: Sequence[int], kills: int) -> None:
        """Measure each size, then kill so many runs at random points."""
        self.prepare(0)
        table = Table(title="Tenants: seconds (ms per resource, peak MiB)", header_style="bold")
        for column in ("tenants", "resources", "create", "no-op preview", "add one", "label to Secret", "destroy"):
            table.add_column(column, justify="right")
        for size in sizes:
            table.add_row(*self._row(size))
            self.console.print(f"[dim]{size} tenants measured[/]")
        self.console.print(table)
        self._packs()
        if kills:
            self._killed_runs(kills)

    def prepare(self, tenants: int) -> None:
        """Leave nothing of an earlier run, seed the registries, and write the stack file for so many tenants."""
        self.configure(0)
        self.workspace.pulumi("destroy", "--yes", "--skip-preview", "--stack", STACK)
        for registry in load_stack(STACK, self.workspace.root).registries:
            seed_generated(self.plane, self.workspace, STACK, registry)
        self.configure(tenants)

    def configure(self, tenants: int) -> None:
        """Write the stack file for so many tenants."""
        stream = io.StringIO()
        values = {f"{PROJECT}:{key}": value for key, value in _stack(tenants).items()}
        YAML(typ="safe").dump({"config": values}, stream)
        self.workspace.use_stack(STACK, stream.getvalue())

    def _row(self, size: int) -> list[str]:
        self.configure(size)
        create = self.measure("up", "--yes", "--skip-preview")
        preview = self.measure("preview", "--expect-no-changes")
        label = self._label_to_secret()
        self.configure(size + 1)
        add = self.measure("up", "--yes", "--skip-preview")
        resources = self._resources()
        destroy = self.measure("destroy", "--yes", "--skip-preview")
        each = [_cell(measured, resources) for measured in (create, preview)]
        return [
            str(size),
            str(resources),
            *each,
            f"{add.seconds:.1f}",
            f"{label:.1f}",
            _cell(destroy, resources),
        ]

    def measure(self, *arguments: str) -> Measured:
        """Run `pulumi` on the stack.

        Raises:
            RuntimeError: when it fails.
        """
        return measure(self.workspace.command("--non-interactive", *arguments, "--stack", STACK), self.workspace)

    def _resources(self) -> int:
        exported = self.workspace.pulumi("stack", "export", "--stack", STACK).stdout
        return len(json.loads(exported)["deployment"]["resources"])

    def _label_to_secret(self) -> float:
        name = "bench-by-hand"
        self.admin.apply(_plain(name))
        started = time.monotonic()
        self.admin.apply(namespace(name, LABEL))
        path = f"/api/v1/namespaces/{name}/secrets/{REGISTRY}"
        until(lambda: existing(self.admin, path), deadline=300, what=path)
        took = time.monotonic() - started
        self.delete([name])
        return took

    def delete(self, names: Sequence[str]) -> None:
        """Delete namespaces and wait until they are gone."""
        for name in names:
            self.admin.call("DELETE", f"/api/v1/namespaces/{name}")
        for name in names:
            path = f"/api/v1/namespaces/{name}"
            until(lambda path=path: _absent(self.admin, path), deadline=RUN_SECONDS, what=f"{path} gone", every=0.5)

    def _packs(self) -> None:
        """What the packs cost: their start, and a no-op preview of the size of stack dev with and without them."""
        for pack in (PACK, *PACKS):
            seconds = start_seconds(repository() / "pullsecrets" / "packs" / pack.folder)
            self.console.print(f"pack {pack.name} starts in {seconds:.2f} s")
        self.configure(PACK_TENANTS)
        self.measure("up", "--yes", "--skip-preview")
        config = load_stack(STACK, self.workspace.root)
        chosen = {"without packs": (), **{f"with {pack.name}": (pack,) for pack in (PACK, *PACKS)}, "with four": PACKS}
        options = {name: pack_options(config, self.workspace.root, packs) for name, packs in chosen.items()}
        runs = {name: [self.measure("preview", *given) for _ in range(PACK_RUNS)] for name, given in options.items()}
        plain = median(run.seconds for run in runs["without packs"])
        for name, measured in runs.items():
            seconds, cpu = (median(getattr(run, key) for run in measured) for key in ("seconds", "cpu_seconds"))
            more = f"({(seconds / plain - 1) * 100:+.0f} %), {cpu:.1f} CPU s"
            self.console.print(f"no-op preview of {PACK_TENANTS} tenants {name}: {seconds:.1f} s {more}")
        self.measure("destroy", "--yes", "--skip-preview")

    def _killed_runs(self, kills: int) -> None:
        """SIGKILL `up` at random points; each time a plain rerun must converge, with nothing left to change."""
        self.configure(KILLED_TENANTS)
        whole = self.measure("up", "--yes", "--skip-preview").seconds
        converged = 0
        for number in range(kills):
            self.workspace.pulumi("destroy", "--yes", "--skip-preview", "--stack", STACK)
            moment = random.uniform(0, whole)  # noqa: S311 - when to kill is no secret
            finished = kill_after(self.workspace, STACK, moment)
            self.configure(KILLED_TENANTS)
            again = self.workspace.pulumi("up", "--yes", "--skip-preview", "--stack", STACK, check=False)
            clean = self.workspace.pulumi("preview", "--refresh", "--expect-no-changes", "--stack", STACK, check=False)
            good = not again.returncode and not clean.returncode
            converged += good
            note = "was through already" if finished else "killed"
            self.console.print(f"kill {number + 1} at {moment:.1f} s ({note}): {'converged' if good else again.stdout}")
        self.workspace.pulumi("destroy", "--yes", "--skip-preview", "--stack", STACK)
        left = [
            item["metadata"]["name"]
            for item in self.admin.call("GET", "/api/v1/namespaces")["items"]
            if item["metadata"]["name"].startswith("bench-")
        ]
        self.console.print(f"{converged} of {kills} killed runs converged; namespaces left over: {left or 'none'}")


def measure(command: Sequence[str], workspace: Workspace, *, stdin: str | None = None, fails: bool = False) -> Measured:
    """Run a command to its end, sampling the memory of all its processes.

    Args:
        command: its argument list.
        workspace: whose variables it gets.
        stdin: what it reads.
        fails: whether it is to fail.

    Raises:
        RuntimeError: when it does otherwise; the message is what it printed.
    """
    started, before = time.monotonic(), _cpu_seconds()
    process = subprocess.Popen(
        list(command),
        env=workspace.environment,
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    sampler = _Sampler(process.pid)
    sampler.start()
    printed, _ = process.communicate(stdin, timeout=RUN_SECONDS)
    seconds = time.monotonic() - started
    sampler.finished.set()
    sampler.join()
    if bool(process.returncode) != fails:
        raise RuntimeError(f"`{' '.join(command)}` exited with {process.returncode}:\n{printed}")
    return Measured(seconds, _cpu_seconds() - before, sampler.peak, printed)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def kill_after(workspace: Workspace, stack: str, seconds: float) -> bool:
    """Start `pulumi up`, SIGKILL it after so many seconds, and return whether it was through before that."""
    process = subprocess.Popen(
        workspace.command("--non-interactive", "up", "--yes", "--skip-preview", "--stack", stack),
        env=workspace.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return False
    return True


class _Sampler(threading.Thread):
    """Samples the resident memory of a process and its descendants."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.finished = threading.Event()
        self.peak = 0
        self._pid = pid

    def run(self) -> None:
        while not self.finished.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, _resident(self._pid))


def _resident(pid: int) -> int:
    try:
        root = psutil.Process(pid)
        return sum(_memory(process) for process in [root, *root.children(recursive=True)])
    except psutil.NoSuchProcess:
        return 0


def _memory(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def _stack(tenants: int) -> dict[str, Any]:
    matrix = {
        "services": [f"{index:04}" for index in range(tenants)],
        "environments": ["dev"],
        "pattern": "bench-{service}-{environment}",
        "registries": [REGISTRY],
    }
    return {
        "cluster": {"name": STACK},
        "vault": {
            "mount": "secret",
            "auth": {"mount": "kubernetes-bench", "role": "external-secrets-bench"},
            "egress": {"cidrs": ["127.0.0.1/32"]},
        },
        "eso": {"store": "vault-bench", "networkPolicy": "eso-allow-egress-to-vault-bench"},
        "registries": [
            {"name": REGISTRY, "hosts": ["bench.example.com"], "selector": LABEL, "namespaces": ["bench-*"]}
        ],
        "tenants": {"protect": False, "onLeave": "delete", "matrices": [matrix] if tenants else []},
    }


def _plain(name: str) -> dict[str, Any]:
    return namespace(name, {})


def _cell(measured: Measured, resources: int) -> str:
    mebibytes = measured.peak_bytes / 2**20
    return f"{measured.seconds:.1f} ({measured.seconds / resources * 1000:.1f}, {mebibytes:.0f})"


def _absent(api: KubernetesApi, path: str) -> None:
    try:
        api.call("GET", path)
    except RequestRefused as error:
        if error.status == 404:
            return
        raise
    raise NotYet("it is there")
