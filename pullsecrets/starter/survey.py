"""What a cluster that has never seen this program already says: its platform, ESO, stores, and who pulls from where."""

from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from pullsecrets.image import image_host
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.eso import GROUP, Installation, choose_installation, find_installations
from pullsecrets.names import is_platform_namespace
from pullsecrets.workloads.references import User, list_users

PUBLIC_HOSTS = frozenset(
    {"docker.io", "gcr.io", "ghcr.io", "mcr.microsoft.com", "public.ecr.aws", "quay.io", "registry.k8s.io"}
)
"""Hosts that mostly serve public images, so that pulling from them says nothing about a credential."""
OPENSHIFT = "/apis/config.openshift.io/v1"


@dataclass(frozen=True)
class VaultServer:
    """A Vault server, as a stack file names it."""

    address: str
    mount: str = "secret"
    """A KV version 2 mount."""
    ca_bundle: str | None = None
    """PEM certificates; None for the system's own."""


@dataclass(frozen=True)
class Found:
    """What a cluster says about a stack file to be written."""

    platform: str = "kubernetes"
    eso: Installation | None = None
    vaults: tuple[VaultServer, ...] = ()
    """Those that stores read already."""
    pulling: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Namespaces that pull from a host, by host."""

    @property
    def only_vault(self) -> str | None:
        """Address of Vault, where all stores agree on it."""
        addresses = {vault.address for vault in self.vaults}
        return addresses.pop() if len(addresses) == 1 else None

    @property
    def private_host(self) -> str | None:
        """The host that is pulled from by most namespaces, those aside that serve public images."""
        used = {host: len(namespaces) for host, namespaces in self.pulling.items() if host not in PUBLIC_HOSTS}
        return max(sorted(used), key=used.__getitem__, default=None)


def look(cluster: KubernetesClient) -> Found:
    """Look at a cluster, reading only.

    Raises:
        PullSecretsError: when ESO is not there, or there are two, or it is down.
        UnreachableError: when the API server does not answer.
        KubernetesApiError: when it does not let the caller list what is looked at.
    """
    eso = choose_installation(find_installations(cluster))
    stores = list(cluster.items(f"{GROUP}/clustersecretstores"))
    return Found(
        platform="openshift" if cluster.find(OPENSHIFT) else "kubernetes",
        eso=eso,
        vaults=tuple(dict.fromkeys(vault for store in stores if (vault := _vault(store)))),
        pulling=_pulling(list_users(cluster), {eso.namespace}),
    )


def _vault(store: Mapping[str, Any]) -> VaultServer | None:
    vault = cast("Mapping[str, Any] | None", store["spec"]["provider"].get("vault"))
    if vault is None or vault.get("version", "v2") != "v2":
        return None
    bundle = vault.get("caBundle")
    return VaultServer(vault["server"], vault.get("path", "secret"), b64decode(bundle).decode() if bundle else None)


def _pulling(users: Iterable[User], others: set[str]) -> dict[str, tuple[str, ...]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for user in users:
        if is_platform_namespace(user.namespace) or user.namespace in others:
            continue
        for host in {image_host(image) for image in user.images} - {None}:
            found[str(host)].add(user.namespace)
    return {host: tuple(sorted(namespaces)) for host, namespaces in found.items()}
