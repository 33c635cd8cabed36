"""`make bench`, `--peer`: what tenants cost here, through `kubectl apply` and through Terraform, in turn."""

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from textwrap import dedent
from typing import Any

from rich.console import Console
from rich.table import Table

from local.bench import LABEL, REGISTRY, STACK, Benchmark, Measured, measure
from local.controlplane import ControlPlane
from local.workspace import Workspace
from pullsecrets.config import load_stack
from pullsecrets.errors import BadInputError
from pullsecrets.manifests.builders import namespace
from pullsecrets.packs.options import pack_options

ROUNDS = 3
PARALLELISM = 64
TERRAFORM = "PEER_TERRAFORM"
PROVIDER = "PEER_TERRAFORM_PROVIDER"

CREATE, PREVIEW, PACKS = "create", "no-op preview", "no-op preview with every policy"
OURS, KUBECTL = "pulumi up", "kubectl apply"
Figures = Mapping[tuple[str, str], Sequence[Measured]]
"""What was measured, by tool and by job."""


@dataclass(frozen=True)
class Terraform:
    """A `terraform` and the folder of its kubernetes provider."""

    program: Path
    provider: Path

    def files(self, tenants: int, kubeconfig: Path) -> dict[str, str]:
        """Return the files of a project that declares the same tenants, by name."""
        settings = f'provider_installation {{\n  dev_overrides {{ "hashicorp/kubernetes" = "{self.provider}" }}\n}}\n'
        labels = "\n".join(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in LABEL.items())
        project = """\
            terraform {{
              required_providers {{
                kubernetes = {{ source = "hashicorp/kubernetes" }}
              }}
            }}
            provider "kubernetes" {{ config_path = {kubeconfig} }}
            locals {{ tenants = toset([for index in range({tenants}) : format("peer-%04d", index)]) }}
            resource "kubernetes_namespace_v1" "tenant" {{
              for_each = local.tenants
              metadata {{
                name   = each.key
                labels = {{ {labels} }}
              }}
            }}
            resource "kubernetes_default_service_account_v1" "tenant" {{
              for_each = local.tenants
              metadata {{ namespace = kubernetes_namespace_v1.tenant[each.key].metadata[0].name }}
              image_pull_secret {{ name = "{registry}" }}
            }}
        """
        known = {"kubeconfig": json.dumps(str(kubeconfig)), "tenants": tenants, "labels": labels, "registry": REGISTRY}
        return {"main.tf": dedent(project).format(**known), "settings.tfrc": settings}


def terraform_of(environment: Mapping[str, str]) -> Terraform | None:
    """Return the Terraform that the environment names; None where it names none.

    Raises:
        BadInputError: when only one of the two variables is set, or names no file.
    """
    given = {name: Path(environment[name]) for name in (TERRAFORM, PROVIDER) if environment.get(name)}
    if not given:
        return None
    for name in (TERRAFORM, PROVIDER):
        if name not in given or not given[name].is_file():
            raise BadInputError(f"{name} names no file: name `terraform` and its kubernetes provider, or neither")
    return Terraform(given[TERRAFORM].resolve(), given[PROVIDER].resolve().parent)


def rows(figures: Figures) -> Iterator[tuple[str, ...]]:
    """Yield a row for each tool and job: medians of seconds, CPU seconds and MiB, and how many times ours it took."""
    for (tool, job), measured in figures.items():
        seconds = median(one.seconds for one in measured)
        ours = figures.get((OURS, PREVIEW if job == PACKS else job))
        ratio = f"{seconds / median(one.seconds for one in ours):.2f}" if ours else "-"
        cpu = median(one.cpu_seconds for one in measured)
        peak = median(one.peak_bytes for one in measured) / 2**20
        yield tool, job, f"{seconds:.1f}", f"{cpu:.1f}", f"{peak:.0f}", ratio


class PeerBenchmark:
    """The same namespaces and ServiceAccount entries, made and previewed by each tool on one control plane."""

    def __init__(self, plane: ControlPlane, console: Console) -> None:
        """Run on this control plane and print to this console.

        Raises:
            BadInputError: when the environment names half a Terraform.
        """
        self._bench = Benchmark(plane, console)
        self._console = console
        self._kubeconfig = plane.kubeconfig("admin")
        self._terraform = terraform_of(os.environ)
        self._folder = plane.layout.state / "peer-bench"
        settings = self._folder / "settings.tfrc"
        self._workspace = Workspace(self._folder, {**plane.env(), "TF_CLI_CONFIG_FILE": str(settings)})

    def run(self, sizes: Sequence[int]) -> None:
        """Measure each size in several rounds, the tools in turn."""
        if self._terraform is None:
            self._console.print(f"Terraform is left out: name it by {TERRAFORM} and {PROVIDER}.")
        for size in sizes:
            figures: dict[tuple[str, str], list[Measured]] = defaultdict(list)
            for number in range(ROUNDS):
                for tool, job, measured in self._round(size):
                    figures[tool, job].append(measured)
                self._console.print(f"[dim]{size} tenants, round {number + 1} of {ROUNDS} measured[/]")
            table = Table(title=f"{size} tenants, medians of {ROUNDS}", header_style="bold")
            for column in ("tool", "job", "seconds", "CPU seconds", "peak MiB", "times ours"):
                table.add_column(column)
            for row in rows(figures):
                table.add_row(*row)
            self._console.print(table)

    def _round(self, size: int) -> Iterator[tuple[str, str, Measured]]:
        yield from ((OURS, job, measured) for job, measured in self._ours(size))
        yield from ((KUBECTL, job, measured) for job, measured in self._kubectl(size))
        if self._terraform:
            yield from (("terraform apply", job, found) for job, found in self._applied(self._terraform, size))

    def _ours(self, size: int) -> Iterator[tuple[str, Measured]]:
        bench = self._bench
        bench.prepare(size)
        packs = pack_options(load_stack(STACK, bench.workspace.root), bench.workspace.root)
        yield CREATE, bench.measure("up", "--yes", "--skip-preview")
        yield PREVIEW, bench.measure("preview", "--expect-no-changes")
        yield PACKS, bench.measure("preview", "--expect-no-changes", *packs)
        bench.measure("destroy", "--yes", "--skip-preview")

    def _kubectl(self, size: int) -> Iterator[tuple[str, Measured]]:
        names = [f"peer-{index:04}" for index in range(size)]
        file = self._folder / "objects.json"
        objects = [namespace(name, LABEL) for name in names] + [_account(name) for name in names]
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}), encoding="utf-8")
        kubectl = ["kubectl", "--kubeconfig", str(self._kubeconfig)]
        apply = [*kubectl, "apply", "--server-side", "--force-conflicts", "-f", str(file)]
        yield CREATE, measure(apply, self._workspace)
        yield PREVIEW, measure([*apply, "--dry-run=server"], self._workspace)
        self._bench.delete(names)

    def _applied(self, terraform: Terraform, size: int) -> Iterator[tuple[str, Measured]]:
        for name, text in terraform.files(size, self._kubeconfig).items():
            (self._folder / name).write_text(text, encoding="utf-8")
        command = [str(terraform.program), f"-chdir={self._folder}"]
        options = ["-input=false", "-no-color", f"-parallelism={PARALLELISM}"]
        yield CREATE, measure([*command, "apply", "-auto-approve", *options], self._workspace)
        yield PREVIEW, measure([*command, "plan", *options], self._workspace)
        measure([*command, "destroy", "-auto-approve", *options], self._workspace)


def _account(tenant: str) -> dict[str, Any]:
    metadata = {"name": "default", "namespace": tenant}
    entries = [{"name": REGISTRY}]
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "imagePullSecrets": entries}
