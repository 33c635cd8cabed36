"""The content that namespaces must hold: what was seeded into Vault, or sealed in the repository."""

from pullsecrets.config import Registry, StackConfig
from pullsecrets.credential.sealed import declared_digest
from pullsecrets.credential.vault import VaultClient
from pullsecrets.credential.vault_entry import seeded_digest
from pullsecrets.errors import PullSecretsError
from pullsecrets.kube.client import KubernetesClient


def expected_digest(
    config: StackConfig, cluster: KubernetesClient, vault: VaultClient | None, registry: Registry
) -> str:
    """Return the digest of a registry's seeded credential.

    Raises:
        PullSecretsError: when none is recorded, so that nothing could be proved.
    """
    if registry.sealed or vault is None:
        return declared_digest(config, cluster, registry)
    digest = seeded_digest(vault.read_metadata(config.vault.mount, registry.path))
    if digest is None:
        raise PullSecretsError(
            f"registry {registry.name!r}: found no digest of its credential; write it with `pull-secrets seed "
            f"{registry.name}` first"
        )
    return digest
