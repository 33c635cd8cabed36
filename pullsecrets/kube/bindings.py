"""How the resources that bind ServiceAccounts write, in their inputs and in state, what each namespace has."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pullsecrets.data import mapping, sequence

ONE, MANY = "ImagePullSecretBinding", "ImagePullSecretBindings"
"""The resource of one namespace, whose properties are the namespace's, and that of many, which has `namespaces`."""


@dataclass(frozen=True)
class Bound:
    """What a namespace has: whose lists name which pull Secrets, and its labels."""

    service_accounts: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict[str, str])

    def joined(self, other: "Bound") -> "Bound":
        """Return both at once, as where a change was begun and not finished."""
        return Bound(
            tuple(dict.fromkeys([*self.service_accounts, *other.service_accounts])),
            tuple(dict.fromkeys([*self.secrets, *other.secrets])),
            {**other.labels, **self.labels},
        )

    def properties(self) -> dict[str, Any]:
        """Return it as `read_bindings` reads it."""
        return {
            "service_accounts": [*self.service_accounts],
            "secrets": [*self.secrets],
            "labels": {**self.labels},
        }


def read_bindings(props: Mapping[str, Any]) -> dict[str, Bound]:
    """Return what each namespace has by the properties of one of the resources; nothing of what is not known yet.

    The state of earlier versions leaves keys out: labels, and ServiceAccounts where admission gave Pods the entries.
    """
    found = mapping(props["namespaces"]) if "namespaces" in props else {props.get("namespace"): props}
    return {str(namespace): _bound(mapping(item)) for namespace, item in found.items() if namespace}


def _bound(props: Mapping[str, Any]) -> Bound:
    return Bound(
        tuple(map(str, sequence(props.get("service_accounts")))),
        tuple(map(str, sequence(props.get("secrets")))),
        {str(key): str(value) for key, value in mapping(props.get("labels")).items()},
    )
