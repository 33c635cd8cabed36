"""Every component of the package once, in a program in Python."""

import base64
from pathlib import Path

import pulumi

from pullsecrets.components.binding import ImagePullSecretBinding
from pullsecrets.components.cluster_pull_secret_guard import ClusterPullSecretGuard
from pullsecrets.components.eso_egress import EsoEgress
from pullsecrets.components.pod_admission import PodAdmission
from pullsecrets.components.pull_secret_monitoring import PullSecretMonitoring
from pullsecrets.components.registry_pull_secret import RegistryPullSecret
from pullsecrets.components.tenant_namespace import TenantNamespace
from pullsecrets.components.vault_access import VaultAccess
from pullsecrets.components.vault_cluster_secret_store import VaultClusterSecretStore
from pullsecrets.components.vault_registry_entry import VaultRegistryEntry

config = pulumi.Config()
vault_address = config.require("vaultAddress")
vault_ca = config.require("vaultCa")

guard = ClusterPullSecretGuard(
    "guard",
    {
        "name": "pull-secrets-example",
        "mode": "warn",
        "break_glass_groups": ["pull-secrets-break-glass"],
        "writer_users": ["system:kube-controller-manager"],
        "writer_groups": ["system:serviceaccounts:openshift-config-operator"],
        "labeler_users": [],
        "labeler_groups": ["pull-secrets-deployers"],
        "grants": [
            {"registry": "team-pull", "selector": {"example.com/team-pull": "true"}, "namespaces": ["team-*"]},
        ],
    },
)

egress = EsoEgress(
    "egress",
    {"name": "eso-allow-egress-to-example-vault", "vault_cidrs": ["192.0.2.10/32"], "vault_port": 8200},
)

entry = VaultRegistryEntry(
    "team-pull",
    {
        "address": vault_address,
        "ca_bundle": vault_ca,
        "path": "example/registries/team-pull",
        "policy": "pull-secrets-example-team-pull",
        "cluster": "example",
        "hosts": ["registry.example.com"],
    },
)

access = VaultAccess(
    "access",
    {
        "mount": "kubernetes-example",
        "kubernetes_host": config.require("apiServer"),
        "kubernetes_ca_cert": config.require("apiServerCa"),
        "role": "external-secrets-example",
        "policies": [entry.policy_name],
        "reviewer": "vault-token-reviewer-example",
    },
)

store = VaultClusterSecretStore(
    "store",
    {
        "name": "vault-example",
        "server": vault_address,
        "ca_bundle": base64.b64encode(vault_ca.encode()).decode(),
        "auth_mount": "kubernetes-example",
        "role": access.role_names[0],
        "selector": {"example.com/team-pull": "true"},
    },
    pulumi.ResourceOptions(depends_on=[egress]),
)

delivery = RegistryPullSecret(
    "delivery",
    {
        "name": "team-pull",
        "path": "example/registries/team-pull",
        "selector": {"example.com/team-pull": "true"},
        "store": store.store_name,
        "sync_wave": 10,
    },
)

tenant = TenantNamespace(
    "tenant",
    {
        "name": "team-shop",
        "labels": {"example.com/team-pull": "true"},
        "registries": {"team-pull": {"example.com/team-pull": "true"}},
        "service_accounts": ["default", "builder"],
        "delete_on_leave": True,
        "protect": False,
    },
    pulumi.ResourceOptions(depends_on=[guard]),
)

binding = ImagePullSecretBinding(
    "binding",
    {
        "namespace": tenant.namespace_name,
        "secrets": [delivery.secret_name],
        "service_accounts": ["migrations"],
    },
)

admission = PodAdmission(
    "admission",
    {
        "name": "pull-secrets-example-team-pull",
        "secret": delivery.secret_name,
        "selector": {"example.com/team-pull": "true"},
    },
)

monitoring = PullSecretMonitoring(
    "monitoring",
    {
        "name": "pull-secrets-example",
        "namespace": "monitoring",
        "cluster": "example",
        "registries": [
            {"name": "team-pull", "hosts": ["registry.example.com"], "namespaces": ["team-*"], "refresh": "1h"},
        ],
        "stores": [store.store_name],
        "coverage_target": 1,
        "expiry_notice": "336h",
        "rule_labels": {},
        "dashboard_labels": {"grafana_dashboard": "1"},
        "stack": "example",
        "files": {"Pulumi.example.yaml": Path("../../../Pulumi.prod.yaml").read_text(encoding="utf-8")},
        "image": "registry.example.com/pull-secrets:0.1.0",
        "schedule": "0 6 * * *",
    },
)

pulumi.export("secret", delivery.secret_name)
