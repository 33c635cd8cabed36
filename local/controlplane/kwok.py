"""kwok, which plays the kubelets of a few simulated nodes: Pods get Ready, succeed, end, or cannot pull an image."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local import toolchain
from local.controlplane.api import HttpClient
from local.controlplane.component import Component
from local.controlplane.files import write_private
from local.controlplane.identities import KWOK_USER
from local.controlplane.layout import KWOK, Layout
from local.controlplane.pki import LOOPBACK, SERVER, Subject
from local.controlplane.processes import Command

if TYPE_CHECKING:
    from local.controlplane.api import KubernetesApi
    from local.controlplane.kubernetes import ApiServer
    from local.controlplane.ports import Ports

NODES = ("kwok-node-1", "kwok-node-2", "kwok-node-3")
# Registries whose images are taken to be public; an image of any other host needs a pull Secret.
PUBLIC_HOSTS = (
    "docker.io",
    "gcr.io",
    "ghcr.io",
    "mcr.microsoft.com",
    "oci.external-secrets.io",
    "public.ecr.aws",
    "quay.io",
    "registry.access.redhat.com",
    "registry.k8s.io",
)
SIMULATED = "node-role.kubernetes.io/simulated"
"""Label of the simulated nodes."""
# What a kubelet 1.36 on containerd 2.4 says of an image whose registry asks for a login that the Pod does not bring;
# tests/node sees that it still does.
NO_CREDENTIALS = (
    'failed to pull and unpack image "%[1]s": failed to resolve image: pull access denied, repository does not exist '
    "or may require authorization: authorization failed: no basic auth credentials"
)
_STAGES = Path(__file__).resolve().parent / "stages"
_MARK = "kwok.x-k8s.io/node"
# An address for documentation (RFC 5737): nothing answers there.
_NODE_ADDRESS = "192.0.2.1"
_POD_ADDRESSES = "10.244.0.0/16"


class Kwok(Component):
    """The simulated kubelets."""

    name = KWOK

    def __init__(self, layout: Layout, ports: Ports, api_server: ApiServer) -> None:
        """Make its server certificate.

        Args:
            layout: where things stand.
            ports: on which port it serves its health.
            api_server: whose nodes it plays.
        """
        self._layout = layout
        self._ports = ports
        self._authority = api_server.authority.certificate_file
        self._server = api_server.authority.issue(KWOK, Subject(KWOK), (SERVER,), LOOPBACK)
        self._installed = layout.kwok / "installed"

    def install(self, api: KubernetesApi) -> None:
        """Apply the nodes and kwok's own RBAC.

        Args:
            api: the API server as admin.
        """
        for manifest in _manifests():
            api.apply(manifest)
        write_private(self._installed, _digest())

    def is_installed(self) -> bool:
        """Tell whether what `install` would apply is what it applied last."""
        return self._installed.exists() and self._installed.read_text() == _digest()

    def command(self) -> Command:
        """Write the stages; return how it is started."""
        kubeconfig = self._layout.kubeconfig(KWOK)
        stages = [self._layout.kwok / file.name for file in sorted(_STAGES.glob("*.yaml"))]
        for file in stages:
            text = (_STAGES / file.name).read_text(encoding="utf-8")
            text = text.replace("PUBLIC_IMAGE", public_images()).replace("PULL_FAILURE", NO_CREDENTIALS)
            write_private(file, text)
        argv = (
            str(toolchain.binary("kwok")),
            *(f"--config={file}" for file in stages),
            f"--kubeconfig={kubeconfig}",
            f"--server-address=127.0.0.1:{self._ports['kwok']}",
            f"--tls-cert-file={self._server.certificate}",
            f"--tls-private-key-file={self._server.key}",
            f"--manage-nodes-with-annotation-selector={_MARK}=fake",
            f"--node-ip={_NODE_ADDRESS}",
            f"--cidr={_POD_ADDRESSES}",
            # Without leases, which tell several instances apart: a killed one's would keep the next one waiting.
            "--node-lease-duration-seconds=0",
        )
        # Its settings in the home of whoever starts it are none of ours.
        environment = {"HOME": str(self._layout.kwok)}
        inputs = (kubeconfig, self._authority, self._server.certificate, *stages)
        return Command(self.name, argv, environment, self._ports.of(self.name), inputs)

    def check(self) -> None:
        """Raise `NotYet` with the cause unless it is healthy."""
        HttpClient(f"https://127.0.0.1:{self._ports['kwok']}", self._authority).expect_ok("/healthz")


def public_images() -> str:
    """Return the regular expression (RE2) of images that need no pull Secret: without a host, or of a public one."""
    hosts = "|".join(host.replace(".", "[.]") for host in PUBLIC_HOSTS)
    return f"^[^/]*$|^[^/.:]+/|^({hosts})/"


def _manifests() -> list[dict[str, Any]]:
    group = "rbac.authorization.k8s.io"
    rules = [
        _rule(["nodes"], "get", "list", "watch"),
        _rule(["pods"], "get", "list", "watch", "delete"),
        _rule(["nodes/status", "pods/status"], "patch"),
        _rule(["events"], "create", "patch"),
    ]
    return [
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": KWOK_USER}, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": KWOK_USER},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": KWOK_USER},
            "subjects": [{"apiGroup": group, "kind": "User", "name": KWOK_USER}],
        },
        *(_node(name) for name in NODES),
    ]


def _rule(resources: list[str], *verbs: str) -> dict[str, Any]:
    return {"apiGroups": [""], "resources": resources, "verbs": list(verbs)}


def _node(name: str) -> dict[str, Any]:
    labels = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        SIMULATED: "",
    }
    metadata = {"name": name, "labels": labels, "annotations": {_MARK: "fake"}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata}


def _digest() -> str:
    return hashlib.sha256(json.dumps(_manifests()).encode()).hexdigest()
