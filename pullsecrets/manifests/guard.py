"""Admission policies as plain objects: who may write what is guarded, who may opt a namespace in, and Pods' entries.

The API server evaluates them itself, so they hold for every client and need no webhook. What is guarded comes from
`pullsecrets.guard`. A policy that matches kinds which the cluster does not serve is valid and idle.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from pullsecrets.config.model import Registry, StackConfig
from pullsecrets.guard import GUARDED_FIELDS, GUARDED_OBJECTS, KUBELET_AUTH_FILE, MACHINE_CONFIG
from pullsecrets.kube.admission import GROUP, MUTATING_VERSIONS
from pullsecrets.kube.marks import STANDARD_LABELS
from pullsecrets.kube.objects import KubernetesObject
from pullsecrets.names import pattern_to_regex

GROUP_VERSION: Final = f"{GROUP}/v1"
ADMISSION: Final = "admission"

ADMINISTRATORS: Final = "system:masters"
"""The group that stands above RBAC: the installer's kubeconfig, and HyperShift's own operators in hosted clusters."""

_EXTENSIONS: Final = "apiextensions.k8s.io"
_ACTIONS: Final = {"deny": ["Deny"], "warn": ["Warn", "Audit"]}
_OBJECT = '(request.operation == "DELETE" ? oldObject : object)'
_NAME = f'{_OBJECT}.metadata.?name.orValue("")'
_IDENTITY = (
    f'request.resource.group + "/" + request.resource.resource + "/" + request.?namespace.orValue("") + "/" + {_NAME}'
)
_AFTER = "object.metadata.?labels.orValue({})"
_BEFORE = '(request.operation == "CREATE" ? {} : oldObject.metadata.?labels.orValue({}))'
_USER = 'request.userInfo.username + " "'

# Ignition cleans paths and follows `..`; nobody needs either in a MachineConfig.
_SEPARATOR = r"/(\.?/)*"
_PARTS = [part.replace(".", r"\.") for part in KUBELET_AUTH_FILE.split("/")]
_AUTH_FILE_PATTERN = _SEPARATOR.join(_PARTS)
_ABOVE_PATTERN = "|".join(_SEPARATOR.join(_PARTS[:length]) for length in range(2, len(_PARTS)))
_BY_PARENTS = r"[^\s\"'=:,]*/\.\./[^\s\"'=:,]*"
# Units pull images with the kubelet's logins; that reads the file, and a login or logout with it writes it.
_READS_PATTERN = r"(--authfile[= ]|REGISTRY_AUTH_FILE=|ConditionPathExists=)[\"']?" + _AUTH_FILE_PATTERN
_LOGIN_PATTERN = r"\blog(in|out)\b"


@dataclass(frozen=True)
class GuardSpec:
    """What the guard is made of; the arguments of the `ClusterPullSecretGuard` component."""

    name: str
    mode: str
    break_glass_groups: Sequence[str]
    writer_users: Sequence[str]
    writer_groups: Sequence[str]
    labeler_users: Sequence[str]
    labeler_groups: Sequence[str]
    grants: Sequence[Mapping[str, Any]]
    """For each registry its name, selector and namespace patterns."""

    @classmethod
    def of(cls, config: StackConfig) -> Self:
        """Take the values from a stack's configuration."""
        guard = config.guard
        return cls(
            name=_prefix(config),
            mode=guard.mode,
            break_glass_groups=(guard.break_glass_group, ADMINISTRATORS),
            writer_users=(*guard.platform.users, *guard.writers.users),
            writer_groups=(*guard.platform.groups, *guard.writers.groups),
            labeler_users=guard.labelers.users,
            labeler_groups=guard.labelers.groups,
            grants=[
                {"registry": item.name, "selector": item.selector, "namespaces": list(item.namespaces)}
                for item in config.registries
            ],
        )

    def may_label(self, user: str, groups: Iterable[str]) -> bool:
        """Tell whether a user may put opt-in labels on namespaces and take them off."""
        return user in self.labeler_users or bool({*groups} & {*self.labeler_groups, *self.break_glass_groups})


@dataclass(frozen=True)
class PodAdmissionSpec:
    """What one registry's mutation of Pods is made of; the arguments of the `PodAdmission` component."""

    name: str
    secret: str
    selector: Mapping[str, str]
    version: str = MUTATING_VERSIONS[0]
    """Of the API, one that the cluster serves."""

    @classmethod
    def of(cls, config: StackConfig, registry: Registry, version: str = MUTATING_VERSIONS[0]) -> Self:
        """Take the values from a stack's configuration."""
        return cls(f"{_prefix(config)}-{registry.name}", registry.name, registry.selector, version)


def guarded_objects(spec: GuardSpec) -> KubernetesObject:
    """Return the policy that lets only allow-listed principals create, change and delete the guarded objects.

    The name is judged in an expression and not by `resourceNames`: a request that deletes a collection carries none.
    Deleting a namespace, or the definition of a kind, would delete what it holds.
    """
    named = {
        f"{item.group}/{item.resource}/{item.namespace or ''}/{item.name}": f"{item}, {item.purpose},"
        for item in GUARDED_OBJECTS
    }
    rules = sorted({(item.group, item.resource) for item in GUARDED_OBJECTS})
    namespaces = sorted({item.namespace for item in GUARDED_OBJECTS if item.namespace})
    # A Namespace is in itself, for admission.
    named |= {f"/namespaces/{name}/{name}": f"Namespace {name}, with guarded objects in it," for name in namespaces}
    named |= {
        f"{_EXTENSIONS}/customresourcedefinitions//{name}": f"CustomResourceDefinition {name}, of a guarded kind,"
        for name in _definitions()
    }
    where = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": namespaces}
    return _policy(
        f"{spec.name}-guarded-objects",
        [
            *(_rule(group, [resource], "CREATE", "UPDATE", "DELETE") for group, resource in rules),
            _rule("", ["namespaces"], "DELETE"),
            _rule(_EXTENSIONS, ["customresourcedefinitions"], "DELETE"),
        ],
        {"is-guarded": f"({_IDENTITY}) in {_literal([*named])}", "by-others": _not_a_writer(spec)},
        [_refusal("false", f'{_literal(named)}[{_IDENTITY}] + " " + {_writers_only(spec)}', "a guarded object")],
        # Says nothing of objects of the whole cluster, which always match.
        namespaces={"matchExpressions": [where]},
    )


def hosted_clusters(spec: GuardSpec) -> KubernetesObject:
    """Return the policy that lets only allow-listed principals change which pull-secret a hosted cluster uses.

    Creating a hosted cluster has to name one, and changes no cluster that is there.
    """
    rules = {(item.group, item.resource) for item in GUARDED_FIELDS}
    fields = sorted({item.path for item in GUARDED_FIELDS}, key=str)
    paths = ["".join(f".?{part}" for part in path) for path in fields]
    shown = ", ".join(".".join(str(part) for part in path) for path in fields)
    what = f'request.kind.kind + " " + request.?namespace.orValue("") + "/" + {_NAME} + ": {shown} "'
    return _policy(
        f"{spec.name}-hosted-clusters",
        [_rule(group, [resource], "UPDATE") for group, resource in sorted(rules)],
        {
            "changes-pull-secret": " || ".join(f"object{path} != oldObject{path}" for path in paths),
            "by-others": _not_a_writer(spec),
        },
        [_refusal("false", f"{what} + {_writers_only(spec)}", "a hosted cluster's pull-secret")],
    )


def machine_configs(spec: GuardSpec) -> KubernetesObject:
    """Return the policy that lets only allow-listed principals make a MachineConfig that writes the kubelet's logins.

    Judged are files, folders, links, units and configuration fetched from elsewhere. What a script inside an encoded
    file does cannot be judged here.
    """
    group, kind = MACHINE_CONFIG
    variables = {
        "config": _given("object.?spec.?config", "{}"),
        "storage": _given("variables.config.?storage", "{}"),
        "files": f"{_given('variables.storage.?files')} + {_given('variables.storage.?directories')}",
        "links": _given("variables.storage.?links"),
        "units": _given("variables.config.?systemd.?units"),
        "sources": _fetched(),
    }
    path = _given("item.?path", '""')
    is_file = f'({path}.matches({_literal(f"{_AUTH_FILE_PATTERN}$")}) || {path}.contains("/../"))'
    is_above = f"{path}.matches({_literal(f'^({_ABOVE_PATTERN})(/[.]?)*$')})"
    in_unit, in_dropin = (_mentions(_given(f"{text}.?contents", '""')) for text in ("unit", "item"))
    in_dropins = f"{_given('unit.?dropins')}.exists(item, {in_dropin})"
    what = f'"{kind} " + {_NAME} + " could write {KUBELET_AUTH_FILE}: that "'
    permitted = {
        "in spec.config.storage.files": f"!variables.files.exists(item, {is_file})",
        "in spec.config.storage.links": f"!variables.links.exists(item, {is_file} || {is_above})",
        "in spec.config.systemd.units": f"!variables.units.exists(unit, {in_unit} || {in_dropins})",
        "from spec.config.ignition.config": "size(variables.sources) == 0",
    }
    return _policy(
        f"{spec.name}-machine-configs",
        [_rule(group, [f"{kind.lower()}s"], "CREATE", "UPDATE")],
        {
            "changes-content": 'request.operation == "CREATE" || object.?spec != oldObject.?spec',
            "by-others": _not_a_writer(spec),
        },
        [
            _refusal(expression, f'{what} + {_writers_only(spec)} + " Found {place}."', "the kubelet's registry logins")
            for place, expression in permitted.items()
        ],
        variables=variables,
    )


OPT_IN_SUFFIX = "-opt-in-labels"


def opt_in_labels(spec: GuardSpec) -> KubernetesObject:
    """Return the policy on opt-in labels: who may put and take them off, and on which namespaces they may stand.

    Taking one off takes the pull Secret away, and leaves a finalizer that keeps the namespace from being deleted (ESO
    issue 6677), so it is for the same principals. `status` and `finalize` can change labels too. Who may is judged once
    the stack names somebody; where labels may stand, always.
    """
    keys = sorted({key for grant in spec.grants for key in grant["selector"]})
    named = ", ".join(keys)
    named_anybody = bool(spec.labeler_users or spec.labeler_groups)
    allowed = _is_one_of(spec.labeler_users, [*spec.labeler_groups, *spec.break_glass_groups])
    rule = (
        f"may not put, change or take off the opt-in labels {named}; add the namespace to tenants of the stack, "
        "or the principal to guard.labelers"
    )
    who = f'"Namespace " + {_NAME} + ": " + {_USER} + {_literal(rule)}'
    return _policy(
        f"{spec.name}{OPT_IN_SUFFIX}",
        [_rule("", ["namespaces", "namespaces/status", "namespaces/finalize"], "CREATE", "UPDATE")],
        {
            "changes-opt-in-label": f"{_literal(keys)}.exists(key, {_AFTER}[?key] != {_BEFORE}[?key])",
            "not-break-glass": f"!({_is_one_of([], [spec.break_glass_groups[0]])})",
        },
        [
            *([_refusal("variables.allowed", who, "opt-in labels")] if named_anybody else []),
            *map(_pattern_rule, spec.grants),
        ],
        variables={"allowed": allowed, "after": _AFTER, "before": _BEFORE},
    )


GUARD_POLICIES: Final[Mapping[str, Callable[[GuardSpec], KubernetesObject]]] = {
    "guarded-objects": guarded_objects,
    "hosted-clusters": hosted_clusters,
    "machine-configs": machine_configs,
    "opt-in-labels": opt_in_labels,
}
"""The guard's policies by the last part of their names."""


def guard_binding(policy: KubernetesObject, spec: GuardSpec) -> KubernetesObject:
    """Return the binding that puts a policy of the guard into force."""
    return {
        **_object("ValidatingAdmissionPolicyBinding", policy["metadata"]["name"]),
        "spec": {"policyName": policy["metadata"]["name"], "validationActions": _ACTIONS[spec.mode]},
    }


def pod_policy(spec: PodAdmissionSpec) -> KubernetesObject:
    """Return the policy that appends a registry's entry to the `imagePullSecrets` of Pods in opted-in namespaces.

    What a Pod brings, or got from its ServiceAccount, stays. The patch adds the list first where there is none: a list
    of objects as the value of one operation panics the API server (tried on v1.36.3).
    """
    entries, value = "object.spec.imagePullSecrets", _literal(spec.secret)
    add_list = 'JSONPatch{op: "add", path: "/spec/imagePullSecrets", value: []}'
    entry = f"Object.spec.imagePullSecrets{{name: {value}}}"
    add_entry = f'JSONPatch{{op: "add", path: "/spec/imagePullSecrets/-", value: {entry}}}'
    return {
        **_object("MutatingAdmissionPolicy", spec.name, spec.version),
        "spec": {
            # A Pod that misses the entry can be made again; an expression that fails must not keep all Pods out.
            "failurePolicy": "Ignore",
            # Once more when a webhook changes the Pod after us; the condition keeps the entry from standing twice.
            "reinvocationPolicy": "IfNeeded",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": dict(spec.selector)},
                "resourceRules": [_rule("", ["pods"], "CREATE", version="v1")],
            },
            "matchConditions": [
                {
                    "name": "misses-entry",
                    "expression": f'!has({entries}) || !{entries}.exists(entry, entry.?name.orValue("") == {value})',
                }
            ],
            "mutations": [
                {
                    "patchType": "JSONPatch",
                    "jsonPatch": {"expression": f"(has({entries}) ? [] : [{add_list}]) + [{add_entry}]"},
                }
            ],
        },
    }


def pod_policy_binding(spec: PodAdmissionSpec) -> KubernetesObject:
    """Return the binding that puts a registry's policy on Pods into force."""
    return {**_object("MutatingAdmissionPolicyBinding", spec.name, spec.version), "spec": {"policyName": spec.name}}


def stack_objects(config: StackConfig, pod_admission: str = MUTATING_VERSIONS[0]) -> list[KubernetesObject]:
    """Return every admission object of a stack: the guard unless it is off, and Pod admission where it is chosen.

    Args:
        pod_admission: version of the policies that append to Pods.
    """
    found: list[KubernetesObject] = []
    if config.guard.mode != "off":
        spec = GuardSpec.of(config)
        for build in GUARD_POLICIES.values():
            policy = build(spec)
            found += [policy, guard_binding(policy, spec)]
    if config.binding == ADMISSION:
        for registry in config.registries:
            pods = PodAdmissionSpec.of(config, registry, pod_admission)
            found += [pod_policy(pods), pod_policy_binding(pods)]
    return found


def _prefix(config: StackConfig) -> str:
    """Policies of several stacks stand in one cluster, so the stack's own name for it is part of theirs."""
    return f"pull-secrets-{config.cluster.name}"


def _pattern_rule(grant: Mapping[str, Any]) -> dict[str, Any]:
    wanted: Mapping[str, str] = grant["selector"]
    after, before = (
        " && ".join(
            f"variables.{when}[?{_literal(key)}] == optional.of({_literal(value)})"
            for key, value in sorted(wanted.items())
        )
        for when in ("after", "before")
    )
    patterns: Sequence[str] = grant["namespaces"]
    permitted = " || ".join(f"{_NAME}.matches({_literal(pattern_to_regex(pattern))})" for pattern in patterns)
    # Only what becomes selected is judged: a namespace that is already must stay writable for its controllers.
    rule = (
        f": registry {grant['registry']} may be delivered to {', '.join(patterns)} only; take its opt-in label out of "
        "the request, or add a pattern to namespaces of that registry"
    )
    message = f'"Namespace " + {_NAME} + {_literal(rule)}'
    return _refusal(f"!({after}) || ({before}) || {permitted}", message, f"namespaces of registry {grant['registry']}")


def _definitions() -> list[str]:
    """Return the names of the CustomResourceDefinitions of all guarded kinds."""
    named = {(item.group, item.resource) for item in (*GUARDED_OBJECTS, *GUARDED_FIELDS)}
    named.add((MACHINE_CONFIG[0], f"{MACHINE_CONFIG[1].lower()}s"))
    return sorted(f"{resource}.{group}" for group, resource in named if group)


def _given(path: str, otherwise: str = "[]") -> str:
    """Return the expression of an optional value; null, which such kinds let through, is none."""
    return f"({path}.orValue({otherwise}) == null ? {otherwise} : {path}.orValue({otherwise}))"


def _fetched() -> str:
    """Return the expression of the sources from which Ignition would fetch more configuration."""
    config = "variables.config.?ignition.?config"
    listed = " + ".join(_given(f"{config}.?{key}") for key in ("merge", "append"))
    return f'({listed} + [{_given(f"{config}.?replace", "{}")}]).filter(item, {_given("item.?source", _EMPTY)} != "")'


_EMPTY: Final = '""'


def _mentions(text: str) -> str:
    """Return the expression that tells whether a text names the file for more than reading it."""
    named, read = (f"size({text}.findAll({_literal(pattern)}))" for pattern in (_AUTH_FILE_PATTERN, _READS_PATTERN))
    writes = f"({named} > 0 && {text}.matches({_literal(_LOGIN_PATTERN)}))"
    hidden = f'{text}.findAll({_literal(_BY_PARENTS)}).exists(path, path.contains("kubelet"))'
    return f"({named} > {read} || {writes} || {hidden})"


def _not_a_writer(spec: GuardSpec) -> str:
    return f"!({_is_one_of(spec.writer_users, [*spec.writer_groups, *spec.break_glass_groups])})"


def _writers_only(spec: GuardSpec) -> str:
    rule = (
        f"to write, only for the cluster itself, guard.writers and group {spec.break_glass_groups[0]}; "
        "give tenants a registry of the stack instead."
    )
    return f'"is not for " + {_USER} + {_literal(rule)}'


def _is_one_of(users: Sequence[str], groups: Sequence[str]) -> str:
    in_group = f"request.userInfo.?groups.orValue([]).exists(group, group in {_literal(list(groups))})"
    return f"request.userInfo.username in {_literal(list(users))} || {in_group}" if users else in_group


def _literal(value: Any) -> str:
    """Spell a text, a list of texts or a map of texts in CEL, which reads JSON's literals."""
    return json.dumps(value, ensure_ascii=False)


def _refusal(expression: str, message_expression: str, what: str) -> dict[str, Any]:
    return {
        "expression": expression,
        # Shown only where the expression below cannot be evaluated.
        "message": f"the cluster's pull-secret guard does not permit this write to {what}",
        "messageExpression": message_expression,
        "reason": "Forbidden",
    }


def _rule(group: str, resources: list[str], *operations: str, version: str = "*") -> dict[str, Any]:
    return {
        "apiGroups": [group],
        "apiVersions": [version],
        "resources": resources,
        "operations": list(operations),
        "scope": "*",
    }


def _policy(
    name: str,
    rules: list[dict[str, Any]],
    conditions: Mapping[str, str],
    validations: list[dict[str, Any]],
    *,
    variables: Mapping[str, str] | None = None,
    namespaces: Mapping[str, Any] | None = None,
) -> KubernetesObject:
    constraints: dict[str, Any] = {"resourceRules": rules}
    if namespaces:
        constraints["namespaceSelector"] = dict(namespaces)
    spec: dict[str, Any] = {
        "failurePolicy": "Fail",
        "matchConstraints": constraints,
        "matchConditions": [{"name": key, "expression": expression} for key, expression in conditions.items()],
        "validations": validations,
    }
    if variables:
        spec["variables"] = [{"name": key, "expression": expression} for key, expression in variables.items()]
    return {**_object("ValidatingAdmissionPolicy", name), "spec": spec}


def _object(kind: str, name: str, version: str = "v1") -> KubernetesObject:
    return {
        "apiVersion": f"{GROUP}/{version}",
        "kind": kind,
        "metadata": {"name": name, "labels": dict(STANDARD_LABELS)},
    }
