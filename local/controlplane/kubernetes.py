"""kube-apiserver with RBAC on, and kube-controller-manager with the few controllers that tenants' namespaces need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local import toolchain
from local.controlplane.api import HttpClient, KubernetesApi
from local.controlplane.component import Component
from local.controlplane.files import private_folder
from local.controlplane.layout import API_SERVER, CONTROLLER_MANAGER, Layout
from local.controlplane.pki import CLIENT, LOOPBACK, SERVER, Authority, Subject, signing_key
from local.controlplane.processes import Command

if TYPE_CHECKING:
    from local.controlplane.etcd import Etcd
    from local.controlplane.ports import Ports

ISSUER = "https://kubernetes.default.svc"
_SERVICE_RANGE = "10.96.0.0/16"
_API_HOSTS = (
    *LOOPBACK,
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "10.96.0.1",
)
# Namespaces end, get their default ServiceAccount, ServiceAccount token Secrets are filled, and what is owned goes with
# its owner. There are no nodes, so nothing that runs or schedules Pods.
_CONTROLLERS = (
    "namespace-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "garbage-collector-controller",
)


class ApiServer(Component):
    """The Kubernetes API."""

    name = API_SERVER

    def __init__(self, layout: Layout, ports: Ports, etcd: Etcd) -> None:
        """Make its certificates and the key that signs ServiceAccount tokens.

        Args:
            layout: where things stand.
            ports: on which port it listens.
            etcd: its store.
        """
        self._layout = layout
        self._ports = ports
        self._etcd = etcd
        self.authority = Authority(layout.pki / "kubernetes", "pull-secrets-local-kubernetes")
        self._server = self.authority.issue("apiserver", Subject("kube-apiserver"), (SERVER,), _API_HOSTS)
        # Sets the cluster up and nothing else: the group is above RBAC.
        self.admin = self.authority.issue("clients/admin", Subject("kubernetes-admin", ("system:masters",)), (CLIENT,))
        self.service_account_keys = signing_key(layout.pki / "kubernetes", "service-accounts")

    @property
    def address(self) -> str:
        """URL of the API."""
        return f"https://127.0.0.1:{self._ports['kube-apiserver']}"

    def api(self) -> KubernetesApi:
        """Return a client for the set-up identity."""
        return KubernetesApi(self.address, self.authority.certificate_file, self.admin)

    def command(self) -> Command:
        """Return how it is started."""
        authority = self.authority.certificate_file
        argv = (
            str(toolchain.binary("kube-apiserver")),
            f"--etcd-servers={self._etcd.address}",
            f"--etcd-cafile={self._etcd.authority.certificate_file}",
            f"--etcd-certfile={self._etcd.client.certificate}",
            f"--etcd-keyfile={self._etcd.client.key}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._ports['kube-apiserver']}",
            # Nobody but this machine reaches the server: no endpoint is published for it.
            "--endpoint-reconciler-type=none",
            f"--cert-dir={private_folder(self._layout.run)}",
            f"--tls-cert-file={self._server.certificate}",
            f"--tls-private-key-file={self._server.key}",
            f"--client-ca-file={authority}",
            "--authorization-mode=Node,RBAC",
            f"--service-account-issuer={ISSUER}",
            f"--api-audiences={ISSUER}",
            f"--service-account-key-file={self.service_account_keys.certificate}",
            f"--service-account-signing-key-file={self.service_account_keys.key}",
            f"--service-cluster-ip-range={_SERVICE_RANGE}",
            "--profiling=false",
        )
        etcd = self._etcd
        inputs = (
            authority,
            self._server.certificate,
            self.service_account_keys.certificate,
            etcd.authority.certificate_file,
            etcd.client.certificate,
        )
        return Command(self.name, argv, ports=self._ports.of(self.name), inputs=inputs)

    def check(self) -> None:
        """Raise `NotYet` with the failing checks unless it is ready."""
        self.api().http.expect_ok("/readyz")


class ControllerManager(Component):
    """The controllers."""

    name = CONTROLLER_MANAGER

    def __init__(self, layout: Layout, ports: Ports, api_server: ApiServer) -> None:
        """Make its server certificate.

        Args:
            layout: where things stand.
            ports: on which port it serves its health.
            api_server: whose objects it looks after.
        """
        self._layout = layout
        self._ports = ports
        self._api_server = api_server
        self._server = api_server.authority.issue(
            "controller-manager", Subject("kube-controller-manager"), (SERVER,), LOOPBACK
        )

    def command(self) -> Command:
        """Return how it is started."""
        kubeconfig = self._layout.kubeconfig(CONTROLLER_MANAGER)
        keys = self._api_server.service_account_keys
        authority = self._api_server.authority.certificate_file
        argv = (
            str(toolchain.binary("kube-controller-manager")),
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            # The API server has no front proxy, so there is no configuration of one to look up.
            "--authentication-skip-lookup=true",
            f"--controllers={','.join(_CONTROLLERS)}",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={keys.key}",
            f"--root-ca-file={authority}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._ports['kube-controller-manager']}",
            f"--cert-dir={private_folder(self._layout.run)}",
            f"--tls-cert-file={self._server.certificate}",
            f"--tls-private-key-file={self._server.key}",
            "--leader-elect=false",
            # What OpenShift runs its controllers with; the upstream defaults are 20 and 30.
            "--kube-api-qps=150",
            "--kube-api-burst=300",
            "--profiling=false",
        )
        inputs = (kubeconfig, authority, self._server.certificate, keys.certificate)
        return Command(self.name, argv, ports=self._ports.of(self.name), inputs=inputs)

    def check(self) -> None:
        """Raise `NotYet` with the cause unless it is healthy."""
        address = f"https://127.0.0.1:{self._ports['kube-controller-manager']}"
        HttpClient(address, self._api_server.authority.certificate_file).expect_ok("/healthz")
