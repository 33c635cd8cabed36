"""Before monitoring is declared, the cluster is asked whether it has a place for it."""

from typing import Any

import pytest

from pullsecrets.errors import BadInputError, PullSecretsError
from pullsecrets.tenancy import preflight
from pullsecrets.tenancy.preflight import MONITORING_GROUP_VERSION, require_monitoring
from tests.unit.cluster import FakeCluster
from tests.unit.manifests.test_audit_job import monitored, sealed

KINDS: tuple[str, dict[str, Any]] = (MONITORING_GROUP_VERSION, {"resources": [{"kind": "PrometheusRule"}]})
NAMESPACE: tuple[str, dict[str, Any]] = ("/api/v1/namespaces/monitoring", {"metadata": {"name": "monitoring"}})


def test_a_cluster_with_the_operator_and_the_namespace_is_fine() -> None:
    require_monitoring(FakeCluster(KINDS, NAMESPACE), monitored())


def test_what_is_missing_is_named_with_what_to_install() -> None:
    with pytest.raises(BadInputError) as raised:
        require_monitoring(FakeCluster(), monitored())
    rule, namespace = str(raised.value).splitlines()
    assert "does not serve monitoring.coreos.com/v1 PrometheusRule; install the Prometheus Operator" in rule
    assert "monitoring.namespace: found no namespace 'monitoring'" in namespace


def test_nobody_is_asked_where_monitoring_is_off() -> None:
    require_monitoring(FakeCluster(), monitored(enabled=False))


def test_who_may_not_look_at_its_objects_is_told_of_the_roles(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = FakeCluster(
        KINDS, NAMESPACE, ("/api/v1/namespaces/external-secrets", {"metadata": {"name": "external-secrets"}})
    )
    rules = f"{MONITORING_GROUP_VERSION}/namespaces/monitoring/prometheusrules/pull-secrets-dev"
    cluster.refuse["GET", rules] = (403, "User pulumi cannot get resource prometheusrules")
    cluster.refuse["POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews"] = (403, "not asked here")
    monkeypatch.setattr(preflight, "KubernetesClient", lambda _: cluster)
    monkeypatch.setattr(preflight, "read_sealed", lambda *_: {})
    with pytest.raises(
        PullSecretsError, match=r"cannot get .*; have an administrator .*`pull-secrets roles --stack x`"
    ):
        preflight.inspect(sealed(), "x")
