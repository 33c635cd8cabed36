"""The seeded credential has no login for a host that the stack names as canonical.

`seed` refuses such a credential, so the host was added to the stack afterwards. Pods that pull from it find no login.
"""

from collections.abc import Iterator

from pullsecrets.credential.vault_entry import SEEDED_HOSTS_KEY
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.snapshot import Snapshot

NAME = "credential-lacks-host"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield registries with a host that the path's metadata does not record."""
    for registry in snapshot.config.vault_registries:
        metadata = snapshot.metadata[registry.name]
        recorded = metadata.custom.get(SEEDED_HOSTS_KEY, "").split(",") if metadata and metadata.live else []
        lacking = [host for host in registry.hosts if host not in recorded]
        if not any(recorded) or not lacking:
            continue
        path = f"{snapshot.config.vault.mount}/{registry.path}"
        yield Finding(
            check=NAME,
            severity=Severity.CLUSTER,
            symptom=f"Pods cannot pull from {', '.join(lacking)} in any namespace.",
            cause="The stack names a canonical host that the seeded credential has no login for.",
            evidence=(
                f"Vault {path}: metadata records logins for {', '.join(recorded)}",
                f"stack {snapshot.stack}: hosts of {registry.name}: {', '.join(registry.hosts)}",
            ),
            fix=(f"pull-secrets rotate {registry.name} --stack {snapshot.stack} --from-file dockerconfig.json",),
            prevention="After adding a host to a registry, seed a credential that has a login for it.",
            registry=registry.name,
        )


CHECK = Check(NAME, "The seeded credential has a login for each canonical host", find, explains=("pod-cannot-pull",))
