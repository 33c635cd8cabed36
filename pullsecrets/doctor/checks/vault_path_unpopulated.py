"""A registry's Vault path was never written, so that ExternalSecrets have nothing to resolve.

Metadata alone may be there: the stack declares it before the credential is seeded. Reads metadata only.
"""

from collections.abc import Iterator

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import NOT_SYNCED, again_command, entry_path, seed_command
from pullsecrets.doctor.snapshot import Snapshot

NAME = "vault-path-unpopulated"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the registries whose path has no version."""
    for registry in snapshot.config.vault_registries:
        metadata = snapshot.metadata[registry.name]
        if metadata is not None and metadata.current_version:
            continue
        path = entry_path(snapshot, registry)
        found = "no such path" if metadata is None else "metadata and no version"
        yield Finding(
            check=NAME,
            severity=Severity.CLUSTER,
            symptom=f"ExternalSecrets {registry.name} fail: the secret does not exist.",
            cause=f"No credential was ever seeded into Vault path {path}.",
            evidence=(f"Vault metadata of {path}: {found}",),
            fix=(seed_command(snapshot, registry), again_command(snapshot)),
            prevention="Seed before the first `pulumi up`; gate: fail makes the program insist on it.",
            registry=registry.name,
        )


CHECK = Check(NAME, "Each registry's Vault path holds a credential", find, explains=NOT_SYNCED)
