"""How containerd is configured: images from the local registries, Pods in a network apart, nothing of the machine's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from local import toolchain
from local.controlplane.files import private_folder, write_private

if TYPE_CHECKING:
    from pathlib import Path

    from local.controlplane.layout import Layout

NETWORK = "/run/pull-secrets-network"
"""Network namespace of the Pods' peers, as the node sees it."""
_POD_NETWORK = "10.245.0.0/16"


def write_configuration(layout: Layout, sandbox_image: str) -> Path:
    """Write the configuration of containerd and of the Pods' network.

    Args:
        layout: where things stand.
        sandbox_image: of the process that holds a Pod's namespaces.

    Returns:
        The configuration of containerd.
    """
    folder = private_folder(layout.node)
    plugins = private_folder(folder / "cni" / "bin")
    _write_plugins(plugins)
    write_private(folder / "cni" / "conf" / "10-pods.conflist", json.dumps(_network(), indent=2) + "\n")
    images, runtime = "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"
    tables: dict[str, dict[str, object]] = {
        f"plugins.'{images}'.pinned_images": {"sandbox": sandbox_image},
        f"plugins.'{images}'.registry": {"config_path": str(layout.hosts)},
        f"plugins.'{runtime}'": {
            # Root of a container or of a small machine may have no CAP_SYS_RESOURCE.
            "restrict_oom_score_adj": True,
            # A profile would be loaded into the machine's kernel.
            "disable_apparmor": True,
            "netns_mounts_under_state_dir": True,
        },
        f"plugins.'{runtime}'.cni": {
            "bin_dirs": [str(plugins)],
            "conf_dir": str(folder / "cni" / "conf"),
            "use_internal_loopback": True,
        },
        f"plugins.'{runtime}'.containerd.runtimes.runc": {"runtime_type": "io.containerd.runc.v2"},
        f"plugins.'{runtime}'.containerd.runtimes.runc.options": {"BinaryName": str(toolchain.runc())},
    }
    # Numbers, truth values, texts and lists of texts are spelled in TOML as in JSON.
    lines = ["version = 3", "disabled_plugins = ['io.containerd.nri.v1.nri']"]
    for table, values in tables.items():
        lines += ["", f"[{table}]", *(f"{name} = {json.dumps(value)}" for name, value in values.items())]
    file = folder / "containerd.toml"
    write_private(file, "\n".join(lines) + "\n")
    return file


def _network() -> dict[str, object]:
    """Return a network in which Pods have an address, as the kubelet wants it, and reach each other alone."""
    bridge = {
        "type": "bridge",
        "bridge": "pods",
        "ipam": {"type": "host-local", "ranges": [[{"subnet": _POD_NETWORK}]]},
    }
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]}


def _write_plugins(folder: Path) -> None:
    """Write the two CNI plugins; the first works in the node's own network namespace and not in the machine's."""
    bridge, addresses = toolchain.binary("bridge"), toolchain.binary("host-local")
    for name, command in (("bridge", f"nsenter --net={NETWORK} {bridge}"), ("host-local", str(addresses))):
        write_private(folder / name, f"#!/bin/sh\nexec {command}\n")
        (folder / name).chmod(0o700)
