"""`make bench`, audit: what it costs to audit and to diagnose plain labelled namespaces, the whole command timed."""

import json
import sys
from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

from rich.console import Console
from rich.table import Table

from local.bench import LABEL, REGISTRY, STACK, Benchmark, measure
from local.controlplane import ControlPlane
from local.controlplane.waiting import NotYet, until
from local.demo import existing, seed_generated
from pullsecrets.config import load_stack
from pullsecrets.manifests.builders import namespace

NAMESPACES = 1000
RUNS = 3
DELIVERY_SECONDS = 900
FORMATS = ("json", "csv", "html", "openmetrics")
DOCTOR = "doctor takes 5 s and 40 requests at most"


class AuditBenchmark:
    """Namespaces that got their label by hand, on the benchmark's stack without tenants of its own."""

    def __init__(self, plane: ControlPlane, console: Console) -> None:
        """Run on this control plane and print to this console."""
        self.console = console
        self.admin = plane.admin()
        self.plane = plane
        self.benchmark = Benchmark(plane, console)
        self.workspace = copy(self.benchmark.workspace)
        auditor = {"KUBECONFIG": str(plane.kubeconfig_as("auditor"))}
        self.workspace.environment = {**self.workspace.environment, **auditor}
        self.on_call = copy(self.workspace)
        operator = {"KUBECONFIG": str(plane.kubeconfig_as("operator"))}
        self.on_call.environment = {**self.workspace.environment, **operator}

    def run(self, namespaces: int = NAMESPACES) -> None:
        """Make the namespaces, wait until each holds its Secret, measure report and doctor, and clean up."""
        self.benchmark.configure(0)
        deploying = self.benchmark.workspace
        for registry in load_stack(STACK, deploying.root).registries:
            seed_generated(self.plane, deploying, STACK, registry)
        deploying.pulumi("up", "--yes", "--skip-preview", "--stack", STACK)
        names = [f"bench-audit-{index:04}" for index in range(namespaces)]
        for name in names:
            self.admin.apply(namespace(name, LABEL))
        for name in names:
            self._bind(name)
        until(lambda: self._delivered(namespaces), DELIVERY_SECONDS, f"{namespaces} Secrets", every=2)
        self.console.print(self._measured(namespaces))
        # First what fans out: ESO takes minutes for its finalizers when 1,000 labelled namespaces are deleted.
        deploying.pulumi("destroy", "--yes", "--skip-preview", "--stack", STACK)
        for name in names:
            self.admin.call("DELETE", f"/api/v1/namespaces/{name}")
        until(self._cleaned, DELIVERY_SECONDS, "the namespaces gone", every=2)

    def _bind(self, name: str) -> None:
        path = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        until(lambda: existing(self.admin, path), 60, path)
        entries = {"imagePullSecrets": [{"name": REGISTRY}]}
        self.admin.call("PATCH", path, entries, "application/merge-patch+json")

    def _delivered(self, namespaces: int) -> None:
        selector = f"fieldSelector=metadata.name%3D{REGISTRY}"
        found = len(self.admin.call("GET", f"/api/v1/secrets?{selector}")["items"])
        if found < namespaces:
            raise NotYet(f"{found} are there")

    def _cleaned(self) -> None:
        found = self.admin.call("GET", "/api/v1/namespaces")["items"]
        left = [item["metadata"]["name"] for item in found if item["metadata"]["name"].startswith("bench-audit-")]
        if left:
            raise NotYet(f"{len(left)} are there")

    def _measured(self, namespaces: int) -> Table:
        title = f"Audit and doctor on {namespaces} namespaces, best of {RUNS} ({DOCTOR})"
        table = Table(title=title, header_style="bold")
        for column in ("form", "command s", "of them reading s", "Kubernetes requests", "peak MiB", "report KiB"):
            table.add_column(column, justify="right")
        for form in FORMATS:
            table.add_row(form, *_best([self._audit(form) for _ in range(RUNS)]))
        table.add_row("doctor", *_best([self._doctor() for _ in range(RUNS)]))
        return table

    def _doctor(self) -> Mapping[str, float]:
        where = ["--stack", STACK, "--directory", str(self.workspace.root), "--json", "--fail-on", "cluster"]
        measured = measure([sys.executable, "-m", "pullsecrets", "doctor", *where], self.on_call)
        # What it says to people stands before the document.
        report = measured.printed[measured.printed.index("{") :]
        told: dict[str, Any] = json.loads(report)
        if told["diagnoses"]:
            self.console.print(f"doctor found {[item['check'] for item in told['diagnoses']]}")
        return {
            "seconds": measured.seconds,
            "reading": told["seconds"],
            "requests": told["requests"],
            "mebibytes": measured.peak_bytes / 2**20,
            "kibibytes": len(report) / 2**10,
        }

    def _audit(self, form: str) -> Mapping[str, float]:
        report = self.workspace.root / f"audit.{form}"
        where = ["--stack", STACK, "--directory", str(self.workspace.root), "--output", str(report)]
        measured = measure([sys.executable, "-m", "pullsecrets", "audit", "--format", form, *where], self.workspace)
        told: dict[str, Any] = json.loads(report.read_text(encoding="utf-8")) if form == "json" else {}
        return {
            "seconds": measured.seconds,
            "reading": told.get("seconds", 0),
            "requests": told.get("requests", 0),
            "mebibytes": measured.peak_bytes / 2**20,
            "kibibytes": report.stat().st_size / 2**10,
        }


def _best(runs: list[Mapping[str, float]]) -> list[str]:
    def shown(key: str, digits: int, choose: Callable[[list[float]], float] = min) -> str:
        found = choose([run[key] for run in runs])
        return f"{found:.{digits}f}" if found else "-"

    return [
        shown("seconds", 1),
        shown("reading", 2),
        shown("requests", 0, max),
        shown("mebibytes", 0, max),
        shown("kibibytes", 0),
    ]
