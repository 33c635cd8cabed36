"""What is guarded, and what a Kubernetes object of any kind would write of it."""

from pullsecrets.guard.machine_config import KUBELET_AUTH_FILE
from pullsecrets.guard.targets import describe
from pullsecrets.guard.writes import (
    GUARDED_FIELDS,
    GUARDED_KINDS,
    GUARDED_OBJECTS,
    MACHINE_CONFIG,
    GuardedField,
    GuardedObject,
    Write,
    find_writes,
    names_guarded,
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
