"""Each component does with the inputs that it requires: the others have the defaults of a stack file."""

from typing import Any

import pulumi
import pytest

from pullsecrets.components import document
from pullsecrets.components.binding import ImagePullSecretBinding
from pullsecrets.components.eso_egress import EsoEgress
from pullsecrets.components.pull_secret_monitoring import PullSecretMonitoring
from pullsecrets.components.registry_pull_secret import RegistryPullSecret
from pullsecrets.components.tenant_namespace import TenantNamespace
from pullsecrets.components.vault_access import VaultAccess
from pullsecrets.components.vault_cluster_secret_store import VaultClusterSecretStore
from pullsecrets.components.vault_registry_entry import VaultRegistryEntry
from tests.components.program import Declared, RecordingMocks

REQUIRED: dict[Any, dict[str, Any]] = {
    EsoEgress: {"name": "egress", "vault_port": 8200},
    ImagePullSecretBinding: {"namespace": "shop", "secrets": ["app"]},
    PullSecretMonitoring: {
        "name": "pull-secrets-dev",
        "namespace": "monitoring",
        "cluster": "dev",
        "registries": [{"name": "app", "hosts": ["registry.example.com"], "namespaces": ["apps-*"], "refresh": "1h"}],
        "stores": ["vault"],
        "coverage_target": 1.0,
        "expiry_notice": "336h",
        "rule_labels": {},
        "dashboard_labels": {"grafana_dashboard": "1"},
        "stack": "dev",
        "files": {},
        "image": "registry.example.com/pull-secrets:1",
        "schedule": "0 6 * * *",
    },
    RegistryPullSecret: {"name": "app", "path": "dev/app", "selector": {"apps/tenant": "true"}, "store": "vault"},
    TenantNamespace: {"name": "shop", "registries": {"app": {"apps/tenant": "true"}}},
    VaultAccess: {
        "mount": "kubernetes-dev",
        "kubernetes_host": "https://api.example.com:6443",
        "role": "eso",
        "policies": ["pull-secrets-dev-app"],
        "reviewer": "vault-token-reviewer",
    },
    VaultClusterSecretStore: {
        "name": "vault",
        "server": "https://vault.example.com",
        "auth_mount": "kubernetes-dev",
        "role": "eso",
    },
    VaultRegistryEntry: {
        "address": "https://vault.example.com",
        "path": "dev/app",
        "policy": "pull-secrets-dev-app",
        "cluster": "dev",
        "hosts": ["registry.example.com"],
    },
}


@pytest.mark.parametrize("component", REQUIRED, ids=lambda component: component.__name__)
def test_a_component_needs_no_more_than_it_requires(component: Any) -> None:
    declared = Declared()
    pulumi.runtime.set_mocks(RecordingMocks(declared, ()), preview=False)

    @pulumi.runtime.test
    def program() -> Any:
        return pulumi.Output.from_input(component("app", REQUIRED[component]).urn).apply(bool)

    program()
    assert any(item.typ != f"pullsecrets:index:{component.__name__}" for item in declared.resources)


def test_what_the_schema_requires_is_what_is_tried() -> None:
    resources = document.schema()["resources"]
    for component, given in REQUIRED.items():
        required = resources[f"pullsecrets:index:{component.__name__}"]["requiredInputs"]
        assert {key.replace("_", "").lower() for key in given} == {key.lower() for key in required}
