"""Serves the components as a Pulumi package, so that programs in any language can use them."""

import sys
from pathlib import Path

from pulumi import ComponentResource
from pulumi.provider.experimental import component_provider_host

# The engine starts this file in its own folder; the packages stand one above.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from components.cluster_pull_secret_guard import ClusterPullSecretGuard
from components.eso_egress import EsoEgress
from components.pod_admission import PodAdmission
from components.pull_secret_monitoring import PullSecretMonitoring
from components.registry_pull_secret import RegistryPullSecret
from components.tenant_namespace import TenantNamespace
from components.vault_access import VaultAccess
from components.vault_cluster_secret_store import VaultClusterSecretStore
from components.vault_registry_entry import VaultRegistryEntry

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
