"""What is guarded, and what a Kubernetes object of any kind would write or mentions of it."""

from pullsecrets.guard.guarded import (
    GUARD_PARTS,
    GUARDED_FIELDS,
    GUARDED_KINDS,
    GUARDED_OBJECTS,
    KUBELET_AUTH_FILE,
    MACHINE_CONFIG,
    OPAQUE_KINDS,
    GuardedField,
    GuardedObject,
)
from pullsecrets.guard.mentions import mentions_of
from pullsecrets.guard.rights import is_of_the_guard
from pullsecrets.guard.targets import Answer, describe
from pullsecrets.guard.writes import Write, find_mentions, find_writes

__all__ = [
    "GUARDED_FIELDS",
    "GUARDED_KINDS",
    "GUARDED_OBJECTS",
    "GUARD_PARTS",
    "KUBELET_AUTH_FILE",
    "MACHINE_CONFIG",
    "OPAQUE_KINDS",
    "Answer",
    "GuardedField",
    "GuardedObject",
    "Write",
    "describe",
    "find_mentions",
    "find_writes",
    "is_of_the_guard",
    "mentions_of",
]
