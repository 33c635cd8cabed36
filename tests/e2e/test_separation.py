"""One registry's grant opens one registry, and a stack of one store for all becomes such a stack under running Pods."""

import base64
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from local.controlplane.waiting import NotYet, until
from local.paths import repository
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.eso import GROUP
from pullsecrets.kube.objects import condition
from tests.e2e.stack import ADOPTED, BASELINE, DEADLINE, Stack

pytestmark = pytest.mark.controlplane

MINE = "e2e-auth-dev"
"""Opted in to `e2e-app` alone."""
APP, WEB = "e2e/registries/e2e-app", "e2e/registries/web"
OWN_STORE, OTHER_STORE = "vault-e2e", "vault-e2e-e2e-web"
STORES = f"{GROUP}/clustersecretstores"
RBAC = "rbac.authorization.k8s.io"


@pytest.fixture
def tenant(deployed: Stack) -> KubernetesClient:
    """Somebody with the rights of `edit` in one namespace, ExternalSecrets among them."""
    role = {"kind": "Role", "metadata": {"name": "tenant", "namespace": MINE}, "apiVersion": f"{RBAC}/v1"}
    rules = [
        {"apiGroups": ["external-secrets.io"], "resources": ["externalsecrets"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["get", "list", "watch"]},
    ]
    deployed.admin.apply({**role, "rules": rules})
    reference = {"apiGroup": RBAC, "kind": "Role", "name": "tenant"}
    subjects = [{"apiGroup": RBAC, "kind": "User", "name": "separation-tenant"}]
    deployed.admin.apply({**role, "kind": "RoleBinding", "roleRef": reference, "subjects": subjects})
    return deployed.client(deployed.plane.kubeconfig_for("separation-tenant"))


def attempt(tenant: KubernetesClient, store: str, key: str, version: str | None = None) -> str:
    """What ESO says to a tenant's own ExternalSecret: empty when it delivered."""
    folder, name = f"{GROUP}/namespaces/{MINE}/externalsecrets", f"attempt-{secrets.token_hex(4)}"
    remote = {"key": key, "property": "dockerconfigjson", **({"version": version} if version else {})}
    body = {
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": {"name": name},
        "spec": {
            "secretStoreRef": {"kind": "ClusterSecretStore", "name": store},
            "data": [{"secretKey": "stolen", "remoteRef": remote}],
        },
    }
    tenant.request("POST", folder, body=body)
    try:
        return until(lambda: answer(tenant, f"{folder}/{name}"), DEADLINE, f"ESO's answer to {remote} through {store}")
    finally:
        tenant.request("DELETE", f"{folder}/{name}")


def answer(tenant: KubernetesClient, path: str) -> str:
    item = tenant.get(path)
    ready = condition(item, "Ready")
    if ready is None:
        raise NotYet("no condition yet")
    if ready["status"] == "True":
        return ""
    query = {"fieldSelector": f"involvedObject.uid={item['metadata']['uid']},type=Warning"}
    told = [event["message"] for event in tenant.items(f"/api/v1/namespaces/{MINE}/events", query)]
    if not told:
        raise NotYet(f"no event yet: {ready['message']}")
    return told[-1]


def two_versions(stack: Stack) -> None:
    """Make sure that the path of `e2e-web` has an older version."""
    for number in range(2):
        document = stack.credential("e2e-web", f"{stack.passwords['e2e-web']}-{number}")
        assert stack.seed("e2e-web", document, "--yes").returncode == 0
    assert stack.seed("e2e-web", None, "--yes").returncode == 0


@contextmanager
def watched(stack: Stack, namespace: str, registry: str) -> Iterator[list[str]]:
    """Follow a Secret by a watch; the list fills with what would have kept a Pod from pulling."""
    admin = stack.client(stack.plane.layout.kubeconfig("admin"))
    folder, query = f"/api/v1/namespaces/{namespace}/secrets", {"fieldSelector": f"metadata.name={registry}"}
    (known,), version = admin.snapshot(folder, query)
    problems = [*unusable({"type": "ADDED", "object": known})]
    done = threading.Event()

    def follow() -> None:
        seen = version
        while not done.is_set():
            for event in admin.watch(folder, {**query, "resourceVersion": seen}, 1):
                problems.extend(unusable(event))
                seen = event["object"]["metadata"]["resourceVersion"]

    follower = threading.Thread(target=follow)
    follower.start()
    try:
        yield problems
    finally:
        done.set()
        follower.join(DEADLINE)
        assert not follower.is_alive()


def unusable(event: dict[str, Any]) -> Iterator[str]:
    if event["type"] not in {"ADDED", "MODIFIED"}:
        yield f"{event['type']}: {event['object']['metadata']['name']}"
        return
    document = base64.b64decode(event["object"]["data"][".dockerconfigjson"])
    if json.loads(document).keys() != {"auths"} or event["object"]["type"] != "kubernetes.io/dockerconfigjson":
        yield f"{event['type']}: not what the kubelet reads"


@contextmanager
def one_store_for_all(stack: Stack) -> Iterator[None]:
    """Run the program of `tests/e2e/one_store.py` in the stack's folder."""
    program = stack.workspace.root / "__main__.py"
    links = {program: repository() / "tests/e2e/one_store.py", stack.workspace.root / "tests": repository() / "tests"}
    for link, target in links.items():
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    try:
        yield
    finally:
        program.unlink()
        program.symlink_to(repository() / "__main__.py")
        Path(stack.workspace.root / "tests").unlink()


def test_a_tenant_is_refused_at_the_other_registrys_key_also_for_older_versions(
    deployed: Stack, tenant: KubernetesClient
) -> None:
    two_versions(deployed)
    # Its own, so that a refusal below is one of the other registry and not of everything.
    assert attempt(tenant, OWN_STORE, APP) == ""
    for version in (None, "1", "2"):
        assert "permission denied" in attempt(tenant, OWN_STORE, WEB, version)
        assert "denied by spec.condition" in attempt(tenant, OTHER_STORE, WEB, version)


def test_a_replaced_login_is_readable_until_the_rotation_destroys_it(deployed: Stack, tenant: KubernetesClient) -> None:
    assert deployed.seed("e2e-app", deployed.credential("e2e-app", deployed.new_password()), "--yes").returncode == 0
    versions = deployed.plane.vault("root").secrets.kv.v2
    before = str(versions.read_secret_metadata(APP, mount_point="secret")["data"]["current_version"])
    document = deployed.credential("e2e-app", deployed.passwords["e2e-app"])
    identity = {"VAULT_TOKEN": deployed.seeder_token, "KUBECONFIG": str(deployed.operator)}

    def rotate(*options: str) -> str:
        arguments = ("rotate", "e2e-app", "--from-file", "-", "--yes", "--json", "--destroy-previous", *options)
        done = deployed.command(*arguments, stdin=document, environment=identity)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert json.loads(rotate())["destroyed"] == [], "nothing was replaced a day ago"
    assert attempt(tenant, OWN_STORE, APP, before) == ""
    assert int(before) in json.loads(rotate("--grace", "0s"))["destroyed"]
    assert attempt(tenant, OWN_STORE, APP, before) != ""
    assert attempt(tenant, OWN_STORE, APP) == "", "the current one stays"


def test_an_upgrade_from_one_store_keeps_every_secret_and_closes_the_other_registry(
    deployed: Stack, tenant: KubernetesClient
) -> None:
    two_versions(deployed)
    with one_store_for_all(deployed):
        deployed.pulumi("up", "--yes", "--skip-preview")
    conditions = deployed.get(f"{STORES}/{OWN_STORE}")["spec"]["conditions"]
    assert len(conditions) == 2
    assert deployed.find(f"{STORES}/{OTHER_STORE}") is None
    deployed.force_sync("e2e-web")
    assert deployed.audit("--wait", "60")["green"]
    assert attempt(tenant, OWN_STORE, WEB, "1") == "", "the hole that the upgrade closes"
    with watched(deployed, ADOPTED, "e2e-web") as web, watched(deployed, MINE, "e2e-app") as app:
        deployed.up()
        for registry in ("e2e-app", "e2e-web"):
            deployed.force_sync(registry)
        assert deployed.audit("--wait", "60")["green"]
    assert (web, app) == ([], [])
    assert deployed.get(f"{STORES}/{OWN_STORE}")["spec"]["conditions"] == [
        {"namespaceSelector": {"matchLabels": {"e2e.platform/app": "true"}}}
    ]
    assert "permission denied" in attempt(tenant, OWN_STORE, WEB, "1")
    deployed.pulumi("preview", "--refresh", "--expect-no-changes")
    assert deployed.diagnoses() == []


def test_a_registry_turns_from_direct_to_relayed_and_back_under_running_pods(deployed: Stack) -> None:
    relayed = json.loads(json.dumps(BASELINE))
    relayed["registries"][1]["delivery"] = "fanout"
    relayed["cluster"]["apiServer"] = {"url": deployed.admin.http.address}
    with watched(deployed, ADOPTED, "e2e-web") as problems:
        for change, provider in ((relayed, "kubernetes"), (BASELINE, "vault")):
            deployed.up({key: change[key] for key in ("registries", "cluster")})
            # The very object that the direct store was, or the relay's.
            assert list(deployed.get(f"{STORES}/{OTHER_STORE}")["spec"]["provider"]) == [provider]
            deployed.force_sync("e2e-web")
            assert deployed.audit("--wait", "60")["green"]
            deployed.pulumi("preview", "--refresh", "--expect-no-changes")
    assert problems == []


def test_what_a_store_and_its_role_are_is_refused_to_be_shared(deployed: Stack) -> None:
    shared = json.loads(json.dumps(BASELINE["registries"]))
    shared[1]["store"] = OWN_STORE
    assert "the store of registry 'e2e-app'; allowed: a store of its own" in deployed.up(
        {"registries": shared}, fails=True
    )
