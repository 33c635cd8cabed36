"""Older versions of a registry's Vault path can still be read, and whether their logins were revoked is not known here.

A policy grants a path with all its versions: a tenant's own ExternalSecret reads an older one by `remoteRef.version`.
Revoke replaced logins at the registry, or have `rotate --destroy-previous` destroy what was replaced a day ago.
"""

from collections.abc import Iterator

from pullsecrets.delivery.retirement import DEFAULT_GRACE, retired
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import again_command, entry_path
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.durations import parse_duration
from pullsecrets.text import counted

NAME = "older-versions-readable"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the registries whose path has versions that were replaced longer ago than the grace period."""
    grace = parse_duration(DEFAULT_GRACE)
    for registry in snapshot.config.vault_registries:
        metadata = snapshot.metadata[registry.name]
        old = retired(metadata, grace, snapshot.now) if metadata else ()
        if not old:
            continue
        rotate = f"pull-secrets rotate {registry.name} --stack {snapshot.stack}"
        numbers = ", ".join(str(item.version) for item in old)
        yield Finding(
            check=NAME,
            severity=Severity.WARNING,
            symptom=f"Whoever may read the credential of {registry.name} can read the ones before it too.",
            cause=f"{counted(len(old), 'older version')} hold logins that were not revoked, as far as Vault knows.",
            evidence=(f"Vault metadata of {entry_path(snapshot, registry)}: not destroyed: versions {numbers}",),
            fix=(
                f"# revoke the replaced logins at {', '.join(registry.hosts)}; then, with the one that is in use:",
                f"{rotate} --from-file dockerconfig.json --destroy-previous",
                again_command(snapshot),
            ),
            prevention="Rotate with --destroy-previous, and revoke a login at the registry when it was replaced.",
            registry=registry.name,
        )


CHECK = Check(NAME, "Older versions of a credential cannot be read any more", find)
