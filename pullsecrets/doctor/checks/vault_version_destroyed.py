"""The current version of a registry's Vault path was destroyed: its value is gone for good.

An older version may still be live, and `pull-secrets rollback` writes it again; otherwise seed anew. Reads metadata
only.
"""

from collections.abc import Iterator

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import NOT_SYNCED, again_command, entry_path, seed_command
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.vault_entry import current, last_live

NAME = "vault-version-destroyed"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the registries whose current version is destroyed."""
    for registry in snapshot.config.vault_registries:
        metadata = snapshot.metadata[registry.name]
        version = current(metadata)
        if metadata is None or version is None or version.state != "destroyed":
            continue
        path = entry_path(snapshot, registry)
        older = any(item.state == "live" for item in metadata.versions)
        back = f"pull-secrets rollback {registry.name} --stack {snapshot.stack}   # writes the last live version again"
        yield Finding(
            check=NAME,
            severity=Severity.CLUSTER,
            symptom=f"ExternalSecrets {registry.name} fail: the secret does not exist.",
            cause=f"Version {version.version} of Vault path {path}, the current one, was destroyed; its value is gone.",
            evidence=(f"Vault metadata of {path}: version {version.version} destroyed", last_live(metadata)),
            fix=(*((back,) if older else ()), seed_command(snapshot, registry), again_command(snapshot)),
            prevention="Give nobody `destroy` on the path, and keep several versions (maxVersions).",
            registry=registry.name,
        )


CHECK = Check(NAME, "The current version of each Vault path is not destroyed", find, explains=NOT_SYNCED)
