"""A relayed registry: Vault sees one read per refresh, and each namespace still gets its Secret, proved."""

import json
import time
from collections.abc import Iterator

import pytest

from local.controlplane.waiting import NotYet, until
from pullsecrets.kube.objects import path_of
from pullsecrets.manifests.render import rendered_objects
from tests import argocd
from tests.e2e.stack import Stack, secret
from tests.ops.conftest import one_more_registry, require_green

pytestmark = pytest.mark.controlplane

REGISTRY = "ops-relay"
NAMESPACES = tuple(f"ops-relay-{number}" for number in range(6))
STORES = "/apis/external-secrets.io/v1/clustersecretstores"


@pytest.fixture(scope="module")
def relayed(stack: Stack) -> Iterator[Stack]:
    """The stack with one more registry, relayed, and six namespaces of it."""
    selector = {"ops.platform/relay": "true"}
    more = {"hosts": ["relay.registry.example.com"], "namespaces": ["ops-relay-*"], "delivery": "fanout"}
    with one_more_registry(stack, NAMESPACES, name=REGISTRY, selector=selector, **more):
        stack.passwords[REGISTRY] = stack.new_password()
        assert stack.seed(REGISTRY, None, "--yes").returncode == 0
        stack.up()
        yield stack


def delivered(stack: Stack) -> None:
    require_green(stack, REGISTRY, NAMESPACES)


def refreshed(stack: Stack, mark: str) -> None:
    """Each namespace's ExternalSecret has seen the mark, and has been synced since."""
    for name in NAMESPACES:
        item = stack.get(f"/apis/external-secrets.io/v1/namespaces/{name}/externalsecrets/{REGISTRY}")
        seen = item["metadata"].get("annotations", {}).get("external-secrets.io/force-sync")
        synced = item["status"].get("syncedResourceVersion", "")
        generation = str(item["metadata"]["generation"])
        if seen != mark or not synced.startswith(f"{generation}-"):
            raise NotYet(f"{name}: {seen}, synced {synced}")


def reads_of_vault(stack: Stack) -> int:
    """How often ESO has read the registry's path, from Vault's own audit log."""
    log = (stack.plane.layout.logs / "openbao-audit.log").read_text().splitlines()
    path = f"secret/data/ops/registries/{REGISTRY}"
    entries = [json.loads(line) for line in log if path in line]
    return sum(item["type"] == "request" and item["request"]["operation"] == "read" for item in entries)


def test_every_namespace_is_served_and_vault_is_not_read_for_each(relayed: Stack) -> None:
    until(lambda: delivered(relayed), 60, "the relayed Secret in each namespace")
    before = reads_of_vault(relayed)
    source = f"/apis/external-secrets.io/v1/clusterexternalsecrets/{REGISTRY}"
    now = str(time.time_ns())
    relayed.patch(source, {"metadata": {"annotations": {"external-secrets.io/force-sync": now}}})
    until(lambda: refreshed(relayed, now), 60, "each namespace read the relayed Secret again")
    assert reads_of_vault(relayed) == before


def test_the_relay_opens_its_own_secret_and_the_relayed_secret_stays_in_esos_namespace(relayed: Stack) -> None:
    assert relayed.find(secret("external-secrets", REGISTRY))
    rules = relayed.get(f"/apis/rbac.authorization.k8s.io/v1/namespaces/external-secrets/roles/vault-ops-{REGISTRY}")[
        "rules"
    ]
    assert [rule["resourceNames"] for rule in rules] == [[REGISTRY]]
    conditions = relayed.get(f"{STORES}/vault-ops-{REGISTRY}")["spec"]["conditions"]
    assert conditions == [{"namespaceSelector": {"matchLabels": {"ops.platform/relay": "true"}}}]


def test_a_rotation_does_not_read_vault_for_each_namespace_and_is_proved_in_all(relayed: Stack) -> None:
    before = reads_of_vault(relayed)
    token = relayed.seeder_token
    document = relayed.credential(REGISTRY, relayed.new_password())
    done = relayed.command(
        *("rotate", REGISTRY, "--from-file", "-", "--yes", "--json"),
        stdin=document,
        environment={"VAULT_TOKEN": token, "KUBECONFIG": str(relayed.operator)},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["namespaces"] == sorted(NAMESPACES)
    # Once; ESO refreshes again when it has not yet seen its own write of the status.
    assert before < reads_of_vault(relayed) < before + len(NAMESPACES)


def test_what_argo_cd_applied_stays_in_sync_while_eso_works_on_it(relayed: Stack) -> None:
    items = [argocd.tracked(item) for _, item in rendered_objects(relayed.config(), relayed.name)]
    try:
        for item in items:
            argocd.apply(relayed.admin, item)
        relayed.force_sync(REGISTRY)
        until(lambda: delivered(relayed), 60, "the relayed Secret in each namespace")
        found = {path_of(item): argocd.differences(relayed.admin, item) for item in items}
        assert {path: lines for path, lines in found.items() if lines} == {}
        # Argo CD would take a Secret that bears its marks for its own, and prune it.
        for namespace in ("external-secrets", NAMESPACES[0]):
            metadata = relayed.get(secret(namespace, REGISTRY))["metadata"]
            marks = {*metadata.get("labels", {}), *metadata.get("annotations", {})}
            assert not marks & {argocd.TRACKING_LABEL, argocd.TRACKING_ANNOTATION}
    finally:
        for item in items:
            argocd.release(relayed.admin, item)


def test_nothing_is_left_to_change(relayed: Stack) -> None:
    relayed.pulumi("preview", "--expect-no-changes", "--diff")


def test_a_relay_that_somebody_deleted_is_the_diagnosis_and_comes_back(relayed: Stack) -> None:
    source = f"/apis/external-secrets.io/v1/namespaces/external-secrets/externalsecrets/{REGISTRY}"
    relayed.admin.call("DELETE", source)
    relayed.gone(source)
    assert relayed.diagnoses()[0] == "relay-missing"
    relayed.pulumi("up", "--yes", "--skip-preview", "--refresh")
    until(lambda: delivered(relayed), 60, "the relayed Secret in each namespace")
