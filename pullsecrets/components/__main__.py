"""Serves the components as a Pulumi package, so that programs in any language can use them."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pulumi import ComponentResource, ResourceOptions, RunError
from pulumi.provider import ConstructResult, main
from pulumi.provider.experimental.component import ComponentProvider

# The engine starts this file in its own folder, which is not where the package is imported from.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pullsecrets.components.binding import ImagePullSecretBinding
from pullsecrets.components.cluster_pull_secret_guard import ClusterPullSecretGuard
from pullsecrets.components.dynamic_python import require_dynamic_python
from pullsecrets.components.eso_egress import EsoEgress
from pullsecrets.components.pod_admission import PodAdmission
from pullsecrets.components.pull_secret_monitoring import PullSecretMonitoring
from pullsecrets.components.registry_pull_secret import RegistryPullSecret
from pullsecrets.components.tenant_namespace import TenantNamespace
from pullsecrets.components.vault_access import VaultAccess
from pullsecrets.components.vault_cluster_secret_store import VaultClusterSecretStore
from pullsecrets.components.vault_registry_entry import VaultRegistryEntry
from pullsecrets.errors import BadInputError

COMPONENTS: list[type[ComponentResource]] = [
    ClusterPullSecretGuard,
    EsoEgress,
    ImagePullSecretBinding,
    PodAdmission,
    PullSecretMonitoring,
    RegistryPullSecret,
    TenantNamespace,
    VaultAccess,
    VaultClusterSecretStore,
    VaultRegistryEntry,
]

_WITH_DYNAMIC_RESOURCES = (ImagePullSecretBinding, TenantNamespace, VaultRegistryEntry)


class Package(ComponentProvider):
    """The components as a plugin, which says what a program in another language has to add."""

    def construct(
        self, name: str, resource_type: str, inputs: Mapping[str, Any], options: ResourceOptions | None = None
    ) -> ConstructResult:
        """Declare a component.

        Raises:
            RunError: when the engine could not run what it holds; shown without a stack trace.
        """
        if self._components[resource_type.rpartition(":")[2]] in _WITH_DYNAMIC_RESOURCES:
            try:
                require_dynamic_python()
            except BadInputError as error:
                raise RunError(str(error)) from None
        return super().construct(name, resource_type, inputs, options)


if __name__ == "__main__":
    main(Package(COMPONENTS, name="pullsecrets"), sys.argv[1:])
