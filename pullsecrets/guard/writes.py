"""The one definition of "a write to the cluster pull-secret".

The policy pack, the repository lint and the in-cluster guard are three uses of it: what is guarded stands here as data,
and `find_writes` tells which of it a Kubernetes object of any kind would write, itself or through a controller that
acts on it. What cannot be told counts as a write: an identity that is unknown could be the guarded one.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from pullsecrets.data import UNKNOWN, Path, Unknown, Values, could_be, dig, dig_all, mapping, shown, texts, walk
from pullsecrets.guard import machine_config, shell
from pullsecrets.guard.machine_config import KUBELET_AUTH_FILE
from pullsecrets.guard.targets import (
    POD_SPECS,
    KubernetesObject,
    describe,
    group_of,
    inner_objects,
    is_custom,
    is_known_writer,
    kind_of,
    own_namespace,
    targets_of,
)

__all__ = [
    "GUARDED_FIELDS",
    "GUARDED_KINDS",
    "GUARDED_OBJECTS",
    "KUBELET_AUTH_FILE",
    "MACHINE_CONFIG",
    "GuardedField",
    "GuardedObject",
    "Write",
    "describe",
    "find_writes",
    "names_guarded",
]


@dataclass(frozen=True)
class GuardedObject:
    """An object that only the cluster's own controllers and the break-glass group may write."""

    group: str
    kind: str
    resource: str
    """Plural name, as admission and RBAC rules spell the kind."""
    namespace: str | None
    """None for an object of the whole cluster."""
    name: str
    purpose: str

    def __str__(self) -> str:
        """Name it as messages do."""
        if self.namespace is None:
            return f"{self.kind.lower()}.{self.group}/{self.name}"
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True)
class GuardedField:
    """A field that names a cluster's pull-secret in an object that is not guarded as a whole."""

    group: str
    kind: str
    resource: str
    """Plural name, as admission and RBAC rules spell the kind."""
    path: Path
    purpose: str


GUARDED_OBJECTS: Final = (
    GuardedObject("", "Secret", "secrets", "openshift-config", "pull-secret", "the cluster-wide pull-secret"),
    GuardedObject(
        "", "Secret", "secrets", "kube-system", "additional-pull-secret", "HyperShift's hook for extra registries"
    ),
    GuardedObject("", "Secret", "secrets", "kube-system", "global-pull-secret", "HyperShift's merged pull-secret"),
    GuardedObject("", "Secret", "secrets", "kube-system", "original-pull-secret", "HyperShift's copy of the original"),
    GuardedObject(
        "config.openshift.io", "Image", "images", None, "cluster", "which registries the whole cluster may use"
    ),
)

GUARDED_FIELDS: Final = tuple(
    GuardedField("hypershift.openshift.io", kind, resource, ("spec", "pullSecret"), "a hosted cluster's pull-secret")
    for kind, resource in (("HostedCluster", "hostedclusters"), ("HostedControlPlane", "hostedcontrolplanes"))
)

MACHINE_CONFIG: Final = ("machineconfiguration.openshift.io", "MachineConfig")
"""Group and kind of what can write `KUBELET_AUTH_FILE` on every node."""

GUARDED_KINDS: Final = frozenset(
    {(item.group, item.kind) for item in GUARDED_OBJECTS}
    | {(item.group, item.kind) for item in GUARDED_FIELDS}
    | {MACHINE_CONFIG}
)
"""Kinds of which at least one object, or one field, is guarded."""


@dataclass(frozen=True)
class Write:
    """One write to something guarded that an object would cause."""

    what: str
    """What would be written, such as `Secret openshift-config/pull-secret`."""
    path: Path
    """Where in the object that is said."""
    certain: bool
    """False when only something that is not known keeps it from being certain."""

    def __str__(self) -> str:
        """Say it as the rest of a sentence whose subject is the object."""
        if self.certain:
            return f"writes {self.what} through {shown(self.path)}"
        return f"could write {self.what} through {shown(self.path)}, and nothing there rules it out"


def find_writes(item: KubernetesObject, namespace: Any = UNKNOWN) -> list[Write]:
    """Return every write to something guarded that a Kubernetes object would cause.

    Args:
        item: the object; parts that are not known are `UNKNOWN`.
        namespace: where an object without a namespace of its own goes; unknown by default.
    """
    found = [*_object_writes(item, namespace), *_other_writes(item, namespace)]
    return list({(write.what, write.path): write for write in found}.values())


def names_guarded(found: Iterable[str], namespace: Any = None, *, name_suffices: bool = False) -> list[str]:
    """Return the guarded things that texts name.

    Args:
        found: texts, such as a command and its environment.
        namespace: where they act unless they say otherwise.
        name_suffices: whether a guarded Secret's name alone counts, whatever namespace it stands beside.
    """
    text = "\n".join(found)
    named = [str(item) for item in GUARDED_OBJECTS if _names(text, item, namespace, name_suffices=name_suffices)]
    return [*named, KUBELET_AUTH_FILE] if machine_config.mentions_auth_file(text) else named


def _names(text: str, item: GuardedObject, namespace: Any, *, name_suffices: bool) -> bool:
    if item.namespace is None:
        plural_or_not = f"{item.kind.lower()}s?"
        group = re.escape(item.group).replace("config", "config(", 1) + ")?"
        return re.search(rf"\b{plural_or_not}\.{group}[\s/]+{item.name}\b", text) is not None
    if not _says(text, item.name):
        return False
    return name_suffices or _says(text, item.namespace) or could_be(namespace, item.namespace)


def _says(text: str, word: str) -> bool:
    return re.search(rf"(?<![\w.-]){re.escape(word)}(?![\w-]|\.\w)", text) is not None


def _object_writes(item: KubernetesObject, namespace: Any) -> Iterator[Write]:
    for target in targets_of(item, namespace):
        for guarded in GUARDED_OBJECTS:
            if (target.group, target.kind) != (guarded.group, guarded.kind) or not target.name.could_be(guarded.name):
                continue
            if guarded.namespace is None:
                yield Write(str(guarded), target.path, target.name.certain)
            elif target.namespace.could_be(guarded.namespace):
                yield Write(str(guarded), target.path, target.name.certain and target.namespace.certain)


def _other_writes(item: KubernetesObject, namespace: Any) -> Iterator[Write]:
    """Yield what is written without being an object: a field, a file on a node, or what a command does."""
    group, kind = group_of(item), kind_of(item)
    for field in GUARDED_FIELDS:
        value = dig(item, field.path)
        if (group, kind) == (field.group, field.kind) and value is not None:
            yield Write(field.purpose, field.path, certain=not isinstance(value, Unknown))
    if (group, kind) == MACHINE_CONFIG:
        for path, certain in machine_config.auth_file_writes(item):
            yield Write(KUBELET_AUTH_FILE, path, certain)
    elif (group, kind) in POD_SPECS:
        yield from _commands(item, POD_SPECS[group, kind], namespace)
    elif (group, kind) == ("", "ConfigMap"):
        yield from _embedded_machine_configs(item)
    elif is_custom(group) and not is_known_writer(group, kind):
        yield from _named_pairs(item)
    for path, inner in inner_objects(item):
        for write in _other_writes(inner, UNKNOWN):
            yield replace(write, path=(*path, *write.path))


def _embedded_machine_configs(item: KubernetesObject) -> Iterator[Write]:
    """Yield MachineConfigs that a hosted cluster's NodePool takes from a ConfigMap."""
    for path, text in texts(item.get("data")):
        if "MachineConfig" in text and KUBELET_AUTH_FILE in text:
            yield Write(KUBELET_AUTH_FILE, ("data", *path), certain=False)


def _commands(item: KubernetesObject, pod: Path, namespace: Any) -> Iterator[Write]:
    """Yield what the commands of a workload's containers name and write."""
    place = own_namespace(item, namespace)
    for kind in ("containers", "initContainers"):
        for path, container in dig_all(item, (*pod, kind, "*")):
            values = mapping(container)
            words = [text for key in ("command", "args") for _, text in texts(values.get(key))]
            environment = [text for _, text in texts(values.get("env"))]
            if shell.writes_to_a_cluster("\n".join([shell.text_of(words), *environment])):
                for what in names_guarded([*words, *environment], place if isinstance(place, str) else None):
                    yield Write(what, path, certain=False)


def _named_pairs(item: KubernetesObject) -> Iterator[Write]:
    """Yield guarded Secrets that a custom resource of an unknown kind names with namespace and name side by side."""
    for path, found in walk(item):
        # An object's own identity is judged where the object is.
        if path[-1:] in ((), ("metadata",)) or not isinstance(found, Mapping):
            continue
        named = {value for value in cast("Values", found).values() if isinstance(value, str)}
        for guarded in GUARDED_OBJECTS:
            if guarded.name in named and guarded.namespace in named:
                yield Write(str(guarded), path, certain=False)
