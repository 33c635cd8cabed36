"""How the kubelet is configured: as a node of its own, in need of nothing of the machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from local.controlplane.files import write_private

if TYPE_CHECKING:
    from pathlib import Path

    from local.controlplane.layout import Layout

_MOST_PODS = 400


def write_configuration(layout: Layout, authority: Path) -> Path:
    """Write and return the configuration of the kubelet.

    Args:
        layout: where things stand.
        authority: certificate authority of the cluster's clients.
    """
    nothing = dict.fromkeys(("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available"), "0%")
    configuration = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "127.0.0.1",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(authority)},
        },
        # Nobody asks for logs or a shell, so there is no server for them; the Node tells whether it is healthy.
        "enableServer": False,
        "healthzPort": 0,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        # Cgroups of either version, without systemd and without a hierarchy of its own.
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        # Chains of iptables would be the machine's.
        "makeIPTablesUtilChains": False,
        "resolvConf": "",
        # No name service answers there; a kubelet without one warns about each Pod.
        "clusterDNS": ["10.96.0.10"],
        "clusterDomain": "cluster.local",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        # A machine that is nearly full, or short of memory, is no reason to evict Pods or to remove images.
        "evictionHard": nothing,
        "imageGCHighThresholdPercent": 100,
        "maxPods": _MOST_PODS,
        # Nothing between a Pod and its pull but the registry.
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "nodeStatusUpdateFrequency": "5s",
    }
    file = layout.node / "kubelet.yaml"
    # JSON is YAML, and needs no YAML writer.
    write_private(file, json.dumps(configuration, indent=2) + "\n")
    return file
