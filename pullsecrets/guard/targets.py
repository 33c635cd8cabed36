"""What a Kubernetes object has written: itself, and what controllers make of it.

A name or namespace that is not known yet, or that a selector decides, stays a set of names that it could be.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Final, Protocol, cast

from pullsecrets.data import (
    UNKNOWN,
    Path,
    Unknown,
    Values,
    could_be,
    dig,
    dig_all,
    is_open,
    is_true,
    mapping,
    sequence,
    walk,
)
from pullsecrets.guard.kinds import OWN_NAME, SECRET_WRITERS, SecretWriter
from pullsecrets.kube.objects import Object, group_of, kind_of

KubernetesObject = Object


class Answer(IntEnum):
    """Whether a name is the one that is asked for; of several answers the least counts."""

    NO = 0
    POSSIBLE = 1
    """Something decides that does not stand in the object: a label, a parameter, the namespace that it is put into."""
    UNKNOWN = 2
    """A value decides that is not known in this preview, and will be before anything is written."""
    CERTAIN = 3


class Names(Protocol):
    """A name, or a set of names of which not all may be known."""

    def answer(self, name: str) -> Answer:
        """Tell whether a name is in the set."""
        ...


@dataclass(frozen=True)
class Name:
    """One name, as it stands in an object."""

    value: Any

    def answer(self, name: str) -> Answer:
        """Tell whether it is the one that is asked for."""
        if isinstance(self.value, Unknown):
            return Answer.UNKNOWN
        if not could_be(self.value, name):
            return Answer.NO
        return Answer.POSSIBLE if is_open(self.value) else Answer.CERTAIN


@dataclass(frozen=True)
class _Namespace(Name):
    """The namespace of an object; where none is stated, whoever applies the object decides."""

    def answer(self, name: str) -> Answer:
        return Answer.POSSIBLE if self.value in (None, "") else super().answer(name)


@dataclass(frozen=True)
class _Patterns:
    """Names that match a comma-separated list of regular expressions, as controllers that copy Secrets take them."""

    text: Any
    everything_when_empty: bool = False

    def answer(self, name: str) -> Answer:
        if isinstance(self.text, Unknown):
            return Answer.UNKNOWN
        if is_open(self.text):
            return Answer.POSSIBLE
        patterns = [part.strip() for part in str(self.text or "").split(",") if part.strip()]
        if not patterns:
            return Answer.CERTAIN if self.everything_when_empty else Answer.NO
        return max(_full_match(part, name) for part in patterns)


@dataclass(frozen=True)
class Selection:
    """Namespaces by label selectors, of which any must match, and by name."""

    selectors: Any
    names: Any = None

    def answer(self, name: str) -> Answer:
        """Tell whether a namespace is selected, or could be."""
        if isinstance(self.selectors, Unknown) or isinstance(self.names, Unknown):
            return Answer.UNKNOWN
        named = [Name(item).answer(name) for item in sequence(self.names)]
        selected = [_selected(selector, name) for selector in sequence(self.selectors)]
        return max((*named, *selected), default=Answer.NO)


@dataclass(frozen=True)
class Anything:
    """Any name, by something that does not stand in the object unless said otherwise."""

    of: Answer = Answer.POSSIBLE

    def answer(self, name: str) -> Answer:
        """Tell how certain it is."""
        return self.of if name else Answer.NO


@dataclass(frozen=True)
class _Both:
    one: Names
    other: Names

    def answer(self, name: str) -> Answer:
        return min(self.one.answer(name), self.other.answer(name))


@dataclass(frozen=True)
class Target:
    """An object that would be written: its kind, and what its namespace and name are or could be."""

    group: str
    kind: str
    namespace: Names
    name: Names
    path: Path
    """Where that is said."""


_REFLECTOR = "reflector.v1.k8s.emberstack.com/"
_REPLICATOR = "replicator.v1.mittwald.de/"

_Targets = Callable[[KubernetesObject, Any], Iterator[Target]]


def describe(item: KubernetesObject) -> str:
    """Name an object by its identity, as messages do."""
    parts = [dig(item, ("metadata", "namespace")), dig(item, OWN_NAME)]
    stated = ["(unknown)" if isinstance(part, Unknown) else part for part in parts]
    identity = "/".join(part for part in stated if isinstance(part, str))
    return f"{kind_of(item) or 'object'} {identity}".rstrip()


def targets_of(item: KubernetesObject, namespace: Any = None) -> Iterator[Target]:
    """Yield every object that one object would have written: itself, and what its controller makes of it.

    Args:
        namespace: where an object without a namespace of its own goes; None when nothing says so.
    """
    group, kind = group_of(item), kind_of(item)
    own = own_namespace(item, namespace)
    yield Target(group, kind, _Namespace(own), Name(dig(item, OWN_NAME)), _identity_path(item))
    if targets := _BY_KIND.get((group, kind)):
        yield from targets(item, own)
    for writer in _WRITERS[group, kind]:
        yield from _written(writer, item, own)
    if is_custom(group) and mapping(dig(item, _CONNECTION)):
        # Crossplane writes what it learns of any managed resource there.
        yield from _written(SecretWriter(group, kind, (("name",),), ("namespace",), at=_CONNECTION), item, own)


_CONNECTION: Path = ("spec", "writeConnectionSecretToRef")


def _identity_path(item: KubernetesObject) -> Path:
    return OWN_NAME if dig(item, OWN_NAME) is not None else ()


def is_custom(group: str) -> bool:
    """Tell whether a group's kinds are custom resources."""
    return "." in group and (not group.endswith(".k8s.io") or group.endswith(".x-k8s.io"))


def own_namespace(item: KubernetesObject, namespace: Any) -> Any:
    """Return the namespace that an object goes to: its own, or else the one given."""
    own = dig(item, ("metadata", "namespace"))
    return namespace if own is None or own == "" else own


def objects_in(item: KubernetesObject, namespace: Any = None) -> Iterator[tuple[Path, KubernetesObject, Any]]:
    """Yield an object, those of a List in its place, and what a custom resource such as a template or a policy holds.

    Each comes with where it stands and the namespace that it goes to unless it names one. What a policy of Advanced
    Cluster Management only looks at is none of them.
    """
    for path, found in unlisted(item):
        yield path, found, namespace
        if is_custom(group_of(found)) and str(dig(found, ("spec", "remediationAction"))).lower() != "inform":
            for inner_path, inner in walk(found):
                if inner_path and _is_object(inner):
                    for deeper, one in unlisted(cast("KubernetesObject", inner)):
                        yield (*path, *inner_path, *deeper), one, None


def unlisted(item: KubernetesObject) -> Iterator[tuple[Path, KubernetesObject]]:
    """Yield an object, or those of a List in its place, and where each stands."""
    if not _is_list(item):
        yield (), item
        return
    for path, inner in _list_items(item, kind_of(item).removesuffix("List")):
        yield from (((*path, *deeper), found) for deeper, found in unlisted(inner))


def _is_list(item: KubernetesObject) -> bool:
    return kind_of(item).endswith("List") and "items" in item


def _list_items(item: KubernetesObject, kind: str) -> Iterator[tuple[Path, KubernetesObject]]:
    defaults = {"apiVersion": item.get("apiVersion"), "kind": kind or "Secret"}
    items = item["items"]
    if isinstance(items, Unknown):
        yield ("items",), {**defaults, "metadata": UNKNOWN}
    for index, inner in enumerate(sequence(items)):
        if isinstance(inner, Unknown):
            yield ("items", index), {**defaults, "metadata": UNKNOWN}
        elif isinstance(inner, Mapping):
            yield ("items", index), {**defaults, **cast("Values", inner)}


def _is_object(found: Any) -> bool:
    values = mapping(found)
    is_one = isinstance(values.get("metadata"), Mapping | Unknown) or _is_list(values)
    return isinstance(values.get("kind"), str) and is_one


# What each kind's controller writes.


def _written(writer: SecretWriter, item: KubernetesObject, namespace: Any) -> Iterator[Target]:
    for at, found in dig_all(item, writer.at):
        elsewhere = dig(found, writer.namespace) if writer.namespace else None
        place = _Namespace(namespace if elsewhere in (None, "") else elsewhere)
        stated = mapping(found) if writer.any_kind and not isinstance(found, Unknown) else {"kind": "Secret"}
        for path, name in _first_found(found, writer.names):
            target = Target(group_of(stated), kind_of(stated), place, Name(name), (*at, *path))
            yield target
            if writer.annotations:
                yield from _copies(target.name, item, writer.annotations)


def _first_found(item: Any, paths: tuple[Path, ...]) -> list[tuple[Path, Any]]:
    for path in paths:
        if found := [(where, name) for where, name in dig_all(item, path) if name]:
            return found
    return []


def _secret(item: KubernetesObject, namespace: Any) -> Iterator[Target]:
    del namespace
    # With nothing known of the metadata, the Secret itself could be any.
    if not isinstance(item.get("metadata"), Unknown):
        yield from _copies(Name(dig(item, OWN_NAME)), item, ("metadata", "annotations"))


def _copies(name: Names, item: KubernetesObject, path: Path) -> Iterator[Target]:
    """Yield where controllers that act on a Secret's annotations would put copies of it."""
    found = dig(item, path)
    if isinstance(found, Unknown):
        yield Target("", "Secret", Anything(Answer.UNKNOWN), name, path)
        return
    annotations = mapping(found)
    if is_true(annotations.get(f"{_REFLECTOR}reflection-auto-enabled")):
        chosen = _Patterns(annotations.get(f"{_REFLECTOR}reflection-auto-namespaces"), everything_when_empty=True)
        allowed = _Patterns(annotations.get(f"{_REFLECTOR}reflection-allowed-namespaces"), everything_when_empty=True)
        yield Target("", "Secret", _Both(chosen, allowed), name, (*path, f"{_REFLECTOR}reflection-auto-namespaces"))
    if f"{_REPLICATOR}replicate-to" in annotations:
        key = f"{_REPLICATOR}replicate-to"
        yield Target("", "Secret", _Patterns(annotations[key]), name, (*path, key))
    for key in (f"{_REPLICATOR}replicate-to-matching", "kubed.appscode.com/sync"):
        if key in annotations:
            # Labels of namespaces; without any, every namespace.
            places = Anything(Answer.CERTAIN if annotations[key] == "" else Answer.POSSIBLE)
            yield Target("", "Secret", places, name, (*path, key))


def _sealed_secret(item: KubernetesObject, namespace: Any) -> Iterator[Target]:
    """Yield the Secret by the SealedSecret's own identity, which its controller goes by, beside the template's."""
    yield Target("", "Secret", _Namespace(namespace), Name(dig(item, OWN_NAME)), OWN_NAME)


def _external_secret(item: KubernetesObject, namespace: Any) -> Iterator[Target]:
    template = dig(item, ("spec", "target", "template", "templateFrom"))
    if any(could_be(dig(part, ("target",)), "Annotations") for part in sequence(template)):
        for path, name in dig_all(item, ("spec", "target", "name")):
            yield Target("", "Secret", Anything(), Name(name), path)
    manifest = mapping(dig(item, ("spec", "target", "manifest")))
    if manifest:
        for writer in _WRITERS["external-secrets.io", "ExternalSecret"]:
            for target in _written(writer, item, namespace):
                yield replace(target, group=group_of(manifest), kind=kind_of(manifest))


def _cluster_external_secret(item: KubernetesObject, namespace: Any) -> Iterator[Target]:
    del namespace
    spec = dig(item, ("spec",))
    if isinstance(spec, Unknown):
        yield Target("", "Secret", Anything(Answer.UNKNOWN), Name(UNKNOWN), ("spec",))
        return
    single, several = dig(spec, ("namespaceSelector",)), dig(spec, ("namespaceSelectors",))
    selectors: Any = (
        several if isinstance(several, Unknown) else [*sequence(several), *([] if single is None else [single])]
    )
    places = Selection(selectors, dig(spec, ("namespaces",)))
    name = dig(spec, ("externalSecretName",)) or dig(item, OWN_NAME)
    inner = {
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": {"name": name},
        "spec": dig(spec, ("externalSecretSpec",)),
    }
    for target in targets_of(inner):
        path: Path = target.path
        if path[:1] == ("spec",):
            path = ("spec", "externalSecretSpec", *path[1:])
        elif path == OWN_NAME:
            path = ("spec", "externalSecretName") if dig(spec, ("externalSecretName",)) else OWN_NAME
        own = isinstance(target.namespace, _Namespace)
        yield replace(target, namespace=places if own else target.namespace, path=path)


def _push_secret(prefix: Path) -> _Targets:
    """A PushSecret whose store is a cluster writes a Secret there, named by the remote key."""

    def targets(item: KubernetesObject, namespace: Any) -> Iterator[Target]:
        del namespace
        for path, key in dig_all(item, (*prefix, "data", "*", "match", "remoteRef", "remoteKey")):
            yield Target("", "Secret", Anything(), Name(key), path)
        for path, entry in dig_all(item, (*prefix, "dataTo", "*")):
            key = dig(entry, ("remoteKey",))
            yield Target("", "Secret", Anything(), Anything() if key is None else Name(key), path)

    return targets


def _copied_everywhere(item: KubernetesObject, namespace: Any) -> Iterator[Target]:
    """Yield the Secret that a ClusterSecret or a trust Bundle puts into every namespace that it takes in."""
    del namespace
    matches = dig(item, ("matchNamespace",))
    places: Names = Anything(Answer.CERTAIN)
    if isinstance(matches, Unknown):
        places = Anything(Answer.UNKNOWN)
    elif matches is not None:
        places = _Patterns(",".join(f"(?:{part}).*" for part in sequence(matches)))
    yield Target("", "Secret", places, Name(dig(item, OWN_NAME)), OWN_NAME)


def _bundle(item: KubernetesObject, namespace: Any) -> Iterator[Target]:
    """Yield the Secret that trust-manager makes of a Bundle, where its target is one."""
    del namespace
    if dig(item, ("spec", "target", "secret")) is not None:
        selector = dig(item, ("spec", "target", "namespaceSelector"))
        yield Target("", "Secret", Selection([selector or {}]), Name(dig(item, OWN_NAME)), OWN_NAME)


def _restore(item: KubernetesObject, namespace: Any) -> Iterator[Target]:
    """Yield the Secrets that a restore could bring back into the namespaces that it takes in."""
    del namespace
    included = dig(item, ("spec", "includedNamespaces"))
    listed = not isinstance(included, Unknown) and bool(sequence(included)) and "*" not in sequence(included)
    places: Names = Selection((), included) if listed else Anything()
    yield Target("", "Secret", places, Anything(), ("spec",))


def _cloned(item: KubernetesObject, namespace: Any) -> Iterator[Target]:
    """Yield the Secrets that a policy of Kyverno clones by labels, under the names that they have."""
    del namespace
    for path, rule in dig_all(item, ("spec", "rules", "*", "generate")):
        kinds = sequence(dig(rule, ("cloneList", "kinds")))
        if any(str(kind).rpartition("/")[2] == "Secret" for kind in kinds):
            yield Target("", "Secret", Name(dig(rule, ("namespace",))), Anything(), (*path, "cloneList"))


def _kustomization(item: KubernetesObject, namespace: Any) -> Iterator[Target]:
    del namespace
    default = item.get("namespace")
    fixed = is_true(dig(item, ("generatorOptions", "disableNameSuffixHash")))
    for path, generator in dig_all(item, ("secretGenerator", "*")):
        values = mapping(generator)
        # A generated name ends in a hash, and so is no guarded one, unless that is switched off or it merges.
        merges = values.get("behavior") not in (None, "create")
        if fixed or merges or is_true(dig(values, ("options", "disableNameSuffixHash"))):
            name = f"{item.get('namePrefix', '')}{values.get('name', '')}{item.get('nameSuffix', '')}"
            place = values.get("namespace", default)
            yield Target("", "Secret", _Namespace(place), Name(name), (*path, "name"))
    for list_name in ("patches", "patchesJson6902"):
        for path, target in dig_all(item, (list_name, "*", "target")):
            values = mapping(target)
            place = values.get("namespace", default)
            group, kind = str(values.get("group", "")), str(values.get("kind", "Secret"))
            yield Target(group, kind, _Namespace(place), Name(values.get("name")), (*path, "name"))


_BY_KIND: dict[tuple[str, str], _Targets] = {
    ("", "Secret"): _secret,
    ("bitnami.com", "SealedSecret"): _sealed_secret,
    ("external-secrets.io", "ExternalSecret"): _external_secret,
    ("external-secrets.io", "ClusterExternalSecret"): _cluster_external_secret,
    ("external-secrets.io", "PushSecret"): _push_secret(("spec",)),
    ("external-secrets.io", "ClusterPushSecret"): _push_secret(("spec", "pushSecretSpec")),
    ("clustersecret.io", "ClusterSecret"): _copied_everywhere,
    ("trust.cert-manager.io", "Bundle"): _bundle,
    ("kustomize.config.k8s.io", "Kustomization"): _kustomization,
    ("kustomize.config.k8s.io", "Component"): _kustomization,
    ("kyverno.io", "ClusterPolicy"): _cloned,
    ("kyverno.io", "Policy"): _cloned,
    ("velero.io", "Restore"): _restore,
}

_WRITERS: Final[defaultdict[tuple[str, str], list[SecretWriter]]] = defaultdict(list)
for _writer in SECRET_WRITERS:
    _WRITERS[_writer.group, _writer.kind].append(_writer)


def _selected(selector: Any, namespace: str) -> Answer:
    """Tell whether a label selector selects a namespace.

    Only the label that the cluster itself sets to the namespace's name decides: any other can be put on.
    """
    if isinstance(selector, Unknown):
        return Answer.UNKNOWN
    own = "kubernetes.io/metadata.name"
    labels, expressions = mapping(mapping(selector).get("matchLabels")), mapping(selector).get("matchExpressions")
    answers = [Name(labels[own]).answer(namespace)] if own in labels else []
    answers += [
        _expression(mapping(found), namespace)
        for found in sequence(expressions)
        if isinstance(mapping(found).get("key"), Unknown) or mapping(found).get("key") == own
    ]
    if len(answers) < len(labels) + len(sequence(expressions)):
        answers.append(Answer.POSSIBLE)
    return min(answers, default=Answer.CERTAIN)


def _expression(expression: Values, namespace: str) -> Answer:
    operator, values = expression.get("operator"), expression.get("values")
    if any(isinstance(part, Unknown) for part in (operator, values, expression.get("key"))):
        return Answer.UNKNOWN
    listed = max((Name(item).answer(namespace) for item in sequence(values)), default=Answer.NO)
    if operator == "NotIn":
        return Answer(Answer.CERTAIN - listed) if listed in {Answer.NO, Answer.CERTAIN} else listed
    return {"In": listed, "DoesNotExist": Answer.NO}.get(str(operator), Answer.CERTAIN)


def _full_match(pattern: str, name: str) -> Answer:
    try:
        return Answer.CERTAIN if re.fullmatch(pattern, name) else Answer.NO
    except re.error:
        # What the controller makes of it is unknown.
        return Answer.POSSIBLE
