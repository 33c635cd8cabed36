"""The Sealed Secrets controller, on demand: its CRD, its RBAC, and the controller as a process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from local import toolchain
from local.controlplane.api import HttpClient, RequestRefused, path_of
from local.controlplane.component import Component
from local.controlplane.layout import SEALED_SECRETS, Layout
from local.controlplane.processes import Command
from local.controlplane.waiting import NotYet, until

if TYPE_CHECKING:
    from local.controlplane.api import KubernetesApi
    from local.controlplane.ports import Ports

_CRD = "sealedsecrets.bitnami.com"
_CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_SERVED_DEADLINE = 30.0
_RBAC = "rbac.authorization.k8s.io"


class SealedSecrets(Component):
    """The controller. `kubeseal --cert <address>/v1/cert.pem` seals for it."""

    name = SEALED_SECRETS
    # Where kubeseal looks for the controller unless told otherwise.
    NAMESPACE: ClassVar[str] = "kube-system"
    SERVICE_ACCOUNT: ClassVar[str] = "sealed-secrets-controller"

    def __init__(self, layout: Layout, ports: Ports) -> None:
        """Use these.

        Args:
            layout: where things stand.
            ports: on which port it serves its health and its certificate.
        """
        self._layout = layout
        self._ports = ports

    @property
    def address(self) -> str:
        """URL of the controller."""
        return f"http://127.0.0.1:{self._ports['sealed-secrets']}"

    def install(self, api: KubernetesApi) -> None:
        """Apply the CRD, the ServiceAccount and its RBAC; wait until the kind is served.

        Args:
            api: the API server as admin.
        """
        for file in toolchain.sealed_secrets_crds():
            api.apply_raw(f"{_CRD_PATH}/{_CRD}", file.read_bytes())
        for manifest in self._manifests():
            api.apply(manifest)
        until(lambda: _require_served(api), _SERVED_DEADLINE, f"{_CRD} served")

    def withdraw(self, api: KubernetesApi) -> None:
        """Take its rights from it: a controller that is away has none in the cluster that the next test looks at."""
        for manifest in self._manifests():
            if manifest["kind"] == "ClusterRoleBinding":
                api.call("DELETE", path_of(manifest))

    def command(self) -> Command:
        """Return how it is started."""
        kubeconfig = self._layout.kubeconfig(SEALED_SECRETS)
        argv = (
            str(toolchain.binary("sealed-secrets-controller")),
            f"--kubeconfig={kubeconfig}",
            f"--namespace={self.NAMESPACE}",
            f"--listen-addr=127.0.0.1:{self._ports['sealed-secrets']}",
        )
        return Command(self.name, argv, ports=self._ports.of(self.name), inputs=(kubeconfig,))

    def check(self) -> None:
        """Raise `NotYet` with the cause unless it is healthy."""
        HttpClient(self.address).expect_ok("/healthz")

    def _manifests(self) -> list[dict[str, Any]]:
        """Return the ServiceAccount with what the controller's own chart grants it."""
        name, namespace = self.SERVICE_ACCOUNT, self.NAMESPACE
        rules = [
            {"apiGroups": ["bitnami.com"], "resources": ["sealedsecrets"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["bitnami.com"], "resources": ["sealedsecrets/status"], "verbs": ["update"]},
            {
                "apiGroups": [""],
                "resources": ["secrets"],
                "verbs": ["get", "list", "create", "update", "delete", "watch"],
            },
            {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
        ]
        return [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}},
            {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules},
            {
                "apiVersion": f"{_RBAC}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": name},
                "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
            },
        ]


def _require_served(api: KubernetesApi) -> None:
    try:
        api.call("GET", "/apis/bitnami.com/v1alpha1/sealedsecrets?limit=1")
    except RequestRefused as refused:
        raise NotYet(str(refused)) from refused
