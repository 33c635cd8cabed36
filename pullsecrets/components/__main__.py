"""Serves the components as a Pulumi package, so that programs in any language can use them."""

import sys
from pathlib import Path

from pulumi import ComponentResource
from pulumi.provider.experimental import component_provider_host

# The engine starts this file in its own folder, which is not where the package is imported from.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pullsecrets.components.cluster_pull_secret_guard import ClusterPullSecretGuard
from pullsecrets.components.eso_egress import EsoEgress
from pullsecrets.components.pod_admission import PodAdmission
from pullsecrets.components.pull_secret_monitoring import PullSecretMonitoring
from pullsecrets.components.registry_pull_secret import RegistryPullSecret
from pullsecrets.components.tenant_namespace import TenantNamespace
from pullsecrets.components.vault_access import VaultAccess
from pullsecrets.components.vault_cluster_secret_store import VaultClusterSecretStore
from pullsecrets.components.vault_registry_entry import VaultRegistryEntry

COMPONENTS: list[type[ComponentResource]] = [
    ClusterPullSecretGuard,
    EsoEgress,
    PodAdmission,
    PullSecretMonitoring,
    RegistryPullSecret,
    TenantNamespace,
    VaultAccess,
    VaultClusterSecretStore,
    VaultRegistryEntry,
]

if __name__ == "__main__":
    component_provider_host(name="pullsecrets", components=COMPONENTS)
