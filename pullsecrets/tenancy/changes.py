"""What the next `pulumi up` would do to running tenants, from what the state holds and what the stack file declares."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, cast

from pullsecrets.config import StackConfig, Tenant
from pullsecrets.errors import BadInputError, PullSecretsError
from pullsecrets.kube import bindings
from pullsecrets.kube.bindings import read_bindings
from pullsecrets.manifests import builders

_OPT_IN = "pulumi-python:dynamic/pullsecrets:NamespaceOptIn"
_BINDING, _BINDINGS = (f"pulumi-python:dynamic/pullsecrets:{name}" for name in (bindings.ONE, bindings.MANY))
_RELEASE = "pulumi-python:dynamic/pullsecrets:NamespaceRelease"
_COMPONENT = "pullsecrets:index:TenantNamespace"
_NAMESPACE = "kubernetes:core/v1:Namespace"
_FANOUT = "kubernetes:external-secrets.io/v1:ClusterExternalSecret"
_NETWORK_POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
_MOST_NAMES = 10


class ChangeRefusedError(PullSecretsError):
    """A change would hurt running tenants and `guard.changes` is set to `refuse`."""


@dataclass(frozen=True)
class Change:
    """One effect, and the namespaces that have it."""

    effect: str
    hurts: bool
    """Whether Pods that run, or that start next, can miss something that they have now."""
    namespaces: tuple[str, ...] = ()
    affects_others: bool = False
    """Whether what the stack did not declare can miss something."""

    def __str__(self) -> str:
        """Name the effect and at most ten of the namespaces."""
        if not self.namespaces:
            return self.effect
        more = len(self.namespaces) - _MOST_NAMES
        names = ", ".join(self.namespaces[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
        return f"{self.effect}: {names}"


@dataclass(frozen=True)
class Before:
    """What the stack's state holds of an earlier run."""

    tenants: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    """Registries of each tenant namespace."""
    created: frozenset[str] = frozenset()
    """The tenant namespaces that the stack created."""
    deletable: frozenset[str] = frozenset()
    """Those of them that go with their tenant: `onLeave` was `delete` when they were last deployed."""
    handing_over: frozenset[str] = frozenset()
    """Namespaces that state holds as resources of the Kubernetes provider, which deletes what is not declared."""
    bound_apart: frozenset[str] = frozenset()
    """Namespaces that state holds bound one by one, and not yet with all others."""
    wrapped: bool = False
    """Whether state holds tenants as components."""
    selectors: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    """Opt-in labels of each registry."""
    egress: Any = None
    """The egress rules of ESO; None when the stack has no such NetworkPolicy."""

    @classmethod
    def of(cls, resources: Iterable[Mapping[str, Any]]) -> Self:
        """Read the state's resources, each with its `type` and its `outputs`."""
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for resource in resources:
            found[str(resource["type"])].append(cast("dict[str, Any]", resource.get("outputs") or {}))
        opted_in = {item["namespace"]: item for item in found[_OPT_IN]}
        native = {item["metadata"]["name"] for item in found[_NAMESPACE]}
        one_by_one = [*found[_BINDING], *found[_RELEASE]]
        apart = {name: bound for item in one_by_one for name, bound in read_bindings(item).items()}
        together = {name: bound for item in found[_BINDINGS] for name, bound in read_bindings(item).items()}
        tenants = {
            **{name: frozenset[str]() for name in native},
            **{name: frozenset(bound.secrets) for name, bound in [*apart.items(), *together.items()]},
            **{name: frozenset(map(str, item.get("registries") or ())) for name, item in opted_in.items()},
        }
        return cls(
            tenants=tenants,
            created=frozenset(native | {name for name, item in opted_in.items() if item.get("owner")}),
            deletable=frozenset(name for name, item in opted_in.items() if item.get("owner") and item.get("delete")),
            handing_over=frozenset(native - opted_in.keys()),
            bound_apart=frozenset(apart.keys() - together.keys()),
            wrapped=bool(found[_COMPONENT]),
            selectors={item["metadata"]["name"]: _first_selector(item["spec"]) for item in found[_FANOUT]},
            egress=next((item["spec"].get("egress") for item in found[_NETWORK_POLICY]), None),
        )


def require_handed_over(before: Before, config: StackConfig) -> None:
    """Refuse a run in which a namespace would be deleted because state is of an earlier version.

    Raises:
        BadInputError: when such a namespace is not declared any more.
    """
    lost = sorted(before.handing_over - {tenant.name for tenant in config.resolve_tenants()})
    if lost:
        raise BadInputError(
            f"tenants: {', '.join(lost)} left the stack file, and this stack's state is of an earlier version, in "
            "which a removed namespace is deleted with everything in it; put them back, run `pulumi up` once, and "
            "remove them then"
        )


def foresee(before: Before, config: StackConfig, labels: Mapping[str, Mapping[str, str]]) -> list[Change]:
    """Return what would change for tenants, what hurts first.

    Args:
        labels: of each namespace in the cluster.
    """
    tenants = {tenant.name: tenant for tenant in config.resolve_tenants()}
    found = [
        *_leaving(before, tenants),
        *_losing(before, config, tenants),
        *_unselected(before, config, tenants, labels),
        *_joining(before, tenants),
        *_moving(before, tenants),
        *_network(before, config),
    ]
    return sorted(found, key=lambda change: not change.hurts)


def require_harmless(config: StackConfig, changes: Iterable[Change]) -> None:
    """Refuse what would hurt, where the stack wants that.

    Raises:
        ChangeRefusedError: with each of these changes.
    """
    hurting = [str(change) for change in changes if change.hurts]
    if hurting and config.guard.changes == "refuse":
        raise ChangeRefusedError(
            "\n".join([*hurting, "guard.changes is 'refuse': change it to 'warn' in the same commit to continue"])
        )


def _leaving(before: Before, tenants: Mapping[str, Tenant]) -> Iterator[Change]:
    gone = sorted(before.tenants.keys() - tenants.keys())
    if kept := tuple(name for name in gone if name not in before.deletable):
        yield Change(
            "tenants that are removed; they lose their pull Secrets, the namespaces and all else in them stay",
            True,
            kept,
        )
    if lost := tuple(name for name in gone if name in before.deletable):
        yield Change("namespaces that are DELETED with everything in them (tenants.onLeave: delete)", True, lost)


def _losing(before: Before, config: StackConfig, tenants: Mapping[str, Tenant]) -> Iterator[Change]:
    lost: dict[str, list[str]] = defaultdict(list)
    for name, tenant in tenants.items():
        for registry in sorted(before.tenants.get(name, frozenset()) - set(tenant.registries)):
            lost[registry].append(name)
    for registry, names in lost.items():
        heir = _heir(before, config, registry)
        text = f"pull Secret {registry} is removed from"
        if heir:
            text = (
                f"pull Secret {registry} is replaced by {heir}; running Pods keep the old name and cannot pull again "
                "until they are replaced (kubectl rollout restart), in"
            )
        yield Change(text, True, tuple(names))


def _heir(before: Before, config: StackConfig, registry: str) -> str | None:
    """Return the registry that has another's labels now, as after a change of its name."""
    selector = before.selectors.get(registry)
    new = (item for item in config.registries if item.name not in before.selectors)
    return next((item.name for item in new if item.selector == selector), None)


def _unselected(
    before: Before, config: StackConfig, tenants: Mapping[str, Tenant], labels: Mapping[str, Mapping[str, str]]
) -> Iterator[Change]:
    """Find namespaces that somebody labelled by hand, for which a registry's label is another one now or none."""
    now = {registry.name: registry.selector for registry in config.registries}
    for name, selector in before.selectors.items():
        if selector == now.get(name):
            continue
        lost = [
            namespace
            for namespace, held in sorted(labels.items())
            if namespace not in tenants and selector.items() <= held.items()
            if not (name in now and now[name].items() <= held.items())
        ]
        if others := tuple(namespace for namespace in lost if namespace not in before.tenants):
            yield Change(
                f"namespaces that are not declared, have the former label of {name} and lose its Secret", True, others
            )
        if name in now and config.binding == "admission":
            yield Change(f"Pods that are created during this run may lack the entry for {name}", True)


def _joining(before: Before, tenants: Mapping[str, Tenant]) -> Iterator[Change]:
    joined: dict[str, list[str]] = defaultdict(list)
    for name, tenant in tenants.items():
        for registry in sorted(set(tenant.registries) - before.tenants.get(name, frozenset())):
            joined[registry].append(name)
    for registry, names in joined.items():
        yield Change(f"pull Secret {registry} is delivered to", False, tuple(names))


def _moving(before: Before, tenants: Mapping[str, Tenant]) -> Iterator[Change]:
    known = [tenant for tenant in tenants.values() if tenant.name in before.tenants]
    if given := tuple(tenant.name for tenant in known if tenant.adopt and tenant.name in before.created):
        yield Change("namespaces that are adopted from now on; nothing in them changes", False, given)
    if taken := tuple(tenant.name for tenant in known if not tenant.adopt and tenant.name not in before.created):
        yield Change("namespaces that are no longer adopted; nothing in them changes", False, taken)


def _network(before: Before, config: StackConfig) -> Iterator[Change]:
    declared = config.declares_egress and config.eso.distribution == "helm"
    wanted = builders.egress_rules(builders.EgressSpec.of(config)) if declared else None
    if before.egress is not None and before.egress != wanted:
        yield Change(f"ESO's network access changes: egress {before.egress} becomes {wanted}", True)
    elif before.egress is None and declared:
        yield Change(
            "vault.egress lets ESO reach Vault, DNS and the API server and nothing else from now on; what its other "
            f"stores read needs a NetworkPolicy of its own in namespace {config.eso.namespace}",
            False,
            affects_others=True,
        )


def _first_selector(spec: Mapping[str, Any]) -> dict[str, str]:
    selectors = cast("list[dict[str, Any]]", spec.get("namespaceSelectors") or [])
    return dict(selectors[0].get("matchLabels") or {}) if selectors else {}
