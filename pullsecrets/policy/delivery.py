"""Judging what delivers pull Secrets: opt-in labels, stores, what they deliver, and how ServiceAccounts are bound."""

import re
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any, Final

from pullsecrets import names
from pullsecrets.data import UNKNOWN, Path, Values, could_be, dig, mapping, sequence, shown, texts
from pullsecrets.durations import parse_duration
from pullsecrets.guard.targets import describe
from pullsecrets.kube.marks import PULL_SECRET_KEY, PULL_SECRET_TYPE
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
from pullsecrets.policy.registries import REGISTRIES, hosts_of, known_registries, meant_by_key

_URL = "https://external-secrets.io/latest/api/clusterexternalsecret/"
_policy = partial(PolicyInfo, url=_URL, tags=("external-secrets", "kubernetes", "pull-secret"), settings=REGISTRIES)

OPT_IN: Final[PolicyInfo] = _policy(
    name="restrict-opt-in-labels",
    title="Restrict the opt-in label to the registry's namespaces",
    description="Only namespaces inside the registry's patterns carry the label that grants a pull Secret.",
    level=Level.MANDATORY,
    severity=Severity.HIGH,
    remediation=(
        "Remove the label, or name the namespace by one of the registry's patterns (`registries[].namespaces` of "
        "the stack). Namespaces of the cluster itself never carry it."
    ),
)

DELIVERY: Final[PolicyInfo] = _policy(
    name="configure-safe-delivery",
    title="Configure delivery so that it reaches tenants only and lasts",
    description="Stores have conditions, and deliver an owned dockerconfigjson Secret to tenants only.",
    level=Level.MANDATORY,
    severity=Severity.HIGH,
    remediation=(
        "Declare delivery with the components `VaultClusterSecretStore` and `RegistryPullSecret`, or change the field "
        "that the message names to what it allows."
    ),
    settings={
        **REGISTRIES,
        "refresh": {
            "type": "object",
            "description": "Shortest and longest time between two readings of Vault.",
            "properties": {"shortest": {"type": "string"}, "longest": {"type": "string"}},
            "additionalProperties": False,
            "default": {"shortest": "1m", "longest": "24h"},
        },
    },
)

BINDING: Final[PolicyInfo] = _policy(
    name="require-append-safe-binding",
    title="Require append-safe binding of ServiceAccounts",
    description="ServiceAccounts get pull Secrets appended; declaring their list would drop every other entry.",
    level=Level.MANDATORY,
    severity=Severity.HIGH,
    remediation=(
        "Bind with the component `ImagePullSecretBinding` (or `TenantNamespace`, which contains it): it appends and "
        "removes only its own entry. `imagePullSecrets` is an atomic list: declaring it replaces it whole."
    ),
    url="https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/",
)

_ESO = "external-secrets.io"
_JUDGED = ("ClusterExternalSecret", "ClusterSecretStore", "ExternalSecret")
_KEY = re.compile(r'"([^"{}\s]+)"\s*:\s*\{')


# Opt-in labels.


def judge_opt_in(item: Values, settings: Settings) -> Iterator[Finding]:
    """Find an opt-in label on a namespace where the registry's patterns do not permit it."""
    if (group_of(item), kind_of(item)) != ("", "Namespace"):
        return
    path: Path = ("metadata", "labels")
    labels = dig(item, path)
    registries = known_registries(OPT_IN, settings)
    refused = [registry for registry in registries if not (named(item) and registry.permits(named(item)))]
    if is_unknown(labels) and refused:
        yield unknown(describe(item), path, "state the labels as plain texts")
    for registry in refused:
        if registry.could_be_granted_by(mapping(labels)):
            yield Finding(
                f"{describe(item)} carries the label that grants {registry.name}",
                f"remove the label, or use a namespace that matches {', '.join(registry.namespaces)}",
                (*path, next(iter(registry.selector))),
            )


# Stores and what they deliver.


def judge_delivery(item: Values, settings: Settings) -> Iterator[Finding]:
    """Find what is unsafe about a ClusterSecretStore, a ClusterExternalSecret or a pull Secret's ExternalSecret."""
    if group_of(item) != _ESO:
        return
    kind = kind_of(item)
    if kind in _JUDGED and is_unknown(item.get("spec")):
        yield unknown(describe(item), ("spec",), "state it as plain values")
    elif kind == "ClusterSecretStore" and _reads_our_sources(item):
        yield from _conditions(item)
    elif kind == "ClusterExternalSecret":
        spec: Path = ("spec", "externalSecretSpec")
        name = dig(item, (*spec, "target", "name")) or named(item)
        if _makes_a_login(item, spec) or any(
            could_be(name, known.name) for known in known_registries(DELIVERY, settings)
        ):
            yield from _namespaces(item)
            yield from _delivered(item, spec, settings)
            yield from _interval(item, ("spec", "refreshTime"), settings)
    elif kind == "ExternalSecret" and _makes_a_login(item, ("spec",)):
        yield from _delivered(item, ("spec",), settings)


def _reads_our_sources(store: Values) -> bool:
    """Tell whether a store reads Vault or a relay's namespace, or could; those of clouds and the like are not ours."""
    provider = dig(store, ("spec", "provider"))
    return not mapping(provider) or bool({"vault", "kubernetes"} & mapping(provider).keys())


def _makes_a_login(item: Values, spec: Path) -> bool:
    """Tell whether an ExternalSecret makes a pull Secret, or could, by the type or the key that such have."""
    template: Path = (*spec, "target", "template")
    listed = [dig(entry, ("secretKey",)) for entry in sequence(dig(item, (*spec, "data")))]
    keys = [*mapping(dig(item, (*template, "data"))), *listed]
    return could_be(dig(item, (*template, "type")), PULL_SECRET_TYPE) or PULL_SECRET_KEY in keys


def _conditions(item: Values) -> Iterator[Finding]:
    path: Path = ("spec", "conditions")
    conditions = dig(item, path)
    fix = "give it conditions with a namespaceSelector on the opt-in label, so that no other namespace can use it"
    if is_unknown(conditions):
        yield unknown(describe(item), path, fix)
    elif not sequence(conditions):
        yield Finding(f"{describe(item)} has no conditions, so any namespace can read through it", fix, ("spec",))
    for index, condition in enumerate(sequence(conditions)):
        values = mapping(condition)
        if is_unknown(condition) or "namespaceSelector" in values or not values:
            yield from _selector(item, values.get("namespaceSelector", condition), (*path, index), fix)
        if _admits_platform(values):
            yield Finding(f"{describe(item)} can be used from namespaces of the cluster itself", fix, (*path, index))


def _admits_platform(condition: Values) -> bool:
    listed, patterns = condition.get("namespaces"), condition.get("namespaceRegexes")
    if is_unknown(listed) or is_unknown(patterns):
        return True
    return any(names.is_platform_namespace(str(name)) for name in sequence(listed)) or any(
        _matches(str(pattern), name) for pattern in sequence(patterns) for name in names.PLATFORM_NAMESPACES
    )


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:
        # ESO reads other regular expressions than Python: what this one takes in cannot be told.
        return True


def _namespaces(item: Values) -> Iterator[Finding]:
    fix = "select on the opt-in label with matchLabels"
    spec: Path = ("spec",)
    several = dig(item, (*spec, "namespaceSelectors"))
    if is_unknown(several):
        yield unknown(describe(item), (*spec, "namespaceSelectors"), fix)
    for index, selector in enumerate(sequence(several)):
        yield from _selector(item, selector, (*spec, "namespaceSelectors", index), fix)
    if (single := dig(item, (*spec, "namespaceSelector"))) is not None:
        yield from _selector(item, single, (*spec, "namespaceSelector"), fix)
    listed = dig(item, (*spec, "namespaces"))
    for index, name in enumerate([listed] if is_unknown(listed) else sequence(listed)):
        if is_unknown(name) or names.is_platform_namespace(str(name)):
            problem = f"{describe(item)} could deliver into a namespace of the cluster itself"
            yield Finding(problem, "name tenants only", (*spec, "namespaces", index))


def _selector(item: Values, selector: Any, path: Path, fix: str) -> Iterator[Finding]:
    if is_unknown(selector):
        yield unknown(describe(item), path, fix)
        return
    labels, expressions = mapping(mapping(selector).get("matchLabels")), mapping(selector).get("matchExpressions")
    keys = [*labels, *(str(mapping(expression).get("key")) for expression in sequence(expressions))]
    operators = [mapping(expression).get("operator") for expression in sequence(expressions)]
    if not keys:
        problem = "has an empty selector, which takes in every namespace"
    elif any(operator != "In" for operator in operators):
        problem = "selects namespaces by what they lack or happen to have, which takes in the cluster's own"
    elif all(_is_set_by_the_cluster(key) for key in keys):
        problem = "selects namespaces by labels that the cluster itself sets"
    else:
        return
    yield Finding(f"{describe(item)} {problem}", fix, path)


def _is_set_by_the_cluster(key: str) -> bool:
    return key.partition("/")[0].endswith(("kubernetes.io", "k8s.io", "openshift.io"))


def _delivered(item: Values, spec: Path, settings: Settings) -> Iterator[Finding]:
    target: Path = (*spec, "target")
    rules = (
        ((*target, "template", "type"), (PULL_SECRET_TYPE,), False),
        ((*target, "creationPolicy"), ("Owner",), True),
        ((*target, "deletionPolicy"), ("Retain",), True),
        ((*spec, "refreshPolicy"), ("Periodic",), True),
    )
    for path, allowed, optional in rules:
        value = dig(item, path)
        if is_unknown(value):
            yield unknown(describe(item), path, f"set it to {allowed[0]}")
        elif value not in allowed and not (optional and value is None):
            yield Finding(f"{describe(item)}: {shown(path)} is not {allowed[0]}", f"set it to {allowed[0]}", path)
    yield from _interval(item, (*spec, "refreshInterval"), settings)
    yield from _template_hosts(item, (*target, "template"), settings)


def _interval(item: Values, path: Path, settings: Settings) -> Iterator[Finding]:
    value = dig(item, path)
    if value is None:
        return
    bounds = mapping(DELIVERY.setting(settings, "refresh"))
    shortest, longest = str(bounds.get("shortest", "1m")), str(bounds.get("longest", "24h"))
    fix = f"set it to a duration between {shortest} and {longest}, such as 1h"
    if is_unknown(value):
        yield unknown(describe(item), path, fix)
    elif not parse_duration(shortest) <= _duration(value) <= parse_duration(longest):
        problem = f"{describe(item)}: {shown(path)} is out of bounds, so a rotated credential comes late or never"
        yield Finding(problem, fix, path)


def _duration(value: Any) -> timedelta:
    try:
        return parse_duration(value) if isinstance(value, str) else timedelta(0)
    except ValueError:
        return timedelta(0)


def _template_hosts(item: Values, path: Path, settings: Settings) -> Iterator[Finding]:
    registries = known_registries(DELIVERY, settings)
    for where, text in texts(dig(item, path)):
        keys = _KEY.findall(text) if "auths" in text else []
        meant = {found.name: found for key in keys if (found := meant_by_key(registries, key))}
        for registry in meant.values():
            problem = f"{describe(item)} delivers a login for {registry.name} under another key than its host"
            yield Finding(problem, f"use {' or '.join(registry.hosts)}", (*path, *where))


def judge_delivery_resource(resource: Resource, settings: Settings) -> Iterator[Finding]:
    """Find what is unsafe about a resource that takes part in delivery."""
    for item in every_object(resource):
        yield from judge_delivery(item, settings)
    if resource.is_of_ours("KvMetadata"):
        path: Path = ("custom", "hosts")
        hosts, canonical = dig(resource.props, path), hosts_of(known_registries(DELIVERY, settings))
        fix = f"use {' or '.join(canonical)}"
        if is_unknown(hosts):
            yield unknown(f"KvMetadata {resource.name}", path, fix)
        elif not set(str(hosts or "").split(",")) <= {*canonical, ""}:
            yield Finding(f"KvMetadata {resource.name} records a host that is not canonical", fix, path)


# ServiceAccounts.


def judge_binding(item: Values, settings: Settings) -> Iterator[Finding]:
    """Find a ServiceAccount that is declared with a list that names a registry's pull Secret."""
    if (group_of(item), kind_of(item)) != ("", "ServiceAccount"):
        return
    path: Path = ("imagePullSecrets",)
    listed = {registry.name for registry in known_registries(BINDING, settings)}
    entries = [UNKNOWN] if is_unknown(item.get(path[0])) else [dig(e, ("name",)) for e in sequence(item.get(path[0]))]
    if any(could_be(entry, name) for entry in entries for name in listed):
        yield _replaces_list(item, path)


def judge_binding_resource(resource: Resource, settings: Settings) -> Iterator[Finding]:
    """Find a ServiceAccount resource that replaces a list of pull Secrets; as a patch it may name none at all."""
    for item in every_object(resource):
        if resource.is_patch and kind_of(item) == "ServiceAccount" and item.get("imagePullSecrets") is not None:
            yield _replaces_list(item, ("imagePullSecrets",))
        else:
            yield from judge_binding(item, settings)


def _replaces_list(item: Values, path: Path) -> Finding:
    problem = f"{describe(item)} is declared with imagePullSecrets, which replaces every existing entry"
    return Finding(problem, "bind it with ImagePullSecretBinding, which appends", path)
