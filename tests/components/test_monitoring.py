"""Monitoring: what the program declares of it is what `render` writes, with Vault and without."""

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from pullsecrets.config import parse
from pullsecrets.credential import sealed
from pullsecrets.kube import marks
from pullsecrets.manifests.stack import monitoring_objects
from tests.components.program import Declared, run_program, stack_file
from tests.components.test_program import ENVIRONMENT, kubernetes_object

MONITORING: dict[str, Any] = {
    "enabled": True,
    "image": "registry.example.com/platform/pull-secrets:1.0.0",
    "imagePullSecret": "platform-pull",
    "ruleLabels": {"release": "monitoring"},
    "dashboardFolder": "Platform",
    "pushgateway": "http://pushgateway.monitoring.svc:9091",
    "coverageTarget": 0.95,
    "bindWatch": True,
}
CONFIG = {**stack_file("dev"), "monitoring": MONITORING}
COMPONENT = "pullsecrets:index:PullSecretMonitoring"
ROLE = "vault:kubernetes/authBackendRole:AuthBackendRole"
KINDS = {
    "PrometheusRule": "kubernetes:monitoring.coreos.com/v1:PrometheusRule",
    "ConfigMap": "kubernetes:core/v1:ConfigMap",
    "ServiceAccount": "kubernetes:core/v1:ServiceAccount",
    "ClusterRole": "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole",
    "ClusterRoleBinding": "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding",
    "CronJob": "kubernetes:batch/v1:CronJob",
    "Deployment": "kubernetes:apps/v1:Deployment",
}


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> Declared:
    return run_program(CONFIG, ENVIRONMENT, monkeypatch, "dev")


def found(declared: Declared) -> dict[tuple[str, str], dict[str, Any]]:
    """What the component declares, by kind and name; the stores' readers and reviewers are of these kinds too."""
    made = [item for token in KINDS.values() for item in declared.of_type(token).values()]
    items = [kubernetes_object(item.inputs) for item in made if item.name.startswith("monitoring-")]
    return {(item["kind"], item["metadata"]["name"]): item for item in items}


def test_the_program_declares_the_objects_that_render_writes(declared: Declared) -> None:
    config = parse(CONFIG, "dev")
    written = {(item["kind"], item["metadata"]["name"]): item for item in monitoring_objects(config, "dev")}
    assert found(declared) == written


def test_every_object_says_which_stack_owns_it(declared: Declared) -> None:
    for kind, token in KINDS.items():
        items = declared.of_type(token).values()
        assert items, kind
        for item in items:
            assert item.inputs["metadata"]["annotations"][marks.STACK_ANNOTATION] == "pull-secrets/dev"


def test_vault_opens_metadata_to_the_validation_alone(declared: Declared) -> None:
    role = declared.of_type(ROLE)["monitoring-audit-role"].inputs
    assert role["roleName"] == "pull-secrets-audit"
    assert role["boundServiceAccountNames"] == ["pull-secrets-dev-audit"]
    assert role["boundServiceAccountNamespaces"] == ["monitoring"]
    assert role["audience"] == "https://kubernetes.default.svc"
    assert role["tokenPolicies"] == ["pull-secrets-audit.dev"]
    assert role["tokenTtl"] == role["tokenMaxTtl"] == 600
    policy = declared.of_type("vault:index/policy:Policy")["monitoring-audit-policy"].inputs
    assert policy["name"] == "pull-secrets-audit.dev"
    paths = json.loads(policy["policy"])["path"]
    assert all(path.startswith("secret/metadata/") and "*" not in path for path in paths)
    assert {text for rule in paths.values() for text in rule["capabilities"]} == {"read"}


def test_without_vault_no_role_and_no_policy_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = copy.deepcopy(CONFIG)
    raw["registries"] = [{**raw["registries"][0], "source": "sealedSecret", "delivery": "fanout"}]
    raw["tenants"].pop("matrices")
    raw.pop("rollout")
    raw["vault"] = {}
    manifest = sealed.sealed_secret("app-registry-pull", "external-secrets", "AQ==", {})
    environment = replace(ENVIRONMENT, sealed={"app-registry-pull": manifest})
    declared = run_program(raw, environment, monkeypatch, "dev")
    assert [token for token in declared.types() if token.startswith("vault:")] == []
    config = parse(raw, "dev")
    written = monitoring_objects(config, "dev")
    assert found(declared).keys() == {(item["kind"], item["metadata"]["name"]) for item in written}


def test_monitoring_that_is_off_declares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in ({}, {**MONITORING, "enabled": False}):
        declared = run_program({**CONFIG, "monitoring": setting}, ENVIRONMENT, monkeypatch, "dev")
        assert not {COMPONENT, KINDS["CronJob"], KINDS["PrometheusRule"]} & declared.types()
        assert [name for name in declared.of_type(ROLE) if not name.startswith("vault-access-role")] == []
