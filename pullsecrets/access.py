"""What the people and pipelines behind this project may do in a cluster: the least that each command needs."""

from collections.abc import Iterable, Sequence
from typing import Any

from pullsecrets.admission import GROUP as ADMISSION_GROUP
from pullsecrets.manifests import KubernetesObject

RBAC_GROUP = "rbac.authorization.k8s.io"
_READ = ("get", "list", "watch")
_VALIDATING = ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
_MUTATING = ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings")
_EDIT = (*_READ, "create", "update", "patch", "delete")


def deployer_roles(
    group: str, eso_namespace: str, reviewers: Sequence[str], relays: Sequence[str] = ()
) -> list[KubernetesObject]:
    """Return the roles of whoever runs `pulumi`, bound to a group.

    Args:
        group: Kubernetes group of the deployers.
        eso_namespace: namespace of External Secrets Operator, the only one in which they edit NetworkPolicies.
        reviewers: names of the token reviewers' bindings, one per store; no other binding can be changed, and none at
            all in a cluster without Vault.
        relays: names of relayed registries' readers in ESO's namespace; no other role there can be changed.
    """
    cluster_rules = [
        _rule("external-secrets.io", ["clustersecretstores", "clusterexternalsecrets"], _EDIT),
        # Coverage reads what ESO made of them.
        _rule("external-secrets.io", ["externalsecrets"], _READ),
        # `patch` also takes ESO's finalizer off a namespace that left.
        _rule("", ["namespaces"], _EDIT),
        _rule("", ["serviceaccounts"], [*_READ, "patch"]),
        *(_reviewer_rules(reviewers) if reviewers else ()),
        # The guard and Pod admission. Names differ by stack, and `create` cannot be restricted by name anyway.
        _rule(ADMISSION_GROUP, [*_VALIDATING, *_MUTATING], _EDIT),
    ]
    eso_rules = [_rule("networking.k8s.io", ["networkpolicies"], _EDIT)]
    if relays:
        eso_rules += _relay_rules(relays)
    return [
        *_granted("pull-secrets-deployer", group, cluster_rules),
        *_granted("pull-secrets-deployer", group, eso_rules, eso_namespace),
    ]


def _reviewer_rules(reviewers: Sequence[str]) -> list[dict[str, Any]]:
    """What it takes to have Vault review ESO's tokens.

    RBAC cannot restrict `create` by name, but without `bind` on a role no binding to it can be made. Pulumi watches
    what it deletes until it is gone, and no list or watch can be restricted by name either.
    """
    return [
        _rule(RBAC_GROUP, ["clusterrolebindings"], ["list", "watch", "create"]),
        _rule(RBAC_GROUP, ["clusterrolebindings"], ["get", "update", "patch", "delete"], reviewers),
        _rule(RBAC_GROUP, ["clusterroles"], ["bind"], ["system:auth-delegator"]),
    ]


def _relay_rules(relays: Sequence[str]) -> list[dict[str, Any]]:
    """What it takes to declare relays, without the right to read the Secrets that they relay.

    `escalate` lets a deployer write rules that it does not have itself, into these roles and no other.
    """
    return [
        _rule("external-secrets.io", ["externalsecrets"], _EDIT),
        _rule("bitnami.com", ["sealedsecrets"], _EDIT),
        _rule("", ["serviceaccounts"], ["create"]),
        _rule("", ["serviceaccounts"], ["update", "delete"], relays),
        _rule(RBAC_GROUP, ["roles", "rolebindings"], ["list", "watch", "create"]),
        _rule(RBAC_GROUP, ["rolebindings"], ["get", "update", "patch", "delete"], relays),
        _rule(RBAC_GROUP, ["roles"], ["get", "update", "patch", "delete", "escalate", "bind"], relays),
    ]


def auditor_roles(group: str) -> list[KubernetesObject]:
    """Return the role of whoever runs `pull-secrets audit`, bound to a group.

    RBAC cannot permit metadata alone, so an auditor could read Secrets; the command asks for metadata only. That is
    why the deployer's role has no `list` on Secrets and this one has nothing that writes.
    """
    rules = [
        # Without `pods` the report says that it does not know who uses a registry without opting in.
        _rule("", ["namespaces", "serviceaccounts", "secrets", "pods"], ["list"]),
        _rule("external-secrets.io", ["externalsecrets", "clusterexternalsecrets", "clustersecretstores"], _READ),
        _rule(ADMISSION_GROUP, ["mutatingadmissionpolicybindings"], ["list"]),
    ]
    return _granted("pull-secrets-auditor", group, rules)


def operator_roles(
    group: str, eso_namespace: str, eso_service_account: str = "external-secrets"
) -> list[KubernetesObject]:
    """Return the role of the on-call who runs `rotate`, `doctor`, `offboard` and `rollout`, bound to a group.

    It reads what an auditor reads and how workloads fare, and changes what these commands change: labels, finalizers,
    annotations, ServiceAccounts' lists, Pods by eviction. It reads no Secret's content: see `migrator_roles`.

    Args:
        group: Kubernetes group of the operators.
        eso_namespace: namespace of External Secrets Operator, the only one in which they edit NetworkPolicies.
        eso_service_account: its ServiceAccount, the only one that they may have tokens of.
    """
    cluster_rules = [
        _rule("", ["namespaces", "serviceaccounts"], [*_READ, "patch"]),
        _rule("", ["secrets"], ["list", "watch"]),
        _rule("", ["pods", "events"], _READ),
        # Eviction and not deletion, so that PodDisruptionBudgets are respected.
        _rule("", ["pods/eviction"], ["create"]),
        _rule("external-secrets.io", ["externalsecrets", "clusterexternalsecrets"], [*_READ, "patch"]),
        _rule("external-secrets.io", ["clustersecretstores"], _READ),
        _rule("apps", ["deployments", "statefulsets", "daemonsets"], [*_READ, "patch"]),
        _rule("apps", ["replicasets"], _READ),
        _rule("batch", ["jobs", "cronjobs"], _READ),
        _rule("policy", ["poddisruptionbudgets"], _READ),
        _rule("networking.k8s.io", ["networkpolicies"], _READ),
        _rule("apiextensions.k8s.io", ["customresourcedefinitions"], _READ),
        # Syncs of a rollout that goes through Argo CD, and its smoke checks.
        _rule("argoproj.io", ["applications"], [*_READ, "patch"]),
        _rule("", ["services/proxy"], ["get"]),
        _rule(ADMISSION_GROUP, [*_VALIDATING, *_MUTATING], _READ),
    ]
    eso_rules = [
        _rule("networking.k8s.io", ["networkpolicies"], _EDIT),
        # `doctor` logs in to Vault exactly as ESO does, to tell refusals apart. Whoever holds this can read what ESO
        # reads: leave it out where operators may not, and doctor says what it could not check.
        _rule("", ["serviceaccounts/token"], ["create"], [eso_service_account]),
    ]
    return [
        *_granted("pull-secrets-operator", group, cluster_rules),
        *_granted("pull-secrets-operator", group, eso_rules, eso_namespace),
    ]


def offboarder_roles(group: str) -> list[KubernetesObject]:
    """Return what `offboard --delete` needs beside an operator's role, bound to a group.

    RBAC cannot restrict it to tenants; the command refuses namespaces that no registry may be delivered to.
    """
    return _granted("pull-secrets-offboarder", group, [_rule("", ["namespaces"], ["delete"])])


def migrator_roles(group: str) -> list[KubernetesObject]:
    """Return what `adopt` and `cleanup` need beside an operator's role, bound to a group.

    They alone read Secrets: to compare hand-made credentials with the seeded one and to keep a backup of what they
    replace or delete. Take the group's members out again once the migration is over.
    """
    return _granted("pull-secrets-migrator", group, [_rule("", ["secrets"], ["get", "create", "update", "delete"])])


def _rule(api_group: str, resources: list[str], verbs: Iterable[str], names: Iterable[str] = ()) -> dict[str, Any]:
    rule: dict[str, Any] = {"apiGroups": [api_group], "resources": resources, "verbs": list(verbs)}
    return {**rule, "resourceNames": list(names)} if names else rule


def _granted(
    name: str, group: str, rules: list[dict[str, Any]], namespace: str | None = None
) -> list[KubernetesObject]:
    kind = "Role" if namespace else "ClusterRole"
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    api_version = f"{RBAC_GROUP}/v1"
    return [
        {"apiVersion": api_version, "kind": kind, "metadata": metadata, "rules": rules},
        {
            "apiVersion": api_version,
            "kind": f"{kind}Binding",
            "metadata": metadata,
            "roleRef": {"apiGroup": RBAC_GROUP, "kind": kind, "name": name},
            "subjects": [{"apiGroup": RBAC_GROUP, "kind": "Group", "name": group}],
        },
    ]
