"""Who else could write what is guarded by what an object permits or has the API server do: RBAC and admission."""

from collections.abc import Iterator
from typing import Any, Final

from pullsecrets.data import Path, Unknown, Values, dig_all, mapping, sequence
from pullsecrets.guard.guarded import GUARD_PARTS, GUARDED_OBJECTS, GuardedObject
from pullsecrets.guard.targets import Answer, Anything, KubernetesObject, Name, Names, Selection, Target, own_namespace
from pullsecrets.kube.objects import group_of, kind_of

_RBAC: Final = "rbac.authorization.k8s.io"
_ADMISSION: Final = "admissionregistration.k8s.io"
_WRITING: Final = frozenset({"*", "create", "update", "patch", "delete", "deletecollection"})
_WRITING_ROLES: Final = frozenset({"admin", "cluster-admin", "edit"})
"""ClusterRoles that every cluster has and that write Secrets wherever they are bound."""


def is_of_the_guard(item: KubernetesObject) -> bool:
    """Tell whether an object is a policy of the in-cluster guard, or a binding of one, by its name."""
    name = mapping(item.get("metadata")).get("name")
    return (
        group_of(item) == _ADMISSION
        and isinstance(name, str)
        and name.startswith("pull-secrets-")
        and name.endswith(tuple(f"-{part}" for part in GUARD_PARTS))
    )


def rights_of(item: KubernetesObject, namespace: Any) -> Iterator[Target]:
    """Yield the guarded objects that a role, or the binding of one, permits to write.

    A ClusterRole that names none says nothing: what it opens is decided by its bindings.
    """
    kind = kind_of(item)
    if group_of(item) != _RBAC:
        return
    place: Names = Name(own_namespace(item, namespace))
    if kind in {"Role", "ClusterRole"}:
        for path, rule in dig_all(item, ("rules", "*")):
            yield from _permitted(mapping(rule), path, place if kind == "Role" else None)
    elif kind in {"RoleBinding", "ClusterRoleBinding"}:
        role = mapping(item.get("roleRef"))
        if role.get("kind") == "ClusterRole" and role.get("name") in _WRITING_ROLES:
            # Who administers a cluster may write it; that a binding is as wide says nothing of what it is for.
            names: Names = Anything(Answer.CERTAIN if kind == "RoleBinding" else Answer.POSSIBLE)
            places = place if kind == "RoleBinding" else Anything()
            for guarded in GUARDED_OBJECTS:
                if guarded.namespace or kind == "ClusterRoleBinding":
                    yield Target(guarded.group, guarded.kind, places, names, ("roleRef",))


def _permitted(rule: Values, path: Path, place: Names | None) -> Iterator[Target]:
    verbs, names = sequence(rule.get("verbs")), sequence(rule.get("resourceNames"))
    if not _WRITING & {str(verb) for verb in verbs} or (place is None and not names):
        return
    for guarded in GUARDED_OBJECTS:
        if _takes_in(rule, guarded):
            for name in [Name(found) for found in names] or [Name(guarded.name)]:
                # Where a ClusterRole is bound is said elsewhere.
                yield Target(guarded.group, guarded.kind, place or Anything(), name, path)


def mutations_of(item: KubernetesObject) -> Iterator[Target]:
    """Yield the guarded objects that a mutating admission policy or webhook would change as they are written."""
    if (group_of(item), kind_of(item)) == (_ADMISSION, "MutatingAdmissionPolicy"):
        for path, constraints in dig_all(item, ("spec", "matchConstraints")):
            narrowed = any(True for _ in dig_all(item, ("spec", "matchConditions", "*")))
            yield from _mutated(mapping(constraints), "resourceRules", path, narrowed=narrowed)
    elif (group_of(item), kind_of(item)) == (_ADMISSION, "MutatingWebhookConfiguration"):
        for path, webhook in dig_all(item, ("webhooks", "*")):
            yield from _mutated(mapping(webhook), "rules", path, narrowed=True)


def _mutated(where: Values, rules: str, path: Path, *, narrowed: bool) -> Iterator[Target]:
    """Yield what rules of resources take in; `narrowed` when conditions or a program decide which of it changes."""
    places = Selection([where.get("namespaceSelector") or {}])
    narrowed = narrowed or bool(where.get("objectSelector"))
    for at, rule in dig_all(where, (rules, "*")):
        named = sequence(mapping(rule).get("resourceNames"))
        for guarded in GUARDED_OBJECTS:
            if not _takes_in(mapping(rule), guarded):
                continue
            for name in [Name(found) for found in named] or [Anything(Answer.CERTAIN)]:
                chosen = name if not narrowed or name.answer(guarded.name) is Answer.NO else Anything()
                yield Target(guarded.group, guarded.kind, places, chosen, (*path, *at))


def _takes_in(rule: Values, guarded: GuardedObject) -> bool:
    groups, resources = sequence(rule.get("apiGroups")), sequence(rule.get("resources"))
    listed = {str(resource) for resource in resources if not isinstance(resource, Unknown)}
    return bool({"*", guarded.group} & {str(group) for group in groups}) and bool(
        {"*", "*/*", guarded.resource} & listed
    )
