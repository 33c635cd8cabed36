"""Where one control plane keeps everything on disk, and what its components are called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

ETCD = "etcd"
API_SERVER = "kube-apiserver"
CONTROLLER_MANAGER = "kube-controller-manager"
SCHEDULER = "kube-scheduler"
KWOK = "kwok"
OPENBAO = "openbao"
EXTERNAL_SECRETS = "external-secrets"
SEALED_SECRETS = "sealed-secrets"
NODE = "node"
# Registries of stack dev's hosts, the rejected one among them; a component each, which has the host's name.
REGISTRY_HOSTS = (
    "app-registry.apps.sub.comptech-lab.com",
    "app-registry.sub.comptech-lab.com",
    "registry-api.tanhdev.com",
)
# The registry in the place of all other hosts: anybody may pull from it.
PUBLIC_REGISTRY = "public-registry"
REGISTRIES = (*REGISTRY_HOSTS, PUBLIC_REGISTRY)

# In the order in which they are shown; what each listens on, by name.
LISTENERS = {
    ETCD: ("etcd-client", "etcd-peer"),
    API_SERVER: ("kube-apiserver",),
    CONTROLLER_MANAGER: ("kube-controller-manager",),
    SCHEDULER: ("kube-scheduler",),
    KWOK: ("kwok",),
    OPENBAO: ("openbao", "openbao-cluster"),
    EXTERNAL_SECRETS: ("external-secrets-live", "external-secrets-metrics"),
    SEALED_SECRETS: ("sealed-secrets",),
    **{registry: (registry,) for registry in REGISTRIES},
    # The kubelet connects and does not listen.
    NODE: (),
}
# Started by name only, and no part of what `up` brings up.
ON_DEMAND = (SEALED_SECRETS, *REGISTRIES, NODE)
COMPONENTS = tuple(name for name in LISTENERS if name not in ON_DEMAND)
# What must be built before anything is started.
PROGRAMS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kwok",
    "bao",
    "external-secrets",
    "eso-chart-render",
    "kubectl",
)


@dataclass(frozen=True)
class Layout:
    """The paths under one state folder."""

    state: Path

    @property
    def logs(self) -> Path:
        """Logs, one per component."""
        return self.state / "logs"

    @property
    def run(self) -> Path:
        """Records of started processes."""
        return self.state / "run"

    @property
    def pki(self) -> Path:
        """Authorities, certificates and keys."""
        return self.state / "pki"

    @property
    def kubeconfigs(self) -> Path:
        """One kubeconfig per identity."""
        return self.state / "kubeconfig"

    def kubeconfig(self, identity: str) -> Path:
        """Kubeconfig of an identity."""
        return self.kubeconfigs / f"{identity}.yaml"

    @property
    def environment(self) -> tuple[Path, Path]:
        """The environment: for a shell, and as JSON."""
        return self.state / "env", self.state / "env.json"

    @property
    def etcd(self) -> Path:
        """Data of etcd."""
        return self.state / "etcd"

    @property
    def openbao(self) -> Path:
        """Data, configuration, unseal key and tokens of OpenBao."""
        return self.state / "openbao"

    @property
    def external_secrets(self) -> Path:
        """Chart values and token of External Secrets Operator."""
        return self.state / "external-secrets"

    @property
    def kwok(self) -> Path:
        """Stages of the simulated nodes and Pods."""
        return self.state / "kwok"

    @property
    def node(self) -> Path:
        """Configuration of the real node; what it writes is in its own mount namespace, and gone with it."""
        return self.state / "node"

    @property
    def hosts(self) -> Path:
        """Where containerd finds the registry of each host."""
        return self.node / "certs.d"

    @property
    def registries(self) -> Path:
        """Data, logins and configuration of the registries, a folder for each host."""
        return self.state / "registries"

    @property
    def openbao_authority(self) -> Path:
        """Certificate authority of OpenBao's server certificate."""
        return self.pki / "openbao" / "ca.crt"

    @property
    def platform_token(self) -> Path:
        """Vault token that Pulumi uses: no access to KV data."""
        return self.openbao / "platform-token"

    @property
    def seeder_token(self) -> Path:
        """Vault token that writes credentials."""
        return self.openbao / "seeder-token"
