"""External Secrets Operator: its CRDs, the objects of its own Helm chart, and the operator as a process."""

from __future__ import annotations

import hashlib
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from local import toolchain
from local.controlplane.api import HttpClient, KubernetesApi, RequestRefused, path_of
from local.controlplane.component import Component
from local.controlplane.files import write_private
from local.controlplane.kwok import SIMULATED
from local.controlplane.layout import EXTERNAL_SECRETS, Layout
from local.controlplane.processes import Command
from local.controlplane.rbac import roles
from local.controlplane.waiting import NotYet, until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from local.controlplane.ports import Ports

NAMESPACE = "external-secrets"
SERVICE_ACCOUNT = "external-secrets"
_RELEASE = "external-secrets"
_VALUES = {
    # The CRDs come from the module, without the chart's templating.
    "installCRDs": False,
    # Both would be further processes: the webhook only refuses what the controller reports anyway.
    "webhook": {"create": False},
    "certController": {"create": False},
    # Its Pods are for show, so they stay on simulated nodes while a real one has these cordoned.
    "nodeSelector": {SIMULATED: ""},
    "tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"}],
    # The chart in the module may lag behind the operator in it.
    "image": {"tag": f"v{toolchain.version('external-secrets')}"},
}
_CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_SERVED_DEADLINE = 30.0


class ChartError(Exception):
    """The operator's chart cannot be rendered, or does not hold what is expected of it."""


class ExternalSecrets(Component):
    """The operator."""

    name = EXTERNAL_SECRETS

    def __init__(self, layout: Layout, ports: Ports, flags: Sequence[str] = ()) -> None:
        """Use these.

        Args:
            layout: where things stand.
            ports: on which ports it serves health and metrics.
            flags: what replaces flags of the chart.
        """
        self._layout = layout
        self._ports = ports
        self._flags = tuple(flags)
        self._installed = layout.external_secrets / "installed"

    def install(self, api: KubernetesApi) -> None:
        """Apply the namespace, the CRDs and the RBAC of operator and deployers; wait until the kinds are served.

        Args:
            api: the API server as admin.
        """
        api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        crds, objects = crd_manifests(toolchain.eso_module()), [*self._objects(), self._deployment(1)]
        with ThreadPoolExecutor(max_workers=8) as pool:
            applied = [pool.submit(api.apply_raw, f"{_CRD_PATH}/{name}", crd) for name, crd in crds.items()]
            applied += [pool.submit(api.apply, manifest) for manifest in objects]
            for result in applied:
                result.result()
        until(lambda: _require_served(api, set(crds)), _SERVED_DEADLINE, "kinds of External Secrets Operator served")
        write_private(self._installed, self._digest())

    def is_installed(self) -> bool:
        """Tell whether what `install` would apply is what it applied last."""
        return self._installed.exists() and self._installed.read_text() == self._digest()

    def show(self, api: KubernetesApi, replicas: int) -> None:
        """Make the operator's Deployment tell what is true of its process: with which flags it runs, or that it is off.

        Args:
            api: the API server as admin.
            replicas: 1 while the process runs, else 0.
        """
        api.apply(self._deployment(replicas))

    def require_shown(self, api: KubernetesApi, replicas: int) -> None:
        """Raise `NotYet` unless so many simulated Pods of the Deployment are Ready, all of them as it is now."""
        found = api.call("GET", path_of(self._deployment(replicas)))
        status = found["status"]
        counts = {name: status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas")}
        if status.get("observedGeneration") != found["metadata"]["generation"] or set(counts.values()) != {replicas}:
            raise NotYet(f"the Deployment wants {replicas} and has {counts}")

    def command(self) -> Command:
        """Return how it is started: the chart's flags, overridden by ours, under its own ServiceAccount."""
        kubeconfig = self._layout.kubeconfig(EXTERNAL_SECRETS)
        # Nothing of the caller's environment: with a VAULT_TOKEN in it the operator would use that token, and then
        # revoke it.
        environment = {"KUBECONFIG": str(kubeconfig)}
        argv = (str(toolchain.binary("external-secrets")), *self._all_flags())
        return Command(self.name, argv, environment, self._ports.of(self.name), (kubeconfig,))

    def check(self) -> None:
        """Raise `NotYet` with the cause unless it is alive and its controllers have been started."""
        live = HttpClient(f"http://127.0.0.1:{self._ports['external-secrets-live']}")
        live.expect_ok("/healthz")
        metrics = HttpClient(f"http://127.0.0.1:{self._ports['external-secrets-metrics']}")
        started = b'controller_runtime_max_concurrent_reconciles{controller="externalsecret"}'
        if started not in metrics.expect_ok("/metrics"):
            raise NotYet("its controllers have not started: it still fills its caches")

    def _objects(self) -> list[dict[str, Any]]:
        """Return what is applied beside the CRDs and the Deployment."""
        return [*(manifest for manifest in self._chart() if manifest["kind"] != "Deployment"), *roles(NAMESPACE)]

    def _digest(self) -> str:
        digest = hashlib.sha256(json.dumps(self._objects()).encode())
        for name, crd in crd_manifests(toolchain.eso_module()).items():
            digest.update(name.encode() + hashlib.sha256(crd).digest())
        return digest.hexdigest()

    def _all_flags(self) -> tuple[str, ...]:
        """Return the flags of the process: the chart's, ours, and those that replace them."""
        return merge_flags(
            _container(self._chart_deployment())["args"],
            (
                "--enable-leader-election=false",
                f"--live-addr=127.0.0.1:{self._ports['external-secrets-live']}",
                f"--metrics-addr=127.0.0.1:{self._ports['external-secrets-metrics']}",
            ),
            self._flags,
        )

    def _deployment(self, replicas: int) -> dict[str, Any]:
        """Return the chart's Deployment with the flags of the process; its Pod is simulated."""
        deployment = self._chart_deployment()
        deployment["spec"]["replicas"] = replicas
        _container(deployment)["args"] = list(self._all_flags())
        return deployment

    def _chart_deployment(self) -> dict[str, Any]:
        for manifest in self._chart():
            if manifest["kind"] == "Deployment" and manifest["metadata"]["name"] == _RELEASE:
                return manifest
        raise ChartError(f"the chart of External Secrets Operator renders no Deployment {_RELEASE}")

    def _chart(self) -> list[dict[str, Any]]:
        """Return the chart's objects, rendered once for a chart and its values."""
        renderer = toolchain.binary("eso-chart-render")
        chart = toolchain.eso_module() / "deploy" / "charts" / "external-secrets"
        values = json.dumps(_VALUES, indent=2) + "\n"
        key = hashlib.sha256(f"{renderer}\0{chart}\0{values}".encode()).hexdigest()
        kept = self._layout.external_secrets / f"chart-{key[:16]}.json"
        if not kept.exists():
            values_file = self._layout.external_secrets / "values.yaml"
            write_private(values_file, values)
            write_private(kept, json.dumps(_render(renderer, chart, values_file)))
        return json.loads(kept.read_text())


def _container(deployment: dict[str, Any]) -> dict[str, Any]:
    return deployment["spec"]["template"]["spec"]["containers"][0]


def crd_manifests(module: Path) -> dict[str, bytes]:
    """Return the YAML of each CRD by its name.

    Args:
        module: the operator's source.

    Raises:
        ChartError: there are none, or one wants a conversion webhook, which does not run here.
    """
    crds: dict[str, bytes] = {}
    for file in sorted((module / "config" / "crds" / "bases").glob("*external-secrets.io_*.yaml")):
        group, plural = file.stem.split("_", 1)
        content = file.read_bytes()
        if b"\n  conversion:" in content:
            raise ChartError(
                f"{file} has spec.conversion: its webhook does not run here, so its objects would not load"
            )
        crds[f"{plural}.{group}"] = content
    if not crds:
        raise ChartError(f"no CRDs under {module}/config/crds/bases: run `make build`")
    return crds


def merge_flags(*sets: Sequence[str]) -> tuple[str, ...]:
    """Merge lists of `--name=value`; a later value of a name replaces an earlier one.

    Raises:
        ValueError: an entry does not start with `--`.
    """
    merged: dict[str, str] = {}
    for flag in (flag for flags in sets for flag in flags):
        if not flag.startswith("--"):
            raise ValueError(f"{flag!r} is no flag of External Secrets Operator: write --name=value")
        merged[flag.partition("=")[0]] = flag
    return tuple(merged.values())


def _render(renderer: Path, chart: Path, values: Path) -> list[dict[str, Any]]:
    from ruamel.yaml import YAML  # noqa: PLC0415 - slow to import, and needed once per version of the chart

    arguments = ["--chart", chart, "--release", _RELEASE, "--namespace", NAMESPACE, "--values", values]
    done = subprocess.run([renderer, *arguments], capture_output=True, check=False, timeout=60)
    if done.returncode != 0:
        raise ChartError(f"the chart of External Secrets Operator does not render: {done.stderr.decode().strip()}")
    documents: list[Any] = list(YAML(typ="safe").load_all(done.stdout))
    return [document for document in documents if document]


def _require_served(api: KubernetesApi, names: set[str]) -> None:
    served: set[str] = set()
    for group in {name.partition(".")[2] for name in names}:
        for version in _discover(api, group)["versions"]:
            resources = _discover(api, version["groupVersion"])["resources"]
            served |= {f"{resource['name']}.{group}" for resource in resources}
    missing = names - served
    if missing:
        raise NotYet(f"not served yet: {', '.join(sorted(missing))}")


def _discover(api: KubernetesApi, group: str) -> dict[str, Any]:
    try:
        return api.call("GET", f"/apis/{group}")
    except RequestRefused as refused:
        raise NotYet(str(refused)) from refused
