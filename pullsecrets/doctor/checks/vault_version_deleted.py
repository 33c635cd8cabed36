"""The current version of a registry's Vault path was soft-deleted: its value is kept and can be brought back.

`vault kv delete` does it, and so does `delete_version_after`. ESO keeps the Secrets that it delivered. Reads metadata
only.
"""

from collections.abc import Iterator

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import NOT_SYNCED, again_command, entry_path
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.vault_entry import current, last_live

NAME = "vault-version-deleted"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the registries whose current version is soft-deleted."""
    for registry in snapshot.config.vault_registries:
        metadata = snapshot.metadata[registry.name]
        version = current(metadata)
        if metadata is None or version is None or version.state != "deleted":
            continue
        path = entry_path(snapshot, registry)
        mount = snapshot.config.vault.mount
        yield Finding(
            check=NAME,
            severity=Severity.CLUSTER,
            symptom=f"ExternalSecrets {registry.name} fail: the secret does not exist.",
            cause=f"Version {version.version} of Vault path {path}, the current one, was deleted and can be undeleted.",
            evidence=(
                f"Vault metadata of {path}: version {version.version} deleted {version.deleted}",
                last_live(metadata),
            ),
            fix=(
                f"vault kv undelete -mount={mount} -versions={version.version} {registry.path}",
                f"pull-secrets rollback {registry.name} --stack {snapshot.stack}   # or go back to an older version",
                again_command(snapshot),
            ),
            prevention="Give nobody `delete` on the path; to withdraw a credential rotate it.",
            registry=registry.name,
        )


CHECK = Check(NAME, "The current version of each Vault path is not deleted", find, explains=NOT_SYNCED)
