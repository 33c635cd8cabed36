"""What a cluster says about a first stack file."""

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pullsecrets.cli.app import app
from pullsecrets.config import load_stack
from pullsecrets.errors import PullSecretsError
from pullsecrets.starter import survey
from tests.unit.cluster import FakeCluster

CA = "-----BEGIN CERTIFICATE-----\nmade up\n-----END CERTIFICATE-----\n"
VAULT = "https://vault.example.com:8200"


def deployment(namespace: str, name: str, *images: str, **spec: Any) -> tuple[str, dict[str, Any]]:
    labels = {"app.kubernetes.io/name": name}
    pod = {"containers": [{"name": "main", "image": image} for image in images], **spec}
    return f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}", {
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {"replicas": 1, "template": {"metadata": {"labels": labels}, "spec": pod}},
        "status": {"readyReplicas": 1},
    }


def store(name: str, provider: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    path = f"/apis/external-secrets.io/v1/clustersecretstores/{name}"
    return path, {"metadata": {"name": name}, "spec": {"provider": provider}}


CLUSTER = (
    deployment("eso", "external-secrets", "ghcr.io/external-secrets/external-secrets:v0.20.4", serviceAccountName="es"),
    deployment("shop", "web", "registry.example.com/shop/web:1", "docker.io/library/redis:8"),
    deployment("stock", "api", "registry.example.com/stock/api:1"),
    deployment("stock", "job", "other.example.com/stock/job:1"),
    deployment("kube-system", "dns", "registry.example.com/dns:1"),
    store(
        "kv", {"vault": {"server": VAULT, "path": "kv", "version": "v2", "caBundle": b64encode(CA.encode()).decode()}}
    ),
    store("old", {"vault": {"server": "https://old.example.com", "version": "v1"}}),
    store("aws", {"aws": {"service": "SecretsManager"}}),
)


@pytest.mark.parametrize("platform", ["kubernetes", "openshift"])
def test_a_cluster_tells_where_eso_and_vault_are_and_who_pulls_from_where(platform: str) -> None:
    served = [(survey.OPENSHIFT, {"resources": []})] if platform == "openshift" else []
    found = survey.look(FakeCluster(*CLUSTER, *served))
    assert found.platform == platform
    assert found.eso
    assert (found.eso.namespace, found.eso.service_account) == ("eso", "es")
    assert found.vaults == (survey.VaultServer(VAULT, "kv", CA),)
    assert found.only_vault == VAULT
    assert found.private_host == "registry.example.com"
    assert found.pulling["registry.example.com"] == ("shop", "stock")


def test_a_cluster_without_eso_is_refused_with_what_to_install() -> None:
    with pytest.raises(PullSecretsError, match="found no Deployment"):
        survey.look(FakeCluster(*CLUSTER[1:]))


def test_what_the_cluster_says_needs_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pullsecrets.cli.options.KubernetesClient", lambda _: FakeCluster(*CLUSTER))
    done = CliRunner().invoke(app, ["init", str(tmp_path), "--from-cluster", "--cluster", "east"])
    assert done.exit_code == 0, done.exception
    config = load_stack("east", tmp_path)
    assert (config.vault.address, config.vault.mount, config.vault.ca_bundle) == (VAULT, "kv", CA)
    assert (config.eso.namespace, config.eso.service_account) == ("eso", "es")
    assert [registry.hosts for registry in config.registries] == [("registry.example.com",)]
    assert [(tenant.name, tenant.adopt) for tenant in config.resolve_tenants()] == [("shop", True), ("stock", True)]
