"""The Vault path holds a version whose value has not the key that the registry's ExternalSecrets ask for.

A `vault kv put` by hand with another key, or with the document's fields instead of the document, does it. The value is
not read: ESO's own events name the missing key, and the metadata tells that `pull-secrets seed` did not write it.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pullsecrets.config import Registry
from pullsecrets.credential.vault_entry import seeded_digest
from pullsecrets.doctor.events import warnings
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import NOT_SYNCED, again_command, entry_path, readiness, seed_command
from pullsecrets.doctor.snapshot import Snapshot

NAME = "vault-property-missing"
_NO_SUCH_KEY = re.compile(r"cannot find secret data for key: \"?([^\s\"]+)")


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the registries whose ExternalSecrets find the path and not the key."""
    for registry in snapshot.config.vault_registries:
        metadata = snapshot.metadata[registry.name]
        # What `seed` wrote has the key; what ESO said before that is past.
        if metadata is None or not metadata.live or seeded_digest(metadata):
            continue
        told = missing_key(snapshot, registry)
        if told is None:
            continue
        path = entry_path(snapshot, registry)
        yield Finding(
            check=NAME,
            severity=Severity.CLUSTER,
            symptom=f"ExternalSecrets {registry.name} fail: could not get secret data from provider.",
            cause=f"Version {metadata.current_version} of Vault path {path} has no key {registry.property!r}.",
            evidence=(told, f"Vault metadata of {path}: version {metadata.current_version} was not written by seed"),
            fix=(seed_command(snapshot, registry), again_command(snapshot)),
            prevention="Write credentials with `pull-secrets seed` or `rotate` only: they keep key and shape.",
            registry=registry.name,
        )


def missing_key(snapshot: Snapshot, registry: Registry) -> str | None:
    """Return ESO's own words for the missing key, where an ExternalSecret that fails now has them."""
    events = warnings(snapshot, "ExternalSecret", "UpdateFailed")
    for namespace, item in sorted(snapshot.external_secrets[registry.name].items()):
        words = [*_condition(item), *events.get((namespace, registry.name), ())[:1]]
        found = next((text for text in words if _NO_SUCH_KEY.search(text)), None)
        if found and readiness(item)[0] == "False":
            return f"ExternalSecret {namespace}/{registry.name}: {found}"
    return None


def _condition(item: Mapping[str, Any]) -> list[str]:
    return [readiness(item)[1]]


CHECK = Check(NAME, "Each registry's Vault path has the key that is asked for", find, explains=NOT_SYNCED)
