"""Hand-made pull Secrets as people and tools leave them in namespaces."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.controlplane.rbac import MIGRATORS, OPERATORS
from pullsecrets.kube.marks import LAST_APPLIED, OLD_PULL_SECRET_TYPE, PULL_SECRET_TYPE
from tests.e2e.stack import OTHERS_ENTRY, Stack, account, namespace

HOST = "app.registry.example.com"


def login(password: str, host: str = HOST, user: str = "bot") -> dict[str, Any]:
    """`auths` with one login."""
    return {host: {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}}


def make_secret(
    stack: Stack,
    where: str,
    name: str,
    auths: Mapping[str, Any],
    *,
    kind: str = PULL_SECRET_TYPE,
    applied: bool = False,
    labels: Mapping[str, str] | None = None,
    immutable: bool = False,
) -> dict[str, Any]:
    """Make a Secret as `kubectl create` does, or `kubectl apply` with its copy in an annotation."""
    old = kind == OLD_PULL_SECRET_TYPE
    content = dict(auths) if old else {"auths": dict(auths)}
    secret: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": where, "labels": dict(labels or {})},
        "type": kind,
        "data": {".dockercfg" if old else ".dockerconfigjson": base64.b64encode(json.dumps(content).encode()).decode()},
    }
    if immutable:
        # Not as false elsewhere: who reads no more than metadata sees that the field is set, and not to what.
        secret["immutable"] = True
    if applied:
        secret["metadata"]["annotations"] = {LAST_APPLIED: json.dumps(secret)}
    manager = "kubectl-client-side-apply" if applied else "kubectl-create"
    return stack.admin.call("POST", f"{namespace(where)}/secrets?fieldManager={manager}", secret)


def make_namespace(stack: Stack, name: str, *entries: str) -> None:
    """Make a namespace whose ServiceAccount lists OpenShift's entry and others."""
    stack.make_namespace(name)
    listed = [{"name": entry} for entry in (OTHERS_ENTRY, *entries)]
    stack.patch(account(name), {"imagePullSecrets": listed})


def free(stack: Stack, *names: str) -> None:
    """Delete namespaces whatever a failed test left on them, and wait until they are gone."""
    there = [name for name in names if stack.find(namespace(name))]
    for name in there:
        stack.patch(namespace(name), {"metadata": {"finalizers": None}})
        stack.admin.call("DELETE", namespace(name))
    for name in there:
        stack.gone(namespace(name))


def document(secret: Mapping[str, Any]) -> dict[str, Any]:
    """What a Secret holds."""
    return json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))


def migrator(stack: Stack) -> Path:
    """kubeconfig of an operator who may read Secrets for a while."""
    return stack.plane.kubeconfig_for("migrator", [OPERATORS, MIGRATORS])


def environment(stack: Stack, kubeconfig: Path | None = None) -> dict[str, str]:
    """Who the commands act as, in the cluster and in Vault."""
    token = stack.seeder_token
    return {"KUBECONFIG": str(kubeconfig or migrator(stack)), "VAULT_TOKEN": token}


def deletions(stack: Stack, where: str, name: str, since: str) -> list[str]:
    """When a Secret was deleted since a resourceVersion: any time in between, Pods could not pull with it."""
    query = {"fieldSelector": f"metadata.name={name}", "resourceVersion": since}
    events = stack.client(migrator(stack)).watch(f"{namespace(where)}/secrets", query, 1)
    return [event["object"]["metadata"]["resourceVersion"] for event in events if event["type"] == "DELETED"]
