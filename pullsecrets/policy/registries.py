"""The registries that policies know: the label that grants each, the namespaces that may carry it, and its hosts."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from publicsuffixlist import PublicSuffixList

from pullsecrets import names
from pullsecrets.credential import keys
from pullsecrets.data import Values, could_be, mapping, sequence
from pullsecrets.policy.model import PolicyInfo, Settings

REGISTRIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "registries": {
        "type": "array",
        "description": "The registries whose pull Secrets are delivered.",
        "items": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": "Name of the Secret."},
                "selector": {"type": "object", "description": "The opt-in label, which is the grant."},
                "namespaces": {
                    "type": "array",
                    "description": "Namespaces that may carry the label.",
                    "items": {"type": "string"},
                },
                "hosts": {"type": "array", "description": "Canonical hosts.", "items": {"type": "string"}},
                "rejectedHosts": {
                    "type": "array",
                    "description": "Names of the same registry that no login is for.",
                    "items": {"type": "string"},
                },
            },
            "required": ["name", "selector", "namespaces", "hosts"],
            "additionalProperties": False,
        },
        "default": [],
    }
}
"""The setting: without it no label, host or Secret is anybody's."""

_PORT = re.compile(r":[0-9]*$")
_ADDRESS = re.compile(r"\[.*\]|[0-9]+(\.[0-9]+){3}")


@dataclass(frozen=True)
class KnownRegistry:
    """One registry of the setting."""

    name: str
    selector: Mapping[str, str]
    namespaces: tuple[str, ...]
    hosts: tuple[str, ...]
    rejected_hosts: tuple[str, ...]

    def could_be_granted_by(self, labels: Values) -> bool:
        """Tell whether labels grant the registry, or could once all is known."""
        return all(could_be(labels.get(key), value) for key, value in self.selector.items())

    def permits(self, namespace: str) -> bool:
        """Tell whether the label may stand on a namespace; on a platform namespace it never may."""
        return names.matches(namespace, self.namespaces) and not names.is_platform_namespace(namespace)


@dataclass(frozen=True)
class OtherName:
    """A host by which images mean a registry, and under which the kubelet finds no login."""

    registry: KnownRegistry
    certain: bool
    """Whether it is surely this registry, and not only somebody's of the same domain."""


def other_name(registries: Iterable[KnownRegistry], host: str) -> OtherName | None:
    """Return which registry a host of an image means by another name than logins are for; None for any other host.

    Sure of it are the setting `rejectedHosts`, and the same host by another port, in capitals or with a trailing dot:
    the kubelet compares letter by letter. A host below the same registrable domain may be one.
    """
    known = tuple(registries)
    if host in hosts_of(known):
        return None
    for registry in known:
        if host in registry.rejected_hosts or _machine(host) in map(_machine, registry.hosts):
            return OtherName(registry, certain=True)
    domain = _registrable_domain(host)
    if domain is None:
        return None
    alike = (registry for registry in known if domain in map(_registrable_domain, registry.hosts))
    return next((OtherName(registry, certain=False) for registry in alike), None)


def meant_by_key(registries: Iterable[KnownRegistry], key: str) -> KnownRegistry | None:
    """Return the registry that a key of `auths` means by another name, or takes in with a wildcard; else None."""
    known, host = tuple(registries), keys.host_of(key)
    if "*" in host:
        return next((registry for registry in known if any(keys.opens_on(key, name) for name in registry.hosts)), None)
    found = other_name(known, host)
    return found.registry if found and found.certain else None


def known_registries(info: PolicyInfo, settings: Settings) -> tuple[KnownRegistry, ...]:
    """Return the registries of a policy's settings."""
    return tuple(
        KnownRegistry(
            name=str(item.get("name", "")),
            selector={str(key): str(value) for key, value in mapping(item.get("selector")).items()},
            namespaces=_texts(item.get("namespaces")),
            hosts=_texts(item.get("hosts")),
            rejected_hosts=_texts(item.get("rejectedHosts")),
        )
        for item in map(mapping, sequence(info.setting(settings, "registries")))
    )


def hosts_of(registries: Iterable[KnownRegistry]) -> tuple[str, ...]:
    """Return the canonical hosts of all registries."""
    return tuple(host for registry in registries for host in registry.hosts)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in sequence(value))


def _machine(host: str) -> str:
    return _PORT.sub("", host).rstrip(".").lower()


@cache
def _registrable_domain(host: str) -> str | None:
    """Return the domain that somebody registered, such as `example.co.uk`; none for an address or a single label."""
    machine = _machine(host)
    if _ADDRESS.fullmatch(machine):
        return None
    return _public_suffixes().privatesuffix(machine)


@cache
def _public_suffixes() -> PublicSuffixList:
    # The list comes with the package: nothing is downloaded.
    return PublicSuffixList()
