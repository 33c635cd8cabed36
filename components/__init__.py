"""Reusable Pulumi components that deliver registry pull Secrets; they declare resources and do no I/O of their own."""

from components.cluster_pull_secret_guard import ClusterPullSecretGuard, ClusterPullSecretGuardArgs
from components.eso_egress import EsoEgress, EsoEgressArgs
from components.image_pull_secret_binding import ImagePullSecretBinding, ImagePullSecretBindingArgs
from components.namespace_opt_in import NamespaceOptIn, NamespaceOptInArgs
from components.pod_admission import PodAdmission, PodAdmissionArgs
from components.pull_secret_monitoring import AuditAccessArgs, PullSecretMonitoring, PullSecretMonitoringArgs
from components.registry_pull_secret import RegistryPullSecret, RegistryPullSecretArgs
from components.registry_relay import RegistryRelay, RegistryRelayArgs
from components.tenant_namespace import TenantNamespace, TenantNamespaceArgs
from components.vault_access import VaultAccess, VaultAccessArgs
from components.vault_cluster_secret_store import VaultClusterSecretStore, VaultClusterSecretStoreArgs
from components.vault_registry_entry import VaultRegistryEntry, VaultRegistryEntryArgs

__all__ = [
    "AuditAccessArgs",
    "ClusterPullSecretGuard",
    "ClusterPullSecretGuardArgs",
    "EsoEgress",
    "EsoEgressArgs",
    "ImagePullSecretBinding",
    "ImagePullSecretBindingArgs",
    "NamespaceOptIn",
    "NamespaceOptInArgs",
    "PodAdmission",
    "PodAdmissionArgs",
    "PullSecretMonitoring",
    "PullSecretMonitoringArgs",
    "RegistryPullSecret",
    "RegistryPullSecretArgs",
    "RegistryRelay",
    "RegistryRelayArgs",
    "TenantNamespace",
    "TenantNamespaceArgs",
    "VaultAccess",
    "VaultAccessArgs",
    "VaultClusterSecretStore",
    "VaultClusterSecretStoreArgs",
    "VaultRegistryEntry",
    "VaultRegistryEntryArgs",
]
