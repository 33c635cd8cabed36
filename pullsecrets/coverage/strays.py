"""What coverage does not count: unmanaged Secrets, leftovers of ours, and use without opting in. By metadata."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from pullsecrets.config import Registry, StackConfig
from pullsecrets.coverage.inventory import Inventory
from pullsecrets.kube.marks import CONTENT_DIGEST_ANNOTATION, FINALIZER_PREFIX, LAST_APPLIED
from pullsecrets.kube.objects import (
    Object,
    annotations_of,
    controller_of,
    finalizers_of,
    labels_of,
    managed_fields,
    owners_of,
)
from pullsecrets.manifests import monitoring
from pullsecrets.manifests.rbac import ServiceAccount
from pullsecrets.names import is_platform_namespace
from pullsecrets.workloads.pods import PodPull

Concerned = Mapping[str, Collection[str]]
"""By registry: the namespaces that are declared or labelled for it."""


@dataclass(frozen=True)
class UnmanagedSecret:
    """A Secret that Pods may pull with and that our ExternalSecret does not own."""

    namespace: str
    name: str
    registry: str | None
    """The registry whose name it bears, so that Pods take it for ours; None for another name."""
    typed: bool
    """Whether it is a pull Secret by its type."""
    origin: str
    created: str
    service_accounts: tuple[str, ...]
    """ServiceAccounts that list it."""
    pods: int | None
    """Pods that name it; None where Pods cannot be listed."""
    exposed: bool
    """Whether `kubectl apply` left its content in an annotation, for everyone who may list metadata."""


@dataclass(frozen=True)
class Orphan:
    """Something of ours that nothing looks after any more."""

    kind: str
    """`Secret`, `ExternalSecret`, `ServiceAccount entry` or `finalizer`."""
    namespace: str
    registry: str
    name: str
    reason: str
    fix: str
    """Command that removes it, or has it looked after again."""


@dataclass(frozen=True)
class UndeclaredUse:
    """A namespace whose Pods pull from a registry although it is neither declared nor labelled for it."""

    namespace: str
    registry: str
    pods: int
    failing: int
    example: str
    """One of the Pods."""
    secrets: tuple[str, ...]
    """Pull Secrets that those Pods name."""


@dataclass(frozen=True)
class _Reference:
    """Who names a Secret of some namespace."""

    service_accounts: tuple[str, ...]
    pods: int | None


def unmanaged_secrets(config: StackConfig, found: Inventory, concerned: Concerned) -> tuple[UnmanagedSecret, ...]:
    """Return the unmanaged Secrets: pull Secrets of concerned namespaces, and a registry's name anywhere.

    A copy of ours that lost its owner is an orphan and not listed here.
    """
    tenants = {namespace for namespaces in concerned.values() for namespace in namespaces}
    names = {registry.name for registry in config.registries}
    relayed = {registry.name for registry in config.registries if registry.relayed}
    # What the daily validation's own image is pulled with, in a namespace that can be no tenant.
    validation = (config.monitoring.namespace, config.monitoring.image_pull_secret)
    mistyped = [
        (item, False)
        for registry in names
        for namespace, item in found.secrets[registry].items()
        if namespace not in found.typed[registry]
    ]
    typed = [(item, True) for item in found.pull_secrets]
    references = _references(found)
    listed = (
        _other(item, of_type, names, references)
        for item, of_type in [*typed, *mistyped]
        for namespace, name in [(item["metadata"]["namespace"], item["metadata"]["name"])]
        if (namespace in tenants or name in names)
        and not _delivered(item, found)
        and not _abandoned(item, names)
        and not (namespace == config.eso.namespace and name in relayed)
        and (namespace, name) != validation
    )
    return tuple(sorted(listed, key=lambda item: (item.namespace, item.name)))


def orphans(config: StackConfig, found: Inventory, concerned: Concerned) -> tuple[Orphan, ...]:
    """Return what this project put into namespaces that are neither declared nor labelled any more."""
    listed = [
        orphan
        for registry in config.registries
        for find in (_orphaned_secrets, _orphaned_external_secrets, _orphaned_entries, _orphaned_finalizers)
        for orphan in find(registry, found, concerned[registry.name])
        # What a relayed registry has in ESO's namespace is where the others read from.
        if not (registry.relayed and orphan.namespace == config.eso.namespace)
    ]
    return tuple(sorted(listed, key=lambda item: (item.namespace, item.registry, item.kind, item.name)))


def undeclared_uses(config: StackConfig, found: Inventory, concerned: Concerned) -> tuple[UndeclaredUse, ...]:
    """Return the namespaces whose Pods use a registry without opting in.

    Platform namespaces cannot opt in, nor can that of the daily validation; its own Pod, and the one that binds, are
    passed over.
    """
    own = {monitoring.account(config, job) for job in ("audit", "bind")}
    by_namespace: dict[str, list[PodPull]] = {}
    for pod in found.pods or ():
        if not is_platform_namespace(pod.namespace) and ServiceAccount(pod.namespace, pod.service_account) not in own:
            by_namespace.setdefault(pod.namespace, []).append(pod)
    return tuple(
        _use(registry, namespace, using)
        for registry in config.registries
        for namespace, pods in sorted(by_namespace.items())
        if namespace not in concerned[registry.name] and (using := [pod for pod in pods if pod.uses(registry)])
    )


def guess_origin(item: Object) -> str:
    """Say who most likely made an object: its owner, what tools note on it, or who wrote its fields first."""
    if owner := controller_of(item) or next(iter(owners_of(item)), None):
        return f"{owner['kind']} {owner['name']}"
    notes = {**labels_of(item), **annotations_of(item)}
    for tell in _TELLS:
        if origin := tell(notes):
            return origin
    managers = [str(field.get("manager", "")) for field in managed_fields(item)]
    known = next((_MANAGERS[name] for name in managers if name in _MANAGERS), None)
    return known or (f"field manager {managers[0]}" if managers and managers[0] else "unknown")


def _noted(key: str, text: str) -> Callable[[Mapping[str, str]], str | None]:
    """Tell an origin by a label or annotation; `{}` in the text stands for its value."""
    return lambda notes: text.format(notes[key]) if key in notes else None


def _valued(key: str, value: str, text: str) -> Callable[[Mapping[str, str]], str | None]:
    return lambda notes: text if notes.get(key) == value else None


_TELLS = (
    _noted("reflector.v1.k8s.emberstack.com/reflects", "Reflector, copied from {}"),
    _noted("reflector.v1.k8s.emberstack.com/reflection-allowed", "source of Reflector copies"),
    _noted("replicator.v1.mittwald.de/replicate-from", "kubernetes-replicator, copied from {}"),
    _noted("replicator.v1.mittwald.de/replicated-at", "kubernetes-replicator"),
    _noted("replicator.v1.mittwald.de/replicate-to", "source of kubernetes-replicator copies"),
    _noted("generate.kyverno.io/policy-name", "Kyverno policy {}"),
    _valued("app.kubernetes.io/managed-by", "kyverno", "Kyverno"),
    _valued("app.kubernetes.io/managed-by", "imagepullsecret-patcher", "imagepullsecret-patcher"),
    _noted("meta.helm.sh/release-name", "Helm release {}"),
    _valued("app.kubernetes.io/managed-by", "Helm", "Helm"),
    _noted("openshift.io/internal-registry-auth-token.service-account", "OpenShift, for ServiceAccount {}"),
    _noted("kubernetes.io/service-account.name", "Kubernetes, for ServiceAccount {}"),
    _noted("argocd.argoproj.io/tracking-id", "Argo CD, {}"),
    _noted("argocd.argoproj.io/instance", "Argo CD, {}"),
    _noted("kustomize.toolkit.fluxcd.io/name", "Flux Kustomization {}"),
    _noted(CONTENT_DIGEST_ANNOTATION, "copy of a Secret that we delivered"),
    _noted("reconcile.external-secrets.io/data-hash", "External Secrets Operator, without an owner"),
    _noted(LAST_APPLIED, "kubectl apply"),
)
_MANAGERS = {
    "kubectl-create": "kubectl create",
    "kubectl-client-side-apply": "kubectl apply",
    "kubectl": "kubectl apply --server-side",
    "kubectl-edit": "kubectl edit",
    "kubectl-replace": "kubectl replace",
    "oc": "oc create",
    "helm": "Helm",
    "argocd-controller": "Argo CD",
    "kustomize-controller": "Flux",
    "Mozilla": "a web console",
    "HashiCorp": "Terraform",
    "Terraform": "Terraform",
    "external-secrets": "External Secrets Operator, without an owner",
}
"""Names that clients give as field manager; without one, the first part of their User-Agent stands in."""


def _other(
    item: Object, typed: bool, names: Collection[str], references: Mapping[tuple[str, str], _Reference]
) -> UnmanagedSecret:
    metadata = item["metadata"]
    namespace, name = str(metadata["namespace"]), str(metadata["name"])
    return UnmanagedSecret(
        namespace=namespace,
        name=name,
        registry=name if name in names else None,
        typed=typed,
        origin=guess_origin(item),
        created=str(metadata.get("creationTimestamp", "")),
        service_accounts=references.get((namespace, name), references["", ""]).service_accounts,
        pods=references.get((namespace, name), references["", ""]).pods,
        exposed=LAST_APPLIED in annotations_of(item),
    )


def _references(found: Inventory) -> dict[tuple[str, str], _Reference]:
    """Who names which Secret; the empty key holds what is true of a Secret that nobody names."""
    accounts: dict[tuple[str, str], list[str]] = {}
    for namespace, listed in found.accounts.items():
        for account, entries in listed.items():
            for name in entries:
                accounts.setdefault((namespace, name), []).append(account)
    pods: dict[tuple[str, str], int] = {}
    for pod in found.pods or ():
        for name in pod.references:
            pods[pod.namespace, name] = pods.get((pod.namespace, name), 0) + 1
    readable = found.pods is not None
    return {
        key: _Reference(tuple(sorted(accounts.get(key, ()))), pods.get(key, 0) if readable else None)
        for key in [("", ""), *accounts, *pods]
    }


def _delivered(item: Object, found: Inventory) -> bool:
    """Whether the Secret is one that we deliver."""
    metadata = item["metadata"]
    name = str(metadata["name"])
    return name in found.external_secrets and found.delivery(name, str(metadata["namespace"])).delivered


def _abandoned(item: Object, names: Collection[str]) -> bool:
    ours = item["metadata"]["name"] in names and CONTENT_DIGEST_ANNOTATION in annotations_of(item)
    return ours and not owners_of(item)


def _orphaned_secrets(registry: Registry, found: Inventory, concerned: Collection[str]) -> Iterator[Orphan]:
    for namespace, item in found.secrets[registry.name].items():
        if _abandoned(item, (registry.name,)):
            # Of a tenant that is served it is what its Pods pull with, and no leftover: a restore takes the owner away.
            served = namespace in concerned
            reason = f"carries {CONTENT_DIGEST_ANNOTATION} and has no owner: {_RESTORED if served else _UNOWNED}"
            delete = f"kubectl delete secret {registry.name} --namespace {namespace}"
            fix = f"pull-secrets doctor {namespace} --fix" if served else delete
            yield Orphan("Secret", namespace, registry.name, registry.name, reason, fix)
        elif namespace not in concerned and _delivered(item, found):
            yield Orphan("Secret", namespace, registry.name, registry.name, _NOT_OPTED_IN, _offboard(namespace))


def _orphaned_external_secrets(registry: Registry, found: Inventory, concerned: Collection[str]) -> Iterator[Orphan]:
    for namespace in found.external_secrets[registry.name]:
        if namespace not in concerned and found.delivery(registry.name, namespace).fanned_out:
            fix = _offboard(namespace)
            yield Orphan("ExternalSecret", namespace, registry.name, registry.name, _NOT_OPTED_IN, fix)


def _orphaned_entries(registry: Registry, found: Inventory, concerned: Collection[str]) -> Iterator[Orphan]:
    for namespace, accounts in found.accounts.items():
        # A Secret of that name, whoever made it, is what the entry is for.
        if namespace in concerned or namespace in found.secrets[registry.name]:
            continue
        for account in (name for name, entries in accounts.items() if registry.name in entries):
            reason = f"lists {registry.name}, and there is no such Secret"
            yield Orphan("ServiceAccount entry", namespace, registry.name, account, reason, _offboard(namespace))


def _orphaned_finalizers(registry: Registry, found: Inventory, concerned: Collection[str]) -> Iterator[Orphan]:
    finalizer = f"{FINALIZER_PREFIX}{registry.name}"
    for namespace, item in found.namespaces.items():
        if namespace not in concerned and finalizer in finalizers_of(item):
            reason = "the namespace would hang in Terminating when it is deleted (ESO issue 6677)"
            yield Orphan("finalizer", namespace, registry.name, finalizer, reason, _offboard(namespace))


_UNOWNED = "nothing updates or removes it"
_RESTORED = "a restore or another writer removed it; ESO takes the Secret over again when it syncs"
_NOT_OPTED_IN = "the namespace is neither declared nor labelled"


def _offboard(namespace: str) -> str:
    return f"pull-secrets offboard {namespace}"


def _use(registry: Registry, namespace: str, pods: Iterable[PodPull]) -> UndeclaredUse:
    using = sorted(pods, key=lambda pod: pod.name)
    return UndeclaredUse(
        namespace=namespace,
        registry=registry.name,
        pods=len(using),
        failing=sum(pod.failure is not None for pod in using),
        example=using[0].name,
        secrets=tuple(sorted({name for pod in using for name in pod.references if name})),
    )
