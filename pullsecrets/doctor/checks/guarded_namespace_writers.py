"""ServiceAccounts of `kube-system` beside the cluster's own may write Secrets there, and the guard does not deny it.

`kube-system` holds guarded Secrets, and more runs in it than Kubernetes: sealed-secrets, cloud agents, what somebody
installed once. The guard trusts the accounts that `guard.platform` and `guard.writers` name, one by one. With `warn` it
lets the others through; with `deny` the API server refuses them, and nothing is found here.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import again_command
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.guard import GUARDED_OBJECTS
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.manifests.rbac import RBAC_GROUP

NAME = "guarded-namespace-writers"
NAMESPACE = "kube-system"
RBAC = f"/apis/{RBAC_GROUP}/v1"
GUARDED_NAMES = {item.name for item in GUARDED_OBJECTS if (item.kind, item.namespace) == ("Secret", NAMESPACE)}
_WRITES = {"create", "update", "patch", "delete", "deletecollection", "*"}


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the accounts that may write guarded Secrets and that the stack does not name."""
    guard = snapshot.config.guard
    if guard.mode == "deny":
        return
    named = {*guard.platform.users, *guard.writers.users}
    for account, binding in sorted(_writers(snapshot.cluster).items()):
        user = f"system:serviceaccount:{NAMESPACE}:{account}"
        if user in named:
            continue
        yield Finding(
            check=NAME,
            severity=Severity.WARNING,
            symptom="A mistake in another component could replace the cluster-wide pull-secret.",
            cause=f"ServiceAccount {NAMESPACE}/{account} may write Secrets there, and guard.mode is {guard.mode}.",
            evidence=(f"{binding}: it may write Secrets there, {', '.join(sorted(GUARDED_NAMES))} among them",),
            fix=(
                f"kubectl auth can-i --list --namespace {NAMESPACE} --as {user}",
                f"# does it write one of them? add {user} to guard.writers.users; then set guard.mode: deny",
                again_command(snapshot),
            ),
            prevention="Install components into namespaces of their own, and set guard.mode: deny.",
        )


def may_write(rule: Mapping[str, Any]) -> bool:
    """Tell whether an RBAC rule permits writing a guarded Secret."""
    names = {*(rule.get("resourceNames") or ())}
    return (
        bool({"", "*"} & {*(rule.get("apiGroups") or ())})
        and bool({"secrets", "*"} & {*(rule.get("resources") or ())})
        and bool(_WRITES & {*(rule.get("verbs") or ())})
        and (not names or bool(names & GUARDED_NAMES))
    )


def _writers(cluster: KubernetesClient) -> dict[str, str]:
    """Return the accounts that may, each with a binding by which it may; Kubernetes' own bindings are passed over."""
    scopes = (("Cluster", RBAC), ("", f"{RBAC}/namespaces/{NAMESPACE}"))
    roles = {
        (f"{scope}Role", item["metadata"]["name"])
        for scope, where in scopes
        for item in cluster.items(f"{where}/{scope.lower()}roles")
        if any(map(may_write, item.get("rules") or ()))
    }
    return {
        subject["name"]: f"{scope}RoleBinding {item['metadata']['name']}"
        for scope, where in scopes
        for item in cluster.items(f"{where}/{scope.lower()}rolebindings")
        if (item["roleRef"]["kind"], item["roleRef"]["name"]) in roles
        and not item["metadata"]["name"].startswith("system:")
        for subject in item.get("subjects") or ()
        if (subject["kind"], subject.get("namespace")) == ("ServiceAccount", NAMESPACE)
    }


CHECK = Check(NAME, "Nothing but the cluster's own accounts may write Secrets beside the guarded ones", find)
