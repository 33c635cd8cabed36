"""The content that namespaces must hold: what was seeded into Vault, or sealed in the repository."""

from pullsecrets.audit import credential, sealed_credential
from pullsecrets.config import Registry, StackConfig
from pullsecrets.errors import PullSecretsError
from pullsecrets.inventory import read_inventory
from pullsecrets.kube import KubernetesClient
from pullsecrets.vault import VaultClient


def expected_digest(
    config: StackConfig, cluster: KubernetesClient, vault: VaultClient | None, registry: Registry
) -> str:
    """Return the digest of a registry's seeded credential.

    Raises:
        PullSecretsError: when none is recorded, so that nothing could be proved.
    """
    if registry.sealed or vault is None:
        found = sealed_credential(config, registry, read_inventory(config, cluster))
        hint = f"seal it (`pull-secrets seal {registry.name}`) and run `pulumi up`"
    else:
        found = credential(registry, vault.read_metadata(config.vault.mount, registry.path))
        hint = f"put it there with `pull-secrets seed {registry.name}`"
    if found.digest is None:
        raise PullSecretsError(f"registry {registry.name!r}: found no digest of its credential; {hint} first")
    return found.digest
