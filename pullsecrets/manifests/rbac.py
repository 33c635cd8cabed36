"""What the people and pipelines behind this project may do in a cluster: the least that each command needs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pullsecrets.kube.admission import GROUP as ADMISSION_GROUP
from pullsecrets.kube.marks import VERIFY_POD_NAME
from pullsecrets.kube.objects import KubernetesObject

PREFIX = "pull-secrets"
RBAC_GROUP = "rbac.authorization.k8s.io"
_READ = ("get", "list", "watch")
_VALIDATING = ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
_MUTATING = ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings")
_EDIT = (*_READ, "create", "update", "patch", "delete")


@dataclass(frozen=True)
class ServiceAccount:
    """A ServiceAccount that a role is bound to."""

    namespace: str
    name: str


@dataclass(frozen=True)
class Platform:
    """What of a stack stands above its tenants: what its administrator makes, and its deployers only look at."""

    eso_namespace: str
    """Namespace of External Secrets Operator, the only one in which NetworkPolicies are edited."""
    reviewers: Sequence[str] = ()
    """Token reviewers' bindings; no other binding can be changed, and none at all in a cluster without Vault."""
    relays: Sequence[str] = ()
    """Readers of relayed registries in ESO's namespace; no other role there can be changed."""
    sealed: bool = False
    """Whether a registry comes from a SealedSecret."""
    egress: bool = True
    """Whether the stack declares what ESO may reach."""
    distribution: str = "helm"
    """Of ESO; with `redhat` the way out to Vault stands in its operator's configuration."""
    guard: bool = True
    """Whether there is a guard in the cluster."""
    pod_admission: bool = False
    """Whether an admission policy appends to Pods."""

    @property
    def network_policy(self) -> bool:
        """Whether the stack has a NetworkPolicy of its own."""
        return self.egress and self.distribution == "helm"

    @property
    def policies(self) -> list[str]:
        """Kinds of the admission policies."""
        return [*(_VALIDATING if self.guard else ()), *(_MUTATING if self.pod_admission else ())]


def deployer_roles(group: str, platform: Platform, prefix: str = PREFIX) -> list[KubernetesObject]:
    """Return the roles of daily `pulumi` runs, bound to a group: tenants and what is delivered to them.

    What stands above tenants they read, as each run does before it begins, and change nothing of: a ClusterSecretStore
    that points at a listener would be sent ESO's token, and a MutatingAdmissionPolicy can change whatever passes it.

    Args:
        group: Kubernetes group of the deployers.
        prefix: of the roles' names.
    """
    cluster_rules = [
        _rule("external-secrets.io", ["clusterexternalsecrets"], _EDIT),
        # Coverage reads what ESO made of them.
        _rule("external-secrets.io", ["externalsecrets", "clustersecretstores"], _READ),
        # `patch` also takes ESO's finalizer off a namespace that left.
        _rule("", ["namespaces"], _EDIT),
        _rule("", ["serviceaccounts"], [*_READ, "patch"]),
        *([_rule(RBAC_GROUP, ["clusterrolebindings"], ["get"], platform.reviewers)] if platform.reviewers else ()),
        *([_rule(ADMISSION_GROUP, platform.policies, ["get"])] if platform.policies else ()),
    ]
    # Which ESO runs there, for `doctor --pre`.
    eso_rules = [_rule("apps", ["deployments"], ["list"])]
    if platform.network_policy:
        eso_rules.append(_rule("networking.k8s.io", ["networkpolicies"], ["get"]))
    if platform.relays:
        eso_rules.append(_rule(RBAC_GROUP, ["roles", "rolebindings"], ["get"], platform.relays))
    if platform.sealed:
        eso_rules.append(_rule("bitnami.com", ["sealedsecrets"], ["get"]))
    roles = _granted(f"{prefix}-deployer", group, cluster_rules)
    return [*roles, *_granted(f"{prefix}-deployer", group, eso_rules, platform.eso_namespace)]


def administrator_roles(group: str, platform: Platform, prefix: str = PREFIX) -> list[KubernetesObject]:
    """Return what it takes beside `deployer_roles` to make and change what stands above tenants, bound to a group.

    Whoever holds it can come by what ESO reads, so it is a role of its own: for the first `pulumi up` of a stack, and
    for changes of its stores, its guard, its egress and its relays.

    Args:
        group: Kubernetes group of the administrators.
        prefix: of the roles' names.
    """
    cluster_rules = [
        _rule("external-secrets.io", ["clustersecretstores"], _EDIT),
        *(_reviewer_rules(platform.reviewers) if platform.reviewers else ()),
        # Names differ by stack, and `create` cannot be restricted by name anyway.
        *([_rule(ADMISSION_GROUP, platform.policies, _EDIT)] if platform.policies else ()),
        *(_operator_rules() if platform.distribution == "redhat" and platform.egress else ()),
    ]
    eso_rules = [_rule("networking.k8s.io", ["networkpolicies"], _EDIT)] if platform.network_policy else []
    eso_rules += _relay_rules(platform.relays, sealed=platform.sealed) if platform.relays else []
    roles = _granted(f"{prefix}-administrator", group, cluster_rules)
    scoped = _granted(f"{prefix}-administrator", group, eso_rules, platform.eso_namespace) if eso_rules else []
    return [*roles, *scoped]


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


def _operator_rules() -> list[dict[str, Any]]:
    """What it takes to put our entry into the configuration of Red Hat's ESO operator, a singleton of this name.

    The operator makes the object. Pulumi patches it by server-side apply, reads it back, watches nothing (of a kind
    that it does not know), and leaves it on destroy.
    """
    return [_rule("operator.openshift.io", ["externalsecretsconfigs"], ["get", "patch"], ["cluster"])]


def _relay_rules(relays: Sequence[str], *, sealed: bool) -> list[dict[str, Any]]:
    """What it takes to declare relays, without the right to read the Secrets that they relay.

    `escalate` lets an administrator write rules that it does not have itself, into these roles and no other.
    """
    return [
        _rule("external-secrets.io", ["externalsecrets"], _EDIT),
        *([_rule("bitnami.com", ["sealedsecrets"], _EDIT)] if sealed else ()),
        _rule("", ["serviceaccounts"], ["create"]),
        _rule("", ["serviceaccounts"], ["update", "delete"], relays),
        _rule(RBAC_GROUP, ["roles", "rolebindings"], ["list", "watch", "create"]),
        _rule(RBAC_GROUP, ["rolebindings"], ["get", "update", "patch", "delete"], relays),
        _rule(RBAC_GROUP, ["roles"], ["get", "update", "patch", "delete", "escalate", "bind"], relays),
    ]


def monitoring_deployer_roles(
    group: str, namespace: str, clusters: Sequence[str], prefix: str = PREFIX, *, bind_watch: bool = False
) -> list[KubernetesObject]:
    """Return what administrators need beside `administrator_roles` where stacks have `monitoring.enabled`.

    The validation's ClusterRole lets it list Secrets, that of `bind --watch` change ServiceAccounts. `escalate` and
    `bind` let administrators write and bind the ClusterRoles of these names alone.

    Args:
        group: Kubernetes group of the administrators.
        namespace: `monitoring.namespace`. Who makes CronJobs there can run Pods under its ServiceAccounts.
        clusters: `cluster.name` of each stack.
        prefix: of the roles' names.
        bind_watch: whether `monitoring.bindWatch` is on.
    """
    jobs = [f"pull-secrets-{name}-audit" for name in clusters]
    rules = [f"pull-secrets-{name}" for name in clusters]
    maps = [*(f"{name}-stack" for name in jobs), *(f"{name}-dashboard" for name in rules)]
    watches = [f"pull-secrets-{name}-bind" for name in clusters] if bind_watch else []
    accounts = [*jobs, *watches]
    bindings = [*accounts, *(f"{name}-token-reviewer" for name in jobs)]
    changed = ("get", "update", "patch", "delete")
    cluster_rules = [
        _rule(RBAC_GROUP, ["clusterroles", "clusterrolebindings"], ["list", "watch", "create"]),
        _rule(RBAC_GROUP, ["clusterroles"], [*changed, "escalate", "bind"], accounts),
        _rule(RBAC_GROUP, ["clusterrolebindings"], changed, bindings),
    ]
    namespace_rules = [
        _rule("monitoring.coreos.com", ["prometheusrules"], ["list", "watch", "create"]),
        _rule("monitoring.coreos.com", ["prometheusrules"], changed, rules),
        _rule("", ["configmaps"], ["list", "watch", "create"]),
        _rule("", ["configmaps"], changed, maps),
        _rule("", ["serviceaccounts"], ["create"]),
        _rule("", ["serviceaccounts"], ["update", "delete"], accounts),
        _rule("batch", ["cronjobs"], ["list", "watch", "create"]),
        _rule("batch", ["cronjobs"], changed, jobs),
    ]
    if watches:
        namespace_rules += [
            _rule("apps", ["deployments"], ["list", "watch", "create"]),
            _rule("apps", ["deployments"], changed, watches),
        ]
    return [
        *_granted(f"{prefix}-monitoring-deployer", group, cluster_rules),
        *_granted(f"{prefix}-monitoring-deployer", group, namespace_rules, namespace),
    ]


def auditor_roles(
    subject: str | ServiceAccount,
    registries: Sequence[str],
    name: str = f"{PREFIX}-auditor",
    *,
    by_admission: bool = True,
) -> list[KubernetesObject]:
    """Return the role of the user who runs `pull-secrets audit`, and its binding.

    RBAC cannot permit metadata alone, so an auditor could read these Secrets; the command asks for metadata only. They
    are those of the registries' names and no others: RBAC honours `resourceNames` for a list whose field selector names
    the object (https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources).

    Args:
        subject: Kubernetes group of the auditors, or the ServiceAccount of the daily validation.
        registries: names of the stack's registries.
        name: of role and binding.
        by_admission: whether admission policies append to Pods, so that they are looked at.
    """
    rules = [
        # Without `pods` the report says that it does not know who uses a registry without opting in.
        _rule("", ["namespaces", "serviceaccounts", "pods"], ["list"]),
        _rule("", ["secrets"], ["list"], registries),
        _rule("external-secrets.io", ["externalsecrets", "clusterexternalsecrets", "clustersecretstores"], _READ),
        *([_rule(ADMISSION_GROUP, ["mutatingadmissionpolicybindings"], ["list"])] if by_admission else ()),
    ]
    return _granted(name, subject, rules)


def binder_roles(
    subject: str | ServiceAccount, accounts: Sequence[str], name: str = f"{PREFIX}-binder"
) -> list[KubernetesObject]:
    """Return the role of the user who runs `pull-secrets bind`, and its binding.

    RBAC can restrict neither a list nor a watch to these names, but what may be changed.

    Args:
        subject: Kubernetes group, or the ServiceAccount of `bind --watch`.
        accounts: names of the ServiceAccounts that tenants declare.
        name: of role and binding.
    """
    rules = [
        _rule("", ["serviceaccounts"], ["get", "list", "watch"]),
        _rule("", ["serviceaccounts"], ["patch"], accounts),
    ]
    return _granted(name, subject, rules)


def surveyor_roles(group: str, prefix: str = PREFIX) -> list[KubernetesObject]:
    """Return what it takes beside an auditor's or operator's role to see unmanaged pull Secrets.

    Whoever holds it could read every Secret of the cluster.
    """
    return _granted(f"{prefix}-surveyor", group, [_rule("", ["secrets"], ["list", "watch"])])


def operator_roles(
    group: str,
    platform: Platform,
    registries: Sequence[str],
    prefix: str = PREFIX,
    *,
    openshift: bool = True,
    rollout: bool = True,
) -> list[KubernetesObject]:
    """Return the role of the on-call who runs `rotate`, `doctor`, `offboard` and `rollout`, bound to a group.

    It reads what an auditor reads and how workloads fare, and changes what these commands change: labels, finalizers,
    annotations, ServiceAccounts' lists, Pods by eviction. Of Secrets it lists those of the registries' names.

    Args:
        group: Kubernetes group of the operators.
        registries: names of the stack's registries.
        prefix: of the roles' names.
        openshift: whether there are OpenShift's kinds, which name Secrets too.
        rollout: whether the stack has waves to roll out.
    """
    cluster_rules = [
        _rule("", ["namespaces", "serviceaccounts"], [*_READ, "patch"]),
        _rule("", ["secrets"], ["list", "watch"], registries),
        _rule("", ["pods", "events"], _READ),
        # Which of them verify who may use the images that they have.
        _rule("", ["nodes"], ["list"]),
        # Eviction and not deletion, so that PodDisruptionBudgets are respected.
        _rule("", ["pods/eviction"], ["create"]),
        _rule("external-secrets.io", ["externalsecrets", "clusterexternalsecrets"], [*_READ, "patch"]),
        _rule("external-secrets.io", ["clustersecretstores"], _READ),
        _rule("apps", ["deployments", "statefulsets", "daemonsets"], [*_READ, "patch"]),
        _rule("apps", ["replicasets"], _READ),
        _rule("batch", ["jobs", "cronjobs"], _READ),
        *(_openshift_rules() if openshift else ()),
        _rule("policy", ["poddisruptionbudgets"], _READ),
        _rule("networking.k8s.io", ["networkpolicies"], _READ),
        _rule("apiextensions.k8s.io", ["customresourcedefinitions"], _READ),
        # Who else may write beside the guarded Secrets.
        _rule(RBAC_GROUP, ["clusterroles", "clusterrolebindings", "roles", "rolebindings"], ["list"]),
        # Syncs of a rollout that goes through Argo CD, and its smoke checks.
        *([_rule("argoproj.io", ["applications"], [*_READ, "patch"])] if rollout else ()),
        *([_rule("", ["services/proxy"], ["get"])] if rollout else ()),
        # The digest of what is sealed, for `rotate`.
        *([_rule("bitnami.com", ["sealedsecrets"], _READ)] if platform.sealed else ()),
        *([_rule(ADMISSION_GROUP, platform.policies, _READ)] if platform.policies else ()),
    ]
    roles = _granted(f"{prefix}-operator", group, cluster_rules)
    if not platform.network_policy:
        return roles
    # What `doctor --fix` puts back.
    egress = [_rule("networking.k8s.io", ["networkpolicies"], _EDIT)]
    return [*roles, *_granted(f"{prefix}-operator", group, egress, platform.eso_namespace)]


def _openshift_rules() -> list[dict[str, Any]]:
    return [
        _rule("apps.openshift.io", ["deploymentconfigs"], _READ),
        _rule("build.openshift.io", ["buildconfigs"], _READ),
        # Where nodes pull from instead, and by whose login.
        _rule(
            "config.openshift.io",
            ["imagedigestmirrorsets", "imagetagmirrorsets", "criocredentialproviderconfigs"],
            ["list"],
        ),
        _rule("operator.openshift.io", ["imagecontentsourcepolicies"], ["list"]),
    ]


def diagnostician_roles(
    group: str, eso_namespace: str, eso_service_account: str, prefix: str = PREFIX
) -> list[KubernetesObject]:
    """Return what `doctor` needs beside an operator's role to log in to Vault exactly as ESO does, bound to a group.

    With it refusals by Vault are distinguished. Whoever holds it can read what ESO reads, so it is a role of its own:
    without it doctor says what it could not check.

    Args:
        group: Kubernetes group of those who may.
        eso_namespace: namespace of External Secrets Operator.
        eso_service_account: its ServiceAccount, the only one that they may have tokens of.
        prefix: of the roles' names.
    """
    rules = [_rule("", ["serviceaccounts/token"], ["create"], [eso_service_account])]
    return _granted(f"{prefix}-diagnostician", group, rules, eso_namespace)


def offboarder_roles(group: str, prefix: str = PREFIX) -> list[KubernetesObject]:
    """Return what `offboard --delete` needs beside an operator's role, bound to a group.

    RBAC cannot restrict it to tenants; the command refuses namespaces that no registry may be delivered to.
    """
    return _granted(f"{prefix}-offboarder", group, [_rule("", ["namespaces"], ["delete"])])


def migrator_roles(group: str, prefix: str = PREFIX) -> list[KubernetesObject]:
    """Return what `adopt` and `cleanup` need beside an operator's role, bound to a group.

    They alone read Secrets: to compare hand-made credentials with the seeded one and to keep a backup of what they
    replace or delete. Take the group's members out again once the migration is over.
    """
    return _granted(
        f"{prefix}-migrator", group, [_rule("", ["secrets"], ["get", "list", "create", "update", "delete"])]
    )


def verifier_roles(group: str, prefix: str = PREFIX) -> list[KubernetesObject]:
    """Return what `verify` and `rotate --verify` need beside an operator's role, bound to a group.

    Anyone who may create Pods in a namespace may mount its Secrets, and RBAC can restrict `create` by no name, so it is
    a role of its own; it deletes the Pods of that one name alone.

    Args:
        group: Kubernetes group of those who may.
        prefix: of the roles' names.
    """
    rules = [
        _rule("", ["pods"], ["create"]),
        _rule("", ["pods"], ["get", "delete"], [VERIFY_POD_NAME]),
        _rule("", ["namespaces", "nodes", "events"], ["list"]),
    ]
    return _granted(f"{prefix}-verifier", group, rules)


def _rule(api_group: str, resources: list[str], verbs: Iterable[str], names: Iterable[str] = ()) -> dict[str, Any]:
    rule: dict[str, Any] = {"apiGroups": [api_group], "resources": resources, "verbs": list(verbs)}
    return {**rule, "resourceNames": list(names)} if names else rule


def _granted(
    name: str, subject: str | ServiceAccount, rules: list[dict[str, Any]], namespace: str | None = None
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
            "subjects": [_subject(subject)],
        },
    ]


def _subject(subject: str | ServiceAccount) -> dict[str, str]:
    if isinstance(subject, ServiceAccount):
        return {"kind": "ServiceAccount", "name": subject.name, "namespace": subject.namespace}
    return {"apiGroup": RBAC_GROUP, "kind": "Group", "name": subject}
