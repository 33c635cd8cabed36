"""Judging a stack's delivery as a whole: the way to Vault is open, and every bound tenant is labelled."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pullsecrets.data import Path, Values, could_be, dig, dig_all, mapping, sequence
from pullsecrets.guard.targets import describe
from pullsecrets.kube import bindings
from pullsecrets.kube.objects import group_of, kind_of
from pullsecrets.policy.model import (
    Finding,
    Level,
    PolicyInfo,
    Resource,
    Settings,
    Severity,
    every_object,
    is_unknown,
    named,
    unknown,
)
from pullsecrets.policy.registries import REGISTRIES, KnownRegistry, known_registries

COMPLETE: Final = PolicyInfo(
    name="require-complete-delivery",
    title="Require all parts of delivery in the stack",
    description="A stack with a Vault store also permits egress to Vault, and labels every tenant that it binds.",
    level=Level.MANDATORY,
    severity=Severity.MEDIUM,
    remediation=(
        "Declare `EsoEgress` beside the store, and each tenant with `TenantNamespace`, which puts the opt-in label on "
        "the namespace whose ServiceAccounts it binds."
    ),
    url="https://external-secrets.io/latest/guides/security-best-practices/",
    tags=("external-secrets", "kubernetes", "pull-secret"),
    settings={
        **REGISTRIES,
        "tenants": {
            "type": "array",
            "description": "Namespaces that must carry an opt-in label, beside those that the stack binds.",
            "items": {"type": "string"},
            "default": [],
        },
        "egress": {
            "type": "boolean",
            "description": "Whether a store needs an egress rule beside it; false where others see to egress.",
            "default": True,
        },
    },
)

_ESO = "external-secrets.io"


@dataclass
class _Delivery:
    """What one stack, or one set of files, declares of delivery; each object with what finds it again."""

    stores: list[tuple[Values, str | None]] = field(default_factory=list[tuple[Values, str | None]])
    egress: set[str] = field(default_factory=set[str])
    operator_egress: bool = False
    selectors: dict[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    labels: dict[str, dict[str, Any]] = field(default_factory=lambda: defaultdict[str, dict[str, Any]](dict))
    bound: list[tuple[str, Sequence[Any], str]] = field(default_factory=list[tuple[str, Sequence[Any], str]])

    def add(self, item: Values, where: str | None) -> None:
        """Take an object in."""
        kind = (group_of(item), kind_of(item))
        if kind == (_ESO, "ClusterSecretStore") and dig(item, ("spec", "provider", "vault")) is not None:
            self.stores.append((item, where))
        elif kind == ("networking.k8s.io", "NetworkPolicy") and dig(item, ("spec", "egress")):
            self.egress.add(str(dig(item, ("metadata", "namespace"))))
        elif kind == ("operator.openshift.io", "ExternalSecretsConfig"):
            policies = dig(item, ("spec", "controllerConfig", "networkPolicies"))
            self.operator_egress = self.operator_egress or bool(policies)
        elif kind == (_ESO, "ClusterExternalSecret"):
            target = dig(item, ("spec", "externalSecretSpec", "target", "name")) or named(item)
            for _, labels in dig_all(item, ("spec", "namespaceSelectors", "*", "matchLabels")):
                self.selectors[str(target)] = mapping(labels)
        elif kind == ("", "Namespace"):
            self.labels[named(item)].update(mapping(dig(item, ("metadata", "labels"))))

    def missing_egress(self, settings: Settings) -> Iterator[Finding]:
        """Find stores without an egress rule in the namespace that reads through them."""
        if not COMPLETE.setting(settings, "egress"):
            return
        account: Path = ("spec", "provider", "vault", "auth", "kubernetes", "serviceAccountRef", "namespace")
        for item, where in self.stores:
            namespace = dig(item, account) or "external-secrets"
            if not self.operator_egress and namespace not in self.egress:
                yield Finding(
                    f"{describe(item)} has no egress NetworkPolicy to Vault beside it in namespace {namespace}",
                    "declare EsoEgress: where egress is denied by default, External Secrets Operator hangs without it",
                    ("spec",),
                    where,
                )

    def missing_labels(self, registries: Iterable[KnownRegistry]) -> Iterator[Finding]:
        """Find namespaces whose ServiceAccounts are bound to a pull Secret that no label grants them."""
        selectors = {**{registry.name: registry.selector for registry in registries}, **self.selectors}
        for namespace, secrets, urn in self.bound:
            for secret in (str(name) for name in secrets if str(name) in selectors):
                if not self._carries(namespace, selectors[secret]):
                    problem = f"tenant {namespace} is bound to {secret}, and its opt-in label is not declared"
                    yield Finding(problem, "declare the tenant with TenantNamespace", (), urn)

    def unlabelled(self, tenants: Iterable[str], registries: Iterable[KnownRegistry]) -> Iterator[Finding]:
        """Find tenants of the settings that no label grants any registry."""
        known = [registry.selector for registry in registries]
        for tenant in tenants:
            if not any(self._carries(tenant, selector) for selector in known):
                yield Finding(f"tenant {tenant} has no opt-in label", "declare the tenant with TenantNamespace")

    def _carries(self, namespace: str, selector: Mapping[str, Any]) -> bool:
        labels = self.labels.get(namespace, {})
        return all(could_be(labels.get(key), str(value)) for key, value in selector.items())


def judge_stack(resources: Iterable[Resource], settings: Settings) -> Iterator[Finding]:
    """Find what a stack's delivery lacks; resources of several stacks are judged stack by stack."""
    stacks: dict[str, _Delivery] = defaultdict(_Delivery)
    for resource in resources:
        delivery = stacks[resource.stack]
        for item in every_object(resource):
            delivery.add(item, resource.urn)
        for namespace, secrets in _bindings(resource):
            if isinstance(namespace, str) and not is_unknown(secrets):
                delivery.bound.append((namespace, sequence(secrets), resource.urn))
            else:
                yield _unknown_binding(resource)
    registries = known_registries(COMPLETE, settings)
    tenants = [str(name) for name in sequence(COMPLETE.setting(settings, "tenants"))]
    for delivery in stacks.values():
        yield from delivery.missing_egress(settings)
        yield from delivery.missing_labels(registries)
        yield from delivery.unlabelled(tenants, registries)


def _bindings(resource: Resource) -> Iterator[tuple[Any, Any]]:
    """Yield namespace and Secrets of each binding that a resource stands for."""
    if resource.is_of_ours(bindings.ONE):
        yield resource.props.get("namespace"), resource.props.get("secrets")
    elif resource.is_of_ours(bindings.MANY):
        namespaces = resource.props.get("namespaces")
        if is_unknown(namespaces):
            yield namespaces, namespaces
        for namespace, bound in mapping(namespaces).items():
            yield namespace, bound if is_unknown(bound) else mapping(bound).get("secrets")


def _unknown_binding(resource: Resource) -> Finding:
    found = unknown(f"{resource.token.rpartition(':')[2]} {resource.name}", ("namespace",), "give it plain texts")
    return replace(found, urn=resource.urn)


_PARTS: Final = frozenset(
    {
        (_ESO, "ClusterSecretStore"),
        ("networking.k8s.io", "NetworkPolicy"),
        ("operator.openshift.io", "ExternalSecretsConfig"),
    }
)


def takes_part(item: Values) -> bool:
    """Tell whether an object is a store, or could be the egress rule of one."""
    return (group_of(item), kind_of(item)) in _PARTS


def stores_without_egress(items: Iterable[tuple[Values, str]], settings: Settings) -> Iterator[Finding]:
    """Find stores in a set of files that hold no egress rule for them; each object comes with its place."""
    delivery = _Delivery()
    for item, where in items:
        delivery.add(item, where)
    yield from delivery.missing_egress(settings)
