"""Names that the plugin gives: to objects whose program names none, and to the manager of a resource's fields."""

import hashlib
import secrets

from local.plugins.kubernetes import objects
from local.plugins.kubernetes.values import UNKNOWN, Object

AUTONAMED = "pulumi.com/autonamed"
_SUFFIX_DIGITS = 8


class AutonamingDisabledError(Exception):
    """The stack forbids generated names and the object has none."""


def unique(prefix: str, seed: bytes = b"") -> str:
    """Adds eight hexadecimal digits, the same for the same seed, random without one."""
    digits = hashlib.sha256(seed + prefix.encode()).hexdigest() if seed else secrets.token_hex()
    return prefix + digits[:_SUFFIX_DIGITS]


def field_manager() -> str:
    """Makes a name for the manager of one resource's fields."""
    return unique("pulumi-kubernetes-")


def is_named(obj: Object) -> bool:
    """Whether the program names the object, be it by a name that is not known yet."""
    return bool(objects.name(obj)) or objects.metadata(obj).get("name") is UNKNOWN


def is_autonamed(obj: Object) -> bool:
    """Whether the object's name was generated."""
    return objects.annotation(obj, AUTONAMED) == "true"


def keep_generated(obj: Object, old: Object) -> None:
    """Gives an object without name the one that was generated for it before."""
    if not is_named(obj) and is_autonamed(old):
        _give(obj, objects.name(old))


def generate(obj: Object, resource_name: str, seed: bytes, *, proposed: str, disabled: bool) -> None:
    """Names an object without name after its resource, or as the stack's autonaming proposes.

    Raises:
        AutonamingDisabledError: the stack's autonaming is switched off.
    """
    if is_named(obj) or objects.metadata(obj).get("generateName"):
        return
    if disabled:
        raise AutonamingDisabledError("autonaming is disabled, resource requires the .metadata.name field to be set")
    _give(obj, proposed or unique(f"{resource_name}-", seed))


def _give(obj: Object, name: str) -> None:
    objects.set_metadata(obj, "name", name)
    objects.set_annotation(obj, AUTONAMED, "true")
