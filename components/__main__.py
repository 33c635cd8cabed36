"""Serves the components as a Pulumi package, so that programs in any language can use them."""

import sys
from pathlib import Path

from pulumi import ComponentResource
from pulumi.provider.experimental import component_provider_host

# The engine starts this file in its own folder; the packages stand one above.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from components import (
    ClusterPullSecretGuard,
    EsoEgress,
    PodAdmission,
    PullSecretMonitoring,
    RegistryPullSecret,
    TenantNamespace,
    VaultAccess,
    VaultClusterSecretStore,
    VaultRegistryEntry,
)

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
