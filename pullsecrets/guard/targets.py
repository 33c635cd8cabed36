"""What a Kubernetes object has written: itself, and what controllers make of it, whatever its kind.

A name or namespace that is not known yet, or that a selector decides, stays a set of names that it could be.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
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

KubernetesObject = Mapping[str, Any]

OWN_NAME: Final[Path] = ("metadata", "name")


class Names(Protocol):
    """A name, or a set of names of which not all may be known."""

    @property
    def certain(self) -> bool:
        """Whether it is one known name."""
        ...

    def could_be(self, name: str) -> bool:
        """Tell whether the name is, or could turn out to be, in the set."""
        ...


@dataclass(frozen=True)
class _Name:
    value: Any

    @property
    def certain(self) -> bool:
        return not is_open(self.value)

    def could_be(self, name: str) -> bool:
        return could_be(self.value, name)


@dataclass(frozen=True)
class _Patterns:
    """Names that match a comma-separated list of regular expressions, as controllers that copy Secrets take them."""

    text: Any
    everything_when_empty: bool = False
    certain: bool = False

    def could_be(self, name: str) -> bool:
        if is_open(self.text):
            return True
        patterns = [part.strip() for part in str(self.text or "").split(",") if part.strip()]
        return self.everything_when_empty if not patterns else any(_full_match(part, name) for part in patterns)


@dataclass(frozen=True)
class _Selection:
    """Namespaces by label selectors, of which any must match, and by name."""

    selectors: Any
    names: Any = None
    certain: bool = False

    def could_be(self, name: str) -> bool:
        if isinstance(self.selectors, Unknown) or isinstance(self.names, Unknown):
            return True
        if any(could_be(item, name) for item in sequence(self.names)):
            return True
        return any(selector_could_match(selector, name) for selector in sequence(self.selectors))


@dataclass(frozen=True)
class _Everything:
    certain: bool = False

    def could_be(self, name: str) -> bool:
        return bool(name)


@dataclass(frozen=True)
class Target:
    """An object that would be written: its kind, and what its namespace and name are or could be."""

    group: str
    kind: str
    namespace: Names
    name: Names
    path: Path
    """Where that is said."""


@dataclass(frozen=True)
class SecretWriter:
    """A kind whose controller writes a Secret, and where it says which one."""

    group: str
    kind: str
    names: tuple[Path, ...]
    """Where the Secret's name stands; the first that is there counts."""
    namespace: Path | None = None
    """Where its namespace stands, when that need not be the object's own."""
    annotations: Path | None = None
    """Annotations that the Secret gets, which can have it copied on."""


SECRET_WRITERS: Final = (
    SecretWriter(
        "external-secrets.io",
        "ExternalSecret",
        (("spec", "target", "name"), OWN_NAME),
        annotations=("spec", "target", "template", "metadata", "annotations"),
    ),
    SecretWriter(
        "bitnami.com",
        "SealedSecret",
        (("spec", "template", "metadata", "name"), OWN_NAME),
        ("spec", "template", "metadata", "namespace"),
        ("spec", "template", "metadata", "annotations"),
    ),
    SecretWriter(
        "cert-manager.io",
        "Certificate",
        (("spec", "secretName"),),
        annotations=("spec", "secretTemplate", "annotations"),
    ),
    SecretWriter("isindir.github.com", "SopsSecret", (("spec", "secretTemplates", "*", "name"),)),
    SecretWriter("k8s.bitwarden.com", "BitwardenSecret", (("spec", "secretName"),)),
    SecretWriter("kubernetes-client.io", "ExternalSecret", (OWN_NAME,)),
    SecretWriter("onepassword.com", "OnePasswordItem", (OWN_NAME,)),
    SecretWriter("redhatcop.redhat.io", "VaultSecret", (("spec", "output", "name"), OWN_NAME)),
    SecretWriter("ricoberger.de", "VaultSecret", (OWN_NAME,)),
    SecretWriter("secretgen.carvel.dev", "SecretImport", (OWN_NAME,)),
    SecretWriter("secretgen.carvel.dev", "SecretTemplate", (OWN_NAME,)),
    SecretWriter("secretgenerator.mittwald.de", "BasicAuth", (OWN_NAME,)),
    SecretWriter("secretgenerator.mittwald.de", "StringSecret", (OWN_NAME,)),
    SecretWriter("secrets-store.csi.x-k8s.io", "SecretProviderClass", (("spec", "secretObjects", "*", "secretName"),)),
    SecretWriter(
        "secrets.doppler.com",
        "DopplerSecret",
        (("spec", "managedSecret", "name"),),
        ("spec", "managedSecret", "namespace"),
    ),
    *(
        SecretWriter(
            "secrets.hashicorp.com",
            kind,
            (("spec", "destination", "name"),),
            annotations=("spec", "destination", "annotations"),
        )
        for kind in ("HCPVaultSecretsApp", "VaultDynamicSecret", "VaultPKISecret", "VaultStaticSecret")
    ),
    SecretWriter(
        "secrets.infisical.com",
        "InfisicalSecret",
        (("spec", "managedSecretReference", "secretName"),),
        ("spec", "managedSecretReference", "secretNamespace"),
    ),
    SecretWriter("spv.no", "AzureKeyVaultSecret", (("spec", "output", "secret", "name"),)),
)
"""Kinds whose controllers write Secrets where they are told to; others are judged by what they name."""

_POD_TEMPLATE: Path = ("spec", "template", "spec")
POD_SPECS: Final[Mapping[tuple[str, str], Path]] = {
    ("", "Pod"): ("spec",),
    ("", "ReplicationController"): _POD_TEMPLATE,
    ("apps", "DaemonSet"): _POD_TEMPLATE,
    ("apps", "Deployment"): _POD_TEMPLATE,
    ("apps", "ReplicaSet"): _POD_TEMPLATE,
    ("apps", "StatefulSet"): _POD_TEMPLATE,
    ("batch", "CronJob"): ("spec", "jobTemplate", *_POD_TEMPLATE),
    ("batch", "Job"): _POD_TEMPLATE,
}
"""Where each kind of workload keeps the specification of its Pods."""

_REFLECTOR = "reflector.v1.k8s.emberstack.com/"
_REPLICATOR = "replicator.v1.mittwald.de/"

_Targets = Callable[[KubernetesObject, Any], Iterator[Target]]


def group_of(item: KubernetesObject) -> str:
    """Return an object's API group; the core group is the empty text."""
    version = item.get("apiVersion")
    return version.rpartition("/")[0] if isinstance(version, str) else ""


def kind_of(item: KubernetesObject) -> str:
    """Return an object's kind, or the empty text when it has none."""
    kind = item.get("kind")
    return kind if isinstance(kind, str) else ""


def describe(item: KubernetesObject) -> str:
    """Name an object by its identity, as messages do."""
    parts = [dig(item, ("metadata", "namespace")), dig(item, OWN_NAME)]
    stated = ["(unknown)" if isinstance(part, Unknown) else part for part in parts]
    identity = "/".join(part for part in stated if isinstance(part, str))
    return f"{kind_of(item) or 'object'} {identity}".rstrip()


def selector_could_match(selector: Any, namespace: str) -> bool:
    """Tell whether a label selector could select a namespace.

    Only the label that the cluster itself sets to the namespace's name can rule it out: any other can be put on.
    """
    if isinstance(selector, Unknown):
        return True
    own = "kubernetes.io/metadata.name"
    labels = mapping(selector).get("matchLabels")
    if own in mapping(labels) and not could_be(mapping(labels)[own], namespace):
        return False
    return all(
        _expression_could_match(mapping(expression), namespace)
        for expression in sequence(mapping(selector).get("matchExpressions"))
        if mapping(expression).get("key") == own
    )


def targets_of(item: KubernetesObject, namespace: Any = UNKNOWN) -> Iterator[Target]:
    """Yield every object that an object would have written: itself, and what its controller makes of it.

    Args:
        item: the object.
        namespace: where an object without a namespace of its own goes; unknown by default.
    """
    group, kind = group_of(item), kind_of(item)
    own = own_namespace(item, namespace)
    yield Target(group, kind, _Name(own), _Name(dig(item, OWN_NAME)), _identity_path(item))
    yield from _BY_KIND.get((group, kind), _generic)(item, own)
    for path, inner in inner_objects(item):
        for target in targets_of(inner, UNKNOWN):
            yield replace(target, path=(*path, *target.path))


def _identity_path(item: KubernetesObject) -> Path:
    return OWN_NAME if dig(item, OWN_NAME) is not None else ()


def is_custom(group: str) -> bool:
    """Tell whether a group's kinds are custom resources."""
    return "." in group and (not group.endswith(".k8s.io") or group.endswith(".x-k8s.io"))


def is_known_writer(group: str, kind: str) -> bool:
    """Tell whether it is known here what a kind's controller writes."""
    return (group, kind) in _BY_KIND


def own_namespace(item: KubernetesObject, namespace: Any) -> Any:
    """Return the namespace that an object goes to: its own, or else the one given."""
    own = dig(item, ("metadata", "namespace"))
    return namespace if own is None or own == "" else own


def inner_objects(item: KubernetesObject) -> Iterator[tuple[Path, KubernetesObject]]:
    """Yield the objects that a List, or a custom resource such as a template or a policy, holds, and where."""
    group, kind = group_of(item), kind_of(item)
    if _is_list(item):
        yield from _list_items(item, kind.removesuffix("List"))
    elif is_custom(group) and (group, kind) not in _BY_KIND:
        for path, found in walk(item):
            if path and _is_object(found):
                yield path, cast("KubernetesObject", found)


def unlisted(item: KubernetesObject) -> Iterator[tuple[Path, KubernetesObject]]:
    """Yield an object, or those of a List in its place, and where each stands."""
    if not _is_list(item):
        yield (), item
        return
    for path, inner in inner_objects(item):
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
    return isinstance(values.get("kind"), str) and isinstance(values.get("metadata"), Mapping | Unknown)


# What each kind's controller writes.


def _secret(item: KubernetesObject, namespace: Any) -> Iterator[Target]:
    del namespace
    # With nothing known of the metadata, the Secret itself could be any.
    if not isinstance(item.get("metadata"), Unknown):
        yield from _copies(_Name(dig(item, OWN_NAME)), item, ("metadata", "annotations"))


def _copies(name: Names, item: KubernetesObject, path: Path) -> Iterator[Target]:
    """Yield where controllers that act on a Secret's annotations would put copies of it."""
    found = dig(item, path)
    if isinstance(found, Unknown):
        yield Target("", "Secret", _Everything(), name, path)
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
            yield Target("", "Secret", _Everything(), name, (*path, key))


@dataclass(frozen=True)
class _Both:
    one: Names
    other: Names
    certain: bool = False

    def could_be(self, name: str) -> bool:
        return self.one.could_be(name) and self.other.could_be(name)


def _written_secret(writer: SecretWriter) -> _Targets:
    def targets(item: KubernetesObject, namespace: Any) -> Iterator[Target]:
        elsewhere = dig(item, writer.namespace) if writer.namespace else None
        place = _Name(namespace if elsewhere is None else elsewhere)
        for path, name in _first_found(item, writer.names):
            yield Target("", "Secret", place, _Name(name), path)
            if writer.annotations:
                yield from _copies(_Name(name), item, writer.annotations)

    return targets


def _first_found(item: KubernetesObject, paths: tuple[Path, ...]) -> list[tuple[Path, Any]]:
    for path in paths:
        if found := [(where, name) for where, name in dig_all(item, path) if name]:
            return found
    return []


def _sealed_secret(item: KubernetesObject, namespace: Any) -> Iterator[Target]:
    """Yield the Secret by the SealedSecret's own identity, which its controller goes by, and by the template's."""
    yield Target("", "Secret", _Name(namespace), _Name(dig(item, OWN_NAME)), OWN_NAME)
    writer = next(found for found in SECRET_WRITERS if found.kind == "SealedSecret")
    yield from _written_secret(writer)(item, namespace)


def _external_secret(item: KubernetesObject, namespace: Any) -> Iterator[Target]:
    writer = next(found for found in SECRET_WRITERS if found.group == "external-secrets.io")
    yield from _written_secret(writer)(item, namespace)
    template = dig(item, ("spec", "target", "template", "templateFrom"))
    if any(could_be(dig(part, ("target",)), "Annotations") for part in sequence(template)):
        for path, name in dig_all(item, ("spec", "target", "name")):
            yield Target("", "Secret", _Everything(), _Name(name), path)
    manifest = mapping(dig(item, ("spec", "target", "manifest")))
    if manifest:
        for target in _written_secret(writer)(item, namespace):
            yield replace(target, group=group_of(manifest), kind=kind_of(manifest))


def _cluster_external_secret(item: KubernetesObject, namespace: Any) -> Iterator[Target]:
    del namespace
    spec = dig(item, ("spec",))
    if isinstance(spec, Unknown):
        yield Target("", "Secret", _Everything(), _Name(UNKNOWN), ("spec",))
        return
    single, several = dig(spec, ("namespaceSelector",)), dig(spec, ("namespaceSelectors",))
    selectors: Any = (
        several if isinstance(several, Unknown) else [*sequence(several), *([] if single is None else [single])]
    )
    places = _Selection(selectors, dig(spec, ("namespaces",)))
    name = dig(spec, ("externalSecretName",)) or dig(item, OWN_NAME)
    inner = {
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": {"name": name},
        "spec": dig(spec, ("externalSecretSpec",)),
    }
    for target in _external_secret(inner, UNKNOWN):
        path: Path = target.path
        if path[:1] == ("spec",):
            path = ("spec", "externalSecretSpec", *path[1:])
        elif path == OWN_NAME:
            path = ("spec", "externalSecretName") if dig(spec, ("externalSecretName",)) else OWN_NAME
        copied = not isinstance(target.namespace, _Name)
        yield replace(target, namespace=target.namespace if copied else places, path=path)


def _push_secret(prefix: Path) -> _Targets:
    """A PushSecret whose store is a cluster writes a Secret there, named by the remote key."""

    def targets(item: KubernetesObject, namespace: Any) -> Iterator[Target]:
        del namespace
        for path, key in dig_all(item, (*prefix, "data", "*", "match", "remoteRef", "remoteKey")):
            yield Target("", "Secret", _Everything(), _Name(key), path)
        for path, entry in dig_all(item, (*prefix, "dataTo", "*")):
            key = dig(entry, ("remoteKey",))
            yield Target("", "Secret", _Everything(), _Name(UNKNOWN if key is None else key), path)
        if isinstance(dig(item, prefix), Unknown) or isinstance(dig(item, (*prefix, "data")), Unknown):
            yield Target("", "Secret", _Everything(), _Name(UNKNOWN), prefix)

    return targets


def _copied_everywhere(item: KubernetesObject, namespace: Any) -> Iterator[Target]:
    """Yield the Secret that a ClusterSecret or a trust Bundle puts into every namespace that it takes in."""
    del namespace
    matches = dig(item, ("matchNamespace",))
    places: Names = _Everything()
    if matches is not None and not isinstance(matches, Unknown):
        places = _Patterns(",".join(f"(?:{part}).*" for part in sequence(matches)))
    yield Target("", "Secret", places, _Name(dig(item, OWN_NAME)), OWN_NAME)


def _kustomization(item: KubernetesObject, namespace: Any) -> Iterator[Target]:
    del namespace
    default = item.get("namespace", UNKNOWN)
    fixed = is_true(dig(item, ("generatorOptions", "disableNameSuffixHash")))
    for path, generator in dig_all(item, ("secretGenerator", "*")):
        values = mapping(generator)
        # A generated name ends in a hash, and so is no guarded one, unless that is switched off or it merges.
        merges = values.get("behavior") not in (None, "create")
        if fixed or merges or is_true(dig(values, ("options", "disableNameSuffixHash"))):
            name = f"{item.get('namePrefix', '')}{values.get('name', '')}{item.get('nameSuffix', '')}"
            place = values.get("namespace", default)
            yield Target("", "Secret", _Name(place), _Name(name), (*path, "name"))
    for list_name in ("patches", "patchesJson6902"):
        for path, target in dig_all(item, (list_name, "*", "target")):
            values = mapping(target)
            place = values.get("namespace", default)
            group, kind = str(values.get("group", "")), str(values.get("kind", "Secret"))
            yield Target(group, kind, _Name(place), _Name(values.get("name")), (*path, "name"))


def _generic(item: KubernetesObject, namespace: Any) -> Iterator[Target]:
    """Yield what a custom resource of a kind that is not known here names with kind, namespace and name."""
    if not is_custom(group_of(item)):
        return
    del namespace
    for path, found in walk(item):
        values = mapping(found)
        if not path or "metadata" in values:
            continue
        if {"kind", "name", "namespace"} <= values.keys():
            place, name = _Name(values["namespace"]), _Name(values["name"])
            yield Target(group_of(values), kind_of(values), place, name, (*path, "name"))
        kinds = sequence(dig(values, ("cloneList", "kinds")))
        if any(str(kind).rpartition("/")[2] == "Secret" for kind in kinds):
            place = _Name(values.get("namespace", UNKNOWN))
            yield Target("", "Secret", place, _Name(UNKNOWN), (*path, "cloneList"))


_BY_KIND: dict[tuple[str, str], _Targets] = {
    **{(writer.group, writer.kind): _written_secret(writer) for writer in SECRET_WRITERS},
    ("", "Secret"): _secret,
    ("bitnami.com", "SealedSecret"): _sealed_secret,
    ("external-secrets.io", "ExternalSecret"): _external_secret,
    ("external-secrets.io", "ClusterExternalSecret"): _cluster_external_secret,
    ("external-secrets.io", "PushSecret"): _push_secret(("spec",)),
    ("external-secrets.io", "ClusterPushSecret"): _push_secret(("spec", "pushSecretSpec")),
    ("clustersecret.io", "ClusterSecret"): _copied_everywhere,
    ("trust.cert-manager.io", "Bundle"): _copied_everywhere,
    ("kustomize.config.k8s.io", "Kustomization"): _kustomization,
    ("kustomize.config.k8s.io", "Component"): _kustomization,
}


def _expression_could_match(expression: Values, namespace: str) -> bool:
    operator, listed = expression.get("operator"), sequence(expression.get("values"))
    if operator == "In":
        return isinstance(expression.get("values"), Unknown) or any(could_be(item, namespace) for item in listed)
    if operator == "NotIn":
        return namespace not in listed
    return operator != "DoesNotExist"


def _full_match(pattern: str, name: str) -> bool:
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error:
        # What the controller makes of it cannot be told.
        return True
