"""Relayed registries: one Secret in ESO's namespace, read from Vault or unsealed, and a store that opens it alone."""

import copy
from dataclasses import replace
from typing import Any

import pytest

from pullsecrets.config import parse
from pullsecrets.config.parse import ConfigError
from pullsecrets.credential import sealed
from pullsecrets.manifests import builders
from tests.components.program import Declared, run_program, stack_file
from tests.components.test_program import CES, ENVIRONMENT, STORE, kubernetes_object

EXTERNAL_SECRET = "kubernetes:external-secrets.io/v1:ExternalSecret"
SEALED_SECRET = "kubernetes:bitnami.com/v1alpha1:SealedSecret"
ROLE = "kubernetes:rbac.authorization.k8s.io/v1:Role"
SEALED = sealed.sealed_secret("app-registry-pull", "external-secrets", "AQ==", {})


def relayed(**change: Any) -> dict[str, Any]:
    """Stack dev, its first registry relayed and the second as it was."""
    config = copy.deepcopy(stack_file("dev"))
    config["registries"][0] |= {"delivery": "fanout", **change}
    return config


@pytest.fixture
def from_vault(monkeypatch: pytest.MonkeyPatch) -> Declared:
    return run_program(relayed(), ENVIRONMENT, monkeypatch, "dev")


@pytest.fixture
def without_vault(monkeypatch: pytest.MonkeyPatch) -> Declared:
    config = relayed(source="sealedSecret")
    config["registries"].pop()
    config["tenants"].pop("matrices")
    config.pop("rollout")
    config["vault"] = {}
    environment = replace(ENVIRONMENT, sealed={"app-registry-pull": SEALED})
    return run_program(config, environment, monkeypatch, "dev")


def test_the_relay_is_what_render_writes(from_vault: Declared) -> None:
    config = parse(relayed(), "dev")
    spec = replace(builders.PullSecretSpec.of(config, config.registry("app-registry-pull")), refresh="1h0m0s")
    (source,) = from_vault.of_type(EXTERNAL_SECRET).values()
    assert kubernetes_object(source.inputs) == builders.relay_external_secret(spec)
    store = from_vault.of_type(STORE)["app-registry-pull-relay-store"]
    assert kubernetes_object(store.inputs) == builders.relay_store(spec)
    (role,) = from_vault.of_type(ROLE).values()
    assert kubernetes_object(role.inputs) == builders.relay_reader(spec)[1]


def test_the_relays_reader_reads_one_secret(from_vault: Declared) -> None:
    (role,) = from_vault.of_type(ROLE).values()
    assert role.inputs["rules"] == [
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["app-registry-pull"], "verbs": ["get"]}
    ]


def test_namespaces_read_the_relayed_secret_and_no_longer_vault(from_vault: Declared) -> None:
    spec = from_vault.of_type(CES)["app-registry-pull-fanout"].inputs["spec"]["externalSecretSpec"]
    assert spec["secretStoreRef"]["name"] == "vault-platform-app-registry-pull"
    read = {"key": "app-registry-pull", "property": ".dockerconfigjson"}
    assert read.items() <= spec["data"][0]["remoteRef"].items()
    conditions = from_vault.of_type(STORE)["vault-platform-store"].inputs["spec"]["conditions"]
    assert conditions == [{"namespaces": ["external-secrets"]}]


def test_a_registry_that_is_not_relayed_reads_vault_through_its_own_store(from_vault: Declared) -> None:
    spec = from_vault.of_type(CES)["registry-api-tanhdev-fanout"].inputs["spec"]["externalSecretSpec"]
    assert spec["secretStoreRef"]["name"] == "vault-platform-registry-api-tanhdev"
    store = from_vault.of_type(STORE)["vault-platform-registry-api-tanhdev-store"].inputs["spec"]
    label = {"apps.platform/registry-api-tanhdev": "true"}
    assert store["conditions"] == [{"namespaceSelector": {"matchLabels": label}}]


def test_a_sealed_registry_needs_nothing_of_vault(without_vault: Declared) -> None:
    assert [kind for kind in without_vault.types() if kind.startswith("vault:") or "KvMetadata" in kind] == []
    assert "kubernetes:networking.k8s.io/v1:NetworkPolicy" not in without_vault.types()
    (source,) = without_vault.of_type(SEALED_SECRET).values()
    assert kubernetes_object(source.inputs) == kubernetes_object(SEALED)
    assert list(without_vault.of_type(STORE)) == ["app-registry-pull-relay-store"]


def test_a_sealed_registry_whose_delivery_is_direct_is_refused() -> None:
    with pytest.raises(ConfigError, match="delivery: found 'direct'; allowed: 'fanout'"):
        parse(relayed(source="sealedSecret", delivery="direct"), "dev")


def test_a_stack_that_reads_vault_must_name_it() -> None:
    config = {key: value for key, value in stack_file("dev").items() if key != "vault"}
    with pytest.raises(ConfigError, match="vault: missing; expected address and egress"):
        parse(config, "dev")
