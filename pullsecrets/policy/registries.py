"""The registries that policies know: which label grants each, where it may stand, and which hosts are right."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pullsecrets import names
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
                    "description": "Where the label may stand.",
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
        "default": [
            {
                "name": "app-registry-pull",
                "selector": {"apps.platform/tenant": "true"},
                "namespaces": ["apps-*"],
                "hosts": ["app-registry.apps.sub.comptech-lab.com"],
                "rejectedHosts": ["app-registry.sub.comptech-lab.com"],
            },
            {
                "name": "registry-api-tanhdev",
                "selector": {"apps.platform/registry-api-tanhdev": "true"},
                "namespaces": ["*-dev", "*-production"],
                "hosts": ["registry-api.tanhdev.com"],
                "rejectedHosts": [],
            },
        ],
    }
}
"""The setting, with the registries of this repository's stacks as its default."""


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

    def has_other_name(self, host: str) -> bool:
        """Tell whether a host is this registry by a name that no login is for."""
        if host in self.hosts:
            return False
        if host in self.rejected_hosts:
            return True
        # The same machine under another domain or port: the kubelet looks logins up by the exact text.
        first_labels = {known.partition(".")[0] for known in self.hosts if known.count(".") > 1}
        return host.partition(".")[0] in first_labels or host.partition(":")[0] in self.hosts


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
