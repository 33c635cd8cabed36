"""The one definition of "a write to the cluster pull-secret".

The policy pack, the repository lint and the in-cluster guard are three uses of it: what is guarded stands in
`guarded` as data, and `find_writes` tells which of it a Kubernetes object of any kind would write, itself or through a
controller that acts on it. What is only mentioned is told by `mentions`.
"""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pullsecrets.data import Path, Unknown, dig, shown, walk
from pullsecrets.guard.guarded import GUARDED_FIELDS, GUARDED_OBJECTS, KUBELET_AUTH_FILE, MACHINE_CONFIG
from pullsecrets.guard.kinds import OWN_NAME
from pullsecrets.guard.mentions import is_auth_file, mentions_of
from pullsecrets.guard.rights import is_of_the_guard, mutations_of, rights_of
from pullsecrets.guard.targets import Answer, KubernetesObject, Target, describe, objects_in, targets_of
from pullsecrets.kube.objects import group_of, kind_of


@dataclass(frozen=True)
class Write:
    """One write to something guarded that an object would cause."""

    what: str
    """What would be written, such as `Secret openshift-config/pull-secret`."""
    path: Path
    """Where in the object that is said."""
    answer: Answer
    verb: str = "write"

    @property
    def is_refused(self) -> bool:
        """Whether nothing but a value that is not known yet keeps it from being certain."""
        return self.answer >= Answer.UNKNOWN

    def __str__(self) -> str:
        """Say it as the rest of a sentence whose subject is the object."""
        where = f" through {shown(self.path)}" if self.path else ""
        if self.answer is Answer.CERTAIN:
            return f"{self.verb}s {self.what}{where}"
        return f"could {self.verb} {self.what}{where}, and nothing there rules it out"


def find_writes(
    item: KubernetesObject, namespace: Any = None, *, patch: bool = False, redeclares: bool = False
) -> list[Write]:
    """Return every write to something guarded that a Kubernetes object would cause, most certain first.

    Args:
        item: the object; parts that are not known are `UNKNOWN`.
        namespace: where an object without a namespace of its own goes; None when nothing says so.
        patch: whether the object only changes one that is there.
        redeclares: whether it is known that the guard's own component does not declare the object.
    """
    found = [
        replace(write, path=(*path, *write.path))
        for path, inner, place in objects_in(item, namespace)
        for write in _writes_of(inner, place, patch=patch, redeclares=redeclares)
    ]
    found.sort(key=lambda write: -write.answer)
    return list({(write.what, write.path): write for write in reversed(found)}.values())[::-1]


def _writes_of(item: KubernetesObject, namespace: Any, *, patch: bool, redeclares: bool) -> Iterator[Write]:
    """Yield the writes of one object, whatever stands inside it."""
    yield from _of_targets(targets_of(item, namespace), "write")
    yield from _of_targets(rights_of(item, namespace), "open")
    yield from _of_targets(mutations_of(item), "change")
    if (patch or redeclares) and is_of_the_guard(item):
        yield Write(f"the guard's {describe(item)}", OWN_NAME, Answer.CERTAIN, "change")
    yield from _other_writes(item, patch=patch)


def find_mentions(item: KubernetesObject, namespace: Any = None) -> dict[str, Path]:
    """Return what an object of any kind mentions of what is guarded, each with where; see `mentions_of`."""
    if is_of_the_guard(item):
        return {}
    on_nodes = (group_of(item), kind_of(item)) == MACHINE_CONFIG
    return mentions_of(item, namespace, folder=on_nodes)


def _of_targets(targets: Iterator[Target], verb: str) -> Iterator[Write]:
    for target in targets:
        for guarded in GUARDED_OBJECTS:
            if (target.group, target.kind) == (guarded.group, guarded.kind):
                answer = target.name.answer(guarded.name)
                if guarded.namespace is not None:
                    answer = min(answer, target.namespace.answer(guarded.namespace))
                if answer:
                    yield Write(str(guarded), target.path, answer, verb)


def _other_writes(item: KubernetesObject, *, patch: bool) -> Iterator[Write]:
    """Yield what is written without being a guarded object: a field, a file on a node."""
    group, kind = group_of(item), kind_of(item)
    for field in GUARDED_FIELDS:
        value = dig(item, field.path)
        if patch and (group, kind) == (field.group, field.kind) and value is not None:
            yield Write(field.purpose, field.path, Answer.UNKNOWN if isinstance(value, Unknown) else Answer.CERTAIN)
    if (group, kind) == MACHINE_CONFIG:
        yield from _on_nodes(dig(item, ("spec", "config")))


_ELSEWHERE = {("config", "merge"), ("config", "append"), ("ignition", "config")}
"""What Ignition takes more configuration by, `replace` being the last of them; it cannot be judged here."""


def _on_nodes(config: Any) -> Iterator[Write]:
    """Yield where a MachineConfig puts a file, a folder or a link in the place of the kubelet's logins."""
    for path, found in walk(config, ("spec", "config")):
        if isinstance(found, Unknown) and path[-1] in {"config", "path"}:
            yield Write(KUBELET_AUTH_FILE, path, Answer.UNKNOWN)
        elif path[-1] == "path" and isinstance(found, str) and _takes_the_place(found, link="links" in path):
            yield Write(KUBELET_AUTH_FILE, path, Answer.CERTAIN)
        elif path[-1] == "source" and path[-4:-2] in _ELSEWHERE and found:
            yield Write(KUBELET_AUTH_FILE, path, Answer.POSSIBLE)


def _takes_the_place(path: str, *, link: bool) -> bool:
    # A link can replace any folder above the file.
    above = f"{posixpath.normpath('/' + path.lstrip('/'))}/"
    return is_auth_file(path) or (link and KUBELET_AUTH_FILE.startswith(above))
