"""Everything that is checked before the program declares its first resource, so that nothing is left half-written."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from pullsecrets.config import StackConfig, Tenant
from pullsecrets.credential import vault_entry
from pullsecrets.credential.sealed import SEALED_GROUP_VERSION, read_sealed, sealed_secret_path
from pullsecrets.credential.vault import VaultClient, VaultDeniedError
from pullsecrets.credential.vault_token import open_vault_of
from pullsecrets.errors import BadInputError, ConflictError, PullSecretsError
from pullsecrets.kube import marks, objects
from pullsecrets.kube.admission import MUTATING_SINCE, MUTATING_VERSIONS, mutating_version
from pullsecrets.kube.client import KubernetesApiError, KubernetesClient, served_kinds
from pullsecrets.kube.kubeconfig import Reach
from pullsecrets.kube.objects import path_of
from pullsecrets.manifests import builders, guard
from pullsecrets.manifests.monitoring import AuditAccessSpec
from pullsecrets.manifests.stack import platform_objects

Value = TypeVar("Value")

ESO_GROUP_VERSION = "/apis/external-secrets.io/v1"
MONITORING_GROUP_VERSION = "/apis/monitoring.coreos.com/v1"
VALIDATING = "ValidatingAdmissionPolicy"
ESO_KINDS = ("ClusterSecretStore", "ClusterExternalSecret", "ExternalSecret")


@dataclass(frozen=True)
class TokenReviews:
    """Where Vault has the cluster review tokens, as the configuration of its auth mount says it."""

    host: str = ""
    ca_cert: str | None = None
    """PEM certificates that sign the API server's; None for the system's own."""
    warnings: tuple[str, ...] = ()
    """What was taken from the kubeconfig, and the key that declares it."""


@dataclass(frozen=True)
class Environment:
    """What the preflight learned of the cluster and of Vault, for the components to build on."""

    reviews: TokenReviews
    auth_mount_exists: bool
    """Whether this stack's own auth mount is there, be it in state or from a run that was killed."""
    unpopulated: tuple[str, ...] = ()
    sealed: Mapping[str, objects.KubernetesObject] = field(default_factory=dict[str, objects.KubernetesObject])
    """The SealedSecret of each sealed registry, as its file holds it."""
    vault_address: str | None = None
    """Where this run reaches Vault; None for a stack without one. Only the provider is given it."""
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    """Labels of each namespace in the cluster."""
    pod_admission: str = MUTATING_VERSIONS[0]
    """Version of the policies that append to Pods, where the stack declares them."""


class GateError(PullSecretsError):
    """A Vault path holds no credential and the gate is set to `fail`."""


def inspect(
    config: StackConfig,
    stack: str,
    project: str = "pull-secrets",
    directory: Path = Path(),
    known: Collection[str] = (),
) -> Environment:
    """Look at the cluster and at Vault, and refuse to go on when the run could not succeed.

    Reads only, and of Vault only metadata.

    Args:
        stack: the stack's name, for the commands that errors recommend and for the ownership of objects.
        project: the Pulumi project's name.
        directory: the project's folder, which holds the files of sealed registries.
        known: namespaces that are the stack's tenants already, whoever created what has their names now.

    Raises:
        BadInputError: a sealed registry's file is missing or wrong, no kubeconfig, no Vault token, a KV mount of
            another version than the stack declares, an auth mount whose configuration is neither declared nor
            readable, no ESO or no sealed-secrets controller in the cluster that the stack needs, no admission policies
            or PrometheusRules that it asks for, a guard that would refuse this run's own labels, a namespace to adopt
            is not there.
        UnreachableError: the API server or Vault does not answer.
        ConflictError: an object, Vault policy or Vault role of this stack's names exists and belongs to another owner.
        GateError: `gate: fail` and a path without a credential.
    """
    cluster = KubernetesClient(Reach(context=config.cluster.context))
    sealed = {item.name: read_sealed(directory, config, item) for item in config.registries if item.sealed}
    vault = open_vault_of(config)
    with ThreadPoolExecutor(max_workers=4) as pool:
        served = pool.submit(require_eso, cluster)
        admitted = pool.submit(require_admission, cluster, config)
        labeler = pool.submit(require_labeler, cluster, config)
        owner = builders.owner(project, stack)
        owned = pool.submit(lambda: require_ownership(cluster, config, stack, owner, known, _version(admitted)))
        unsealing = pool.submit(require_sealed_secrets, cluster, config)
        monitored = pool.submit(require_monitoring, cluster, config)
        mounted = pool.submit(lambda: vault is not None and own_mount(config, vault, owner))
        versioned = pool.submit(lambda: vault and require_kv(config, vault))
        reading = pool.submit(lambda: vault and require_own_access(config, vault))
        empty = pool.submit(lambda: unpopulated(config, vault) if vault else ())
    _raise_all(served, admitted, labeler, owned, unsealing, monitored, mounted, versioned, reading, empty)
    missing = empty.result()
    if missing and config.gate == "fail":
        raise GateError("\n".join(gate_messages(config, missing, stack)))
    return Environment(
        reviews=token_reviews(config, vault, cluster, mounted=mounted.result()) if vault else TokenReviews(),
        auth_mount_exists=mounted.result(),
        unpopulated=missing,
        sealed=sealed,
        vault_address=vault.address if vault else None,
        labels=owned.result(),
        pod_admission=admitted.result(),
    )


def _version(admitted: Future[str]) -> str:
    """Return what `require_admission` found; where it refuses the cluster, any, as its refusal stands by itself."""
    return MUTATING_VERSIONS[0] if admitted.exception() else admitted.result()


def unpopulated(config: StackConfig, vault: VaultClient) -> tuple[str, ...]:
    """Return the names of registries whose Vault path holds no live version; reads metadata only."""
    if config.gate == "off":
        return ()
    return tuple(
        registry.name
        for registry in config.vault_registries
        if not ((found := vault.read_metadata(config.vault.mount, registry.path)) and found.live)
    )


def gate_messages(config: StackConfig, names: Iterable[str], stack: str) -> list[str]:
    """Return one message for each unpopulated registry: the path and the command to run."""
    return [
        f"Vault path {config.vault.mount}/{config.registry(name).path} holds no credential for registry {name!r}; "
        f"run: pull-secrets seed {name} --stack {stack} --from-file <dockerconfig.json>"
        for name in names
    ]


def _raise_all(*checks: Future[Any]) -> None:
    """Raise what the checks found, all of it at once, so that one run tells everything that is in the way."""
    found = {str(error): error for check in checks if (error := check.exception())}
    unexpected = next((error for error in found.values() if not isinstance(error, PullSecretsError)), None)
    if unexpected or len(found) == 1:
        raise unexpected or next(iter(found.values())) from None
    if found:
        raise PullSecretsError("\n".join(found)) from None


def own_mount(config: StackConfig, vault: VaultClient, stack_owner: str) -> bool:
    """Tell whether the stack's own auth mount is there already.

    Raises:
        BadInputError: it is not there, and the stack does not make it.
        ConflictError: what is there is not this stack's.
    """
    auth = config.vault.auth
    found = vault.auth_mounts().get(auth.mount)
    if found is None:
        if not auth.create:
            raise BadInputError(
                f"vault.auth.mount: found no auth mount {auth.mount!r} in Vault; allowed: an existing one, "
                "or vault.auth.create: true"
            )
        return False
    if not auth.create:
        return False
    if found["type"] != "kubernetes" or found["description"] != stack_owner:
        raise ConflictError(
            f"vault.auth.mount: {auth.mount!r} exists and was not made by this stack; set vault.auth.create: false to "
            "use it as it is, or give this stack another mount"
        )
    return True


def token_reviews(config: StackConfig, vault: VaultClient, cluster: KubernetesClient, *, mounted: bool) -> TokenReviews:
    """Return where Vault shall have tokens reviewed: as declared, else as it does already.

    The kubeconfig may lead through a tunnel that Vault does not have, so only the first run, which finds nothing in
    Vault, takes what is missing from there, and says so.

    Args:
        vault: Vault, whose auth mount is read when not everything is declared.
        cluster: the cluster as the kubeconfig reaches it.
        mounted: whether the stack's auth mount is there.

    Raises:
        BadInputError: not everything is declared, and what Vault has may not be read.
    """
    auth = config.vault.auth
    if not auth.create:
        return TokenReviews()
    declared = {"kubernetesHost": auth.kubernetes_host, "kubernetesCaCert": auth.kubernetes_ca_cert}
    missing = [f"vault.auth.{key}" for key, value in declared.items() if not value]
    live = _auth_config(vault, auth.mount, missing) if missing and mounted else None
    if live:
        return TokenReviews(
            auth.kubernetes_host or str(live["kubernetes_host"]),
            auth.kubernetes_ca_cert or live.get("kubernetes_ca_cert") or None,
        )
    warning = (
        f"{' and '.join(missing)}: not declared, and auth mount {auth.mount!r} in Vault has no configuration yet; "
        f"taken from this machine's kubeconfig, which reaches the API server at {cluster.server}: set what is right "
        "for Vault"
    )
    return TokenReviews(
        auth.kubernetes_host or cluster.server,
        auth.kubernetes_ca_cert or cluster.certificate_authority,
        (warning,) if missing else (),
    )


def _auth_config(vault: VaultClient, mount: str, missing: list[str]) -> dict[str, Any] | None:
    try:
        return vault.read_auth_config(mount)
    except VaultDeniedError as error:
        raise BadInputError(
            f"{' and '.join(missing)}: not declared, and what Vault has may not be read ({error}); declare it, or give "
            f"the token `read` on auth/{mount}/config"
        ) from None


def require_own_access(config: StackConfig, vault: VaultClient) -> None:
    """Refuse to take over Vault policies and roles of others, which bear no mark of who made them.

    A policy of ours grants `read` alone, and a role of ours hands out policies of this cluster alone. What is otherwise
    would lose what it grants today.

    Raises:
        ConflictError: naming each of them.
    """
    audit = AuditAccessSpec.of(config) if config.monitoring.enabled else None
    policies = [builders.vault_policy_name(config, registry) for registry in config.vault_registries]
    roles = [store.role for store in config.vault_stores]
    if audit:
        policies.append(audit.policy)
        roles.append(audit.role)
    taken = [
        f"Vault policy {name!r} exists and is not as this program writes it, JSON that grants `read` alone; remove it, "
        "or give the registry another name"
        for name in policies
        if not _only_reads(_readable(vault.read_policy, name))
    ]
    ours = (f"pull-secrets-{config.cluster.name}-", f"pull-secrets-audit.{config.cluster.name}")
    mount = config.vault.auth.mount
    for role in roles:
        found = _readable(vault.read_role, mount, role) or {}
        others = [name for name in found.get("token_policies") or () if not str(name).startswith(ours)]
        if others:
            taken.append(
                f"Vault role {role!r} at auth mount {mount!r} exists and hands out policies of others "
                f"({', '.join(others)}); remove it, or name other roles in vault.auth.role and monitoring.vaultRole"
            )
    if taken:
        raise ConflictError("\n".join(taken))


def _readable(read: Callable[..., Value | None], *arguments: str) -> Value | None:
    """Read what may be read: a deployer whose token writes without reading is told by nobody."""
    try:
        return read(*arguments)
    except VaultDeniedError:
        return None


def _only_reads(policy: str | None) -> bool:
    if policy is None:
        return True
    try:
        rules = json.loads(policy)["path"].values()
        return all(rule == {"capabilities": ["read"]} for rule in rules)
    except (ValueError, TypeError, KeyError, AttributeError):
        return False


def require_kv(config: StackConfig, vault: VaultClient) -> None:
    """Refuse a KV mount of another version than the stack declares.

    Raises:
        BadInputError: as `vault_entry.require_mount`.
    """
    # Who may not look at the mount may still be right about it: then the store's readiness tells.
    with suppress(VaultDeniedError):
        vault_entry.require_mount(vault, config)


def require_eso(cluster: KubernetesClient) -> None:
    """Refuse a cluster that does not serve the kinds of External Secrets Operator.

    Raises:
        BadInputError: with what is missing and how it is installed.
    """
    served = served_kinds(cluster, ESO_GROUP_VERSION)
    missing = [kind for kind in ESO_KINDS if kind not in served]
    if missing:
        raise BadInputError(
            f"External Secrets Operator: the cluster at {cluster.server} does not serve external-secrets.io/v1 "
            f"{', '.join(missing)}; install ESO 0.17 or newer with its CRDs: "
            "helm install external-secrets external-secrets/external-secrets -n external-secrets --create-namespace "
            "--set installCRDs=true (or Red Hat's External Secrets Operator 1.0 or newer)"
        )


def require_sealed_secrets(cluster: KubernetesClient, config: StackConfig) -> None:
    """Refuse a cluster without the controller that opens the stack's sealed registries.

    Raises:
        BadInputError: with the registries and how it is installed.
    """
    sealed = [registry.name for registry in config.registries if registry.sealed]
    if sealed and "SealedSecret" not in served_kinds(cluster, SEALED_GROUP_VERSION):
        raise BadInputError(
            f"registries: {', '.join(sealed)} have source: sealedSecret, and the cluster at {cluster.server} does not "
            "serve bitnami.com/v1alpha1 SealedSecret; install the controller: helm install sealed-secrets "
            "sealed-secrets/sealed-secrets -n kube-system (https://github.com/bitnami-labs/sealed-secrets)"
        )


def require_monitoring(cluster: KubernetesClient, config: StackConfig) -> None:
    """Refuse a cluster that has no place for what monitoring declares.

    Raises:
        BadInputError: no PrometheusRule kind, or no namespace of that name.
    """
    if not config.monitoring.enabled:
        return
    problems: list[str] = []
    if "PrometheusRule" not in served_kinds(cluster, MONITORING_GROUP_VERSION):
        problems.append(
            f"monitoring.enabled: found true, and the cluster at {cluster.server} does not serve "
            "monitoring.coreos.com/v1 PrometheusRule; install the Prometheus Operator with its CRDs (helm install "
            "monitoring oci://ghcr.io/prometheus-community/charts/kube-prometheus-stack -n monitoring "
            "--create-namespace), or set monitoring.enabled: false"
        )
    namespace = config.monitoring.namespace
    if cluster.find(objects.namespace_path(namespace)) is None:
        problems.append(
            f"monitoring.namespace: found no namespace {namespace!r} in the cluster; create it, or name the one of "
            "your Prometheus"
        )
    if problems:
        raise BadInputError("\n".join(problems))


def require_admission(cluster: KubernetesClient, config: StackConfig) -> str:
    """Refuse a cluster that does not serve the admission policies that the stack asks for.

    Returns:
        The version in which it serves those that append to Pods; the preferred one where the stack has none.

    Raises:
        BadInputError: naming each kind that is missing.
    """
    problems: list[str] = []
    if config.guard.mode != "off" and VALIDATING not in served_kinds(cluster, f"/apis/{guard.GROUP_VERSION}"):
        problems.append(
            f"guard.mode: found {config.guard.mode!r}, and the cluster at {cluster.server} does not serve {VALIDATING} "
            f"in {guard.GROUP_VERSION} (Kubernetes 1.30, OpenShift 4.17 and newer); set guard.mode: off, or upgrade "
            "the cluster"
        )
    version = mutating_version(cluster) if config.binding == guard.ADMISSION else MUTATING_VERSIONS[0]
    if version is None:
        problems.append(
            f"binding: found {config.binding!r}, and the cluster at {cluster.server} serves MutatingAdmissionPolicy in "
            f"none of {', '.join(MUTATING_VERSIONS)} ({MUTATING_SINCE}); set binding: serviceAccounts, or upgrade the "
            "cluster"
        )
    if problems or version is None:
        raise BadInputError("\n".join(problems))
    return version


def require_labeler(cluster: KubernetesClient, config: StackConfig) -> None:
    """Refuse a guard that would deny the opt-in labels of the very run that puts it up.

    Raises:
        BadInputError: when the guard lists neither our user nor one of our groups.
    """
    if config.guard.mode != "deny":
        return
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = cluster.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=review)
    user = cast("dict[str, Any]", answer["status"]["userInfo"])
    groups = cast("list[str]", user.get("groups") or [])
    if not guard.GuardSpec.of(config).may_label(user["username"], groups):
        raise BadInputError(
            f"guard.labelers: found neither user {user['username']!r}, as whom the kubeconfig identifies this run, nor "
            f"one of its groups ({', '.join(groups)}), so the guard would deny the run's own opt-in labels; "
            "add one of them, or run as a listed user"
        )


def require_ownership(
    cluster: KubernetesClient,
    config: StackConfig,
    stack: str,
    stack_owner: str,
    known: Collection[str],
    pod_admission: str = MUTATING_VERSIONS[0],
) -> dict[str, dict[str, str]]:
    """Refuse objects of others, and return the labels of all namespaces, which are listed for that anyway."""
    tenants = config.resolve_tenants()
    namespaces = {item["metadata"]["name"]: item for item in cluster.items("/api/v1/namespaces", metadata_only=True)}
    problems = [
        problem
        for tenant in tenants
        if tenant.adopt or tenant.name not in known
        if (problem := _namespace_problem(tenant, namespaces.get(tenant.name), stack_owner))
    ]
    if config.eso.namespace not in namespaces:
        raise BadInputError(
            f"eso.namespace: found no namespace {config.eso.namespace!r} in the cluster; allowed: the one ESO runs in"
        )
    for path in object_paths(config, stack, pod_admission):
        found = _find(cluster, path, stack)
        if found and _owner_of(found) != stack_owner:
            problems.append(
                f"{path} exists and {_described(_owner_of(found))}; remove it there, or give this stack another name"
            )
    if problems:
        raise ConflictError("\n".join(problems))
    return {name: dict(objects.labels_of(item)) for name, item in namespaces.items()}


def _find(cluster: KubernetesClient, path: str, stack: str) -> objects.KubernetesObject | None:
    try:
        return cluster.find(path)
    except KubernetesApiError as error:
        if error.status != 403:
            raise
        raise PullSecretsError(
            f"{error}; have an administrator of the cluster apply what `pull-secrets roles --stack {stack}` prints"
        ) from None


def _namespace_problem(tenant: Tenant, found: objects.KubernetesObject | None, stack_owner: str) -> str | None:
    if tenant.adopt:
        if found is None:
            return f"namespace {tenant.name!r} is to be adopted and does not exist; create it, or drop adopt: true"
        return None
    if found is None or _owner_of(found) == stack_owner:
        return None
    return (
        f"namespace {tenant.name!r} exists and {_described(_owner_of(found))}; "
        "set adopt: true for it, so that only the opt-in label is put on it and taken off again"
    )


def object_paths(config: StackConfig, stack: str, pod_admission: str = MUTATING_VERSIONS[0]) -> list[str]:
    """Return where everything stands that the program makes in the cluster, the tenants' namespaces aside.

    The configuration of Red Hat's ESO operator is the cluster's own, and patched.
    """
    made = [
        item for _, item in platform_objects(config, stack, pod_admission) if item["kind"] != "ExternalSecretsConfig"
    ]
    sealed = [sealed_secret_path(config, registry) for registry in config.registries if registry.sealed]
    return [*map(path_of, made), *sealed]


def _owner_of(found: objects.KubernetesObject) -> str | None:
    return objects.annotations_of(found).get(marks.STACK_ANNOTATION)


def _described(found_owner: str | None) -> str:
    return f"belongs to stack {found_owner!r}" if found_owner else "was not made by this program"
