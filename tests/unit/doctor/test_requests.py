"""What a look at a large cluster costs: requests do not grow with namespaces, but with the pages of a few lists."""

from pullsecrets.doctor.diagnosis import diagnose
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.store_access import StoreAccess, login_of
from pullsecrets.doctor.vault_server import Condition, VaultServer, endpoint_of
from pullsecrets.kube.eso import GROUP
from pullsecrets.kube.objects import path_of
from pullsecrets.manifests.stack import stack_objects
from tests.unit.doctor.tenants import APP, LABEL, NOW, World, stack_config

NAMESPACES = 1000
MOST_REQUESTS = 40
DEPLOYMENT = {
    "metadata": {
        "namespace": "external-secrets",
        "name": "external-secrets",
        "labels": {"app.kubernetes.io/name": "external-secrets"},
    },
    "spec": {"template": {"metadata": {}, "spec": {"containers": [{"image": "ghcr.io/eso/external-secrets:v0.20.4"}]}}},
    "status": {"readyReplicas": 1},
}


def test_a_thousand_namespaces_cost_forty_requests_at_most(world: World) -> None:
    for number in range(NAMESPACES):
        name = f"team-{number:04}"
        world.add_namespace(name, LABEL)
        world.deliver(name)
        world.add_pod(name)
    cluster, config = world.cluster(), stack_config()
    seen = Snapshot(config, "test", cluster, world.vault(), now=NOW)
    cluster.add("/apis/apps/v1/deployments", DEPLOYMENT)
    cluster.objects["/apis/external-secrets.io"] = {"versions": [{"version": "v1"}]}
    for item in stack_objects(config, "test"):
        if item["kind"] in {"ClusterSecretStore", "NetworkPolicy"}:
            cluster.objects[path_of(item)] = {**item, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    (store,) = config.vault_stores
    login = login_of(config, store, cluster.find(f"{GROUP}/clustersecretstores/{store.name}"))
    server = VaultServer(endpoint_of(config, store.name, None), Condition.HEALTHY)
    seen.once("vault_server", lambda: server)
    seen.once(f"store_access/{store.name}", lambda: StoreAccess(login, readable={APP: True}))
    report = diagnose(seen)
    assert len({row.namespace for row in seen.coverage}) > NAMESPACES
    # The clock is read off an answer's header, by one request more.
    assert [item.check for item in report.unchecked] == ["clock-skew"]
    assert cluster.requests < MOST_REQUESTS
