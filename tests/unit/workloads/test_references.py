"""A Secret is used by whatever names it: Pods, templates of workloads, ServiceAccounts, volumes and environment."""

from typing import Any

import pytest

from pullsecrets.workloads.references import list_users
from tests.unit.cluster import FakeCluster

ROOT = "/apis/apps/v1/namespaces/apps-one"


def listed(kind: str, path: str, item: dict[str, Any]) -> list[str]:
    metadata = {"name": "it", "namespace": "apps-one", **item.pop("metadata", {})}
    cluster = FakeCluster((f"{path}/{kind}/it", {"metadata": metadata, **item}))
    return [str(user) for user in list_users(cluster, "apps-one") if user.names("old")]


@pytest.mark.parametrize(
    "spec",
    [
        {"imagePullSecrets": [{"name": "old"}]},
        {"volumes": [{"name": "v", "secret": {"secretName": "old"}}]},
        {"volumes": [{"name": "v", "projected": {"sources": [{"configMap": {}}, {"secret": {"name": "old"}}]}}]},
        {"containers": [{"name": "c", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "old"}}}]}]},
        {"initContainers": [{"name": "c", "envFrom": [{"configMapRef": {}}, {"secretRef": {"name": "old"}}]}]},
    ],
)
def test_every_way_in_which_a_pod_names_a_secret(spec: dict[str, Any]) -> None:
    template = {"spec": {"template": {"spec": spec}}}
    assert listed("deployments", ROOT, template) == ["Deployment it"]
    assert listed("pods", "/api/v1/namespaces/apps-one", {"spec": spec}) == ["Pod it"]
    cron = {"spec": {"jobTemplate": {"spec": template["spec"]}}}
    assert listed("cronjobs", "/apis/batch/v1/namespaces/apps-one", cron) == ["CronJob it"]


@pytest.mark.parametrize("field", ["imagePullSecrets", "secrets"])
def test_a_service_account_names_it(field: str) -> None:
    path = "/api/v1/namespaces/apps-one"
    assert listed("serviceaccounts", path, {field: [{"name": "old"}]}) == ["ServiceAccount it"]


PULLS = {"imagePullSecrets": [{"name": "old"}]}


def test_what_is_finished_and_what_repeats_a_template_does_not_count() -> None:
    finished = {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    job = {"spec": {"completions": 1, "template": {"spec": PULLS}}}
    assert listed("jobs", "/apis/batch/v1/namespaces/apps-one", {**job, **finished}) == []
    assert listed("jobs", "/apis/batch/v1/namespaces/apps-one", job) == ["Job it"]
    owned = {"metadata": {"ownerReferences": [{"kind": "Deployment", "name": "it", "controller": True}]}}
    assert listed("replicasets", ROOT, {**owned, "spec": {"template": {"spec": PULLS}}}) == []
    pods = "/api/v1/namespaces/apps-one"
    assert listed("pods", pods, {"spec": PULLS, "status": {"phase": "Succeeded"}}) == []
    assert listed("pods", pods, {"spec": PULLS, "status": {"phase": "Running"}}) == ["Pod it"]
