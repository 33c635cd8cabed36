"""kube-apiserver with RBAC on, kube-scheduler, and kube-controller-manager with the controllers that tenants need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local import toolchain
from local.controlplane.api import HttpClient, KubernetesApi
from local.controlplane.component import Component
from local.controlplane.files import private_folder
from local.controlplane.layout import API_SERVER, CONTROLLER_MANAGER, SCHEDULER, Layout
from local.controlplane.pki import CLIENT, LOOPBACK, SERVER, Authority, Subject, signing_key
from local.controlplane.processes import Command

if TYPE_CHECKING:
    from pathlib import Path

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
_CONTROLLERS = (
    # Namespaces end, get their default ServiceAccount, ServiceAccount token Secrets are filled, and what is owned goes
    # with its owner.
    "namespace-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "garbage-collector-controller",
    # kube-root-ca.crt, by which ESO trusts the API server when it reads a relayed Secret.
    "root-ca-certificate-publisher-controller",
    # Workloads get their Pods, Services their endpoints, and evictions heed the budgets.
    "deployment-controller",
    "replicaset-controller",
    "statefulset-controller",
    "daemonset-controller",
    "job-controller",
    "cronjob-controller",
    "ttl-after-finished-controller",
    "disruption-controller",
    "endpointslice-controller",
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
            # A node changes its own Node and Pods alone.
            "--enable-admission-plugins=NodeRestriction",
            # It taints new nodes until the node lifecycle controller, which does not run here, has seen them Ready.
            "--disable-admission-plugins=TaintNodesByCondition",
            f"--service-account-issuer={ISSUER}",
            f"--api-audiences={ISSUER}",
            f"--service-account-key-file={self.service_account_keys.certificate}",
            f"--service-account-signing-key-file={self.service_account_keys.key}",
            f"--service-cluster-ip-range={_SERVICE_RANGE}",
            # Where policies on Pods are beta they are served so; by either version it is the same object.
            "--runtime-config=admissionregistration.k8s.io/v1beta1=true",
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


class _ApiClient(Component):
    """A server of Kubernetes that works on the API server's objects and serves its health over TLS."""

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
        self._kubeconfig = layout.kubeconfig(self.name)
        self._authority = api_server.authority.certificate_file
        self._server = api_server.authority.issue(
            self.name.removeprefix("kube-"), Subject(self.name), (SERVER,), LOOPBACK
        )

    def check(self) -> None:
        """Raise `NotYet` with the cause unless it is healthy."""
        HttpClient(f"https://127.0.0.1:{self._ports[self.name]}", self._authority).expect_ok("/healthz")

    def _command(self, *flags: str, inputs: tuple[Path, ...] = ()) -> Command:
        """Return how it is started: with these flags beside the ones that all such servers have."""
        argv = (
            str(toolchain.binary(self.name)),
            f"--kubeconfig={self._kubeconfig}",
            f"--authentication-kubeconfig={self._kubeconfig}",
            f"--authorization-kubeconfig={self._kubeconfig}",
            # The API server has no front proxy, so there is no configuration of one to look up.
            "--authentication-skip-lookup=true",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._ports[self.name]}",
            f"--cert-dir={private_folder(self._layout.run)}",
            f"--tls-cert-file={self._server.certificate}",
            f"--tls-private-key-file={self._server.key}",
            "--leader-elect=false",
            # What OpenShift runs its controllers with; the upstream defaults are lower.
            "--kube-api-qps=150",
            "--kube-api-burst=300",
            "--profiling=false",
            *flags,
        )
        inputs = (self._kubeconfig, self._authority, self._server.certificate, *inputs)
        return Command(self.name, argv, ports=self._ports.of(self.name), inputs=inputs)


class ControllerManager(_ApiClient):
    """The controllers."""

    name = CONTROLLER_MANAGER

    def command(self) -> Command:
        """Return how it is started."""
        keys = self._api_server.service_account_keys
        return self._command(
            f"--controllers={','.join(_CONTROLLERS)}",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={keys.key}",
            f"--root-ca-file={self._authority}",
            inputs=(keys.certificate,),
        )


class Scheduler(_ApiClient):
    """Gives Pods their node."""

    name = SCHEDULER

    def command(self) -> Command:
        """Return how it is started."""
        return self._command()
