"""The real node as a process, as an object of the cluster, and as tests and the demo use it."""

from __future__ import annotations

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from local import toolchain
from local.controlplane.api import KubernetesApi, RequestRefused
from local.controlplane.component import Component
from local.controlplane.files import write_private
from local.controlplane.identities import NODE_NAME
from local.controlplane.kwok import NODES
from local.controlplane.layout import NODE, PUBLIC_REGISTRY, REGISTRY_HOSTS, Layout
from local.controlplane.node import containerd, hosts, init, kubelet, machine
from local.controlplane.processes import Command
from local.controlplane.waiting import NotYet
from pullsecrets.kube.objects import condition, holds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from local.controlplane.kubernetes import ApiServer
    from local.controlplane.node.registries import Pull, Registry

_SANDBOX = "sandbox.invalid/pause:local"
_MERGE = "application/merge-patch+json"
_NOT_FOUND = 404


class Node(Component):
    """The kubelet and containerd, in namespaces of their own."""

    name = NODE

    def __init__(self, layout: Layout, api_server: ApiServer) -> None:
        """Use these.

        Args:
            layout: where things stand.
            api_server: whose node it is.
        """
        self._layout = layout
        self._api_server = api_server

    def command(self) -> Command:
        """Write its configuration; return how it is started."""
        layout = self._layout
        kubeconfig = layout.kubeconfig(NODE)
        runtime = containerd.write_configuration(layout, _SANDBOX)
        configuration = kubelet.write_configuration(layout, self._api_server.authority.certificate_file)
        program = toolchain.binary("containerd")
        commands = {
            "containerd": [str(program), f"--config={runtime}"],
            "kubelet": [
                str(toolchain.binary("kubelet")),
                f"--config={configuration}",
                f"--kubeconfig={kubeconfig}",
                f"--hostname-override={NODE_NAME}",
                "--node-ip=127.0.0.1",
                "--root-dir=/var/lib/kubelet",
                "--cert-dir=/var/lib/kubelet/pki",
            ],
        }
        settings = {
            "hidden": machine.HIDDEN,
            "hosts": str(self._write_hosts()),
            "cgroups": machine.cgroups(layout),
            "network": containerd.NETWORK,
            "logs": {name: str(layout.logs / f"{name}.log") for name in commands},
            "commands": commands,
        }
        file = layout.node / "settings.json"
        write_private(file, json.dumps(settings, indent=2) + "\n")
        # The outer process has the mark by which it is found; those inside go with it and must not be taken for strays.
        inner = ["env", "-i", f"PATH={program.parent}:/usr/sbin:/usr/bin:/sbin:/bin"]
        argv = (
            str(shutil.which("unshare")),
            *("--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *(*inner, sys.executable, "-IS", str(Path(init.__file__).resolve()), str(file)),
        )
        inputs = (kubeconfig, runtime, configuration, file, Path(init.__file__))
        return Command(self.name, argv, inputs=inputs)

    def check(self) -> None:
        """Raise `NotYet` with the cause unless its Node is Ready: where the kubelet ends, the process does too."""
        try:
            node = self._api_server.api().call("GET", f"/api/v1/nodes/{NODE_NAME}")
        except RequestRefused as refused:
            raise NotYet(str(refused)) from refused
        if not holds(node, "Ready"):
            ready = condition(node, "Ready") or {"message": f"{NODE_NAME} has not reported its state"}
            raise NotYet(ready["message"])

    def _write_hosts(self) -> Path:
        """Write what the node has as /etc/hosts: the machine's, and the registries' hosts on loopback."""
        file = self._layout.node / "hosts"
        ours = "".join(f"127.0.0.1 {host}\n" for host in REGISTRY_HOSTS)
        write_private(file, Path("/etc/hosts").read_text(encoding="utf-8") + ours)
        return file


def prepare(layout: Layout, registries: Mapping[str, Registry]) -> None:
    """Do what the node needs before it is started, while the registries run."""
    for registry in registries.values():
        hosts.write_hosts(layout, registry)
    repository, _, tag = _SANDBOX.partition("/")[2].partition(":")
    registries[PUBLIC_REGISTRY].push(repository, tag)


def cordon_simulated(api: KubernetesApi, *, cordoned: bool) -> None:
    """Let no new Pod come to the simulated nodes, or let them come again."""
    for name in NODES:
        api.call("PATCH", f"/api/v1/nodes/{name}", {"spec": {"unschedulable": cordoned}}, _MERGE)


def withdraw(api: KubernetesApi) -> None:
    """Take the Node and its Pods, which nothing runs any more, out of the cluster; Pods go to simulated nodes again."""
    try:
        api.call("DELETE", f"/api/v1/nodes/{NODE_NAME}")
    except RequestRefused as refused:
        if refused.status != _NOT_FOUND:
            raise
        return
    cordon_simulated(api, cordoned=False)
    pods = api.call("GET", f"/api/v1/pods?fieldSelector=spec.nodeName%3D{NODE_NAME}")["items"]
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(lambda pod: _delete_pod(api, pod["metadata"]), pods))


def _delete_pod(api: KubernetesApi, metadata: Mapping[str, str]) -> None:
    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}?gracePeriodSeconds=0"
    try:
        api.call("DELETE", path)
    except RequestRefused as refused:
        if refused.status != _NOT_FOUND:
            raise


class RealNode:
    """The registries of a running real node, as tests and the demo use them.

    A host without a registry of its own has its images in the one that asks for no login.
    """

    def __init__(self, layout: Layout, registries: Mapping[str, Registry]) -> None:
        """Use these, which run."""
        self._layout = layout
        self._registries = registries

    def add_user(self, host: str, user: str, password: str) -> None:
        """Let a user pull from a host with this password; the one before opens nothing any more."""
        self._registry(host).users.add(user, password)

    def revoke(self, host: str, user: str) -> None:
        """Let a user pull from a host no longer."""
        self._registry(host).users.revoke(user)

    def users(self, host: str) -> list[str]:
        """Return who may pull from a host."""
        return self._registry(host).users.names()

    def push(self, image: str, *, ends: bool = False) -> str:
        """Push an image, `host/repository:tag`, that no node has had yet; return its digest.

        Args:
            image: a tag that exists moves.
            ends: whether its container ends at once, as an init container has to.
        """
        host, _, rest = image.partition("/")
        repository, _, tag = rest.rpartition(":")
        return self._registry(host).push(repository, tag, ends=ends)

    def pulls(self, *of: str) -> list[Pull]:
        """Return who asked for which image when since the registries were started, in that order.

        Args:
            of: hosts; all when none is named.
        """
        found = (pull for host in of or self._registries for pull in self._registry(host).pulls())
        return sorted(found, key=lambda pull: pull.at)

    def fault(self, host: str, wanted: hosts.Fault) -> AbstractContextManager[str]:
        """Let the node meet a fault in place of a host's registry for the block; served by this process.

        What the block gets is where: an address such as `127.0.0.1:20000`.
        """
        return hosts.fault(self._layout, self._registry(host), wanted)

    def _registry(self, host: str) -> Registry:
        return self._registries.get(host) or self._registries[PUBLIC_REGISTRY]
