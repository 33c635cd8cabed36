"""Nobody can tell whether the delivered content is the seeded one, because a digest is missing.

Delivery is proved by two digests: one that `seed` records beside the Vault path for the version it wrote, and one that
ESO writes beside each Secret. The first is missing when somebody wrote to Vault by other means, the second when the
ClusterExternalSecret in the cluster is not the stack's.
"""

from collections.abc import Iterator

from pullsecrets.config import Registry
from pullsecrets.credential.vault import EntryMetadata
from pullsecrets.credential.vault_entry import DIGEST_KEY, VERSION_KEY, seeded_digest
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import seed_command, up_command
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import rows
from pullsecrets.kube.marks import CONTENT_DIGEST_ANNOTATION

NAME = "content-unproved"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield paths without a digest of their live version, then Secrets without a digest of their content."""
    for registry in snapshot.config.vault_registries:
        metadata = snapshot.metadata[registry.name]
        if metadata is not None and metadata.live and seeded_digest(metadata) is None:
            yield _unrecorded(snapshot, registry, metadata)
    for row in rows(snapshot):
        delivery = snapshot.inventory.delivery(row.registry, row.namespace)
        if row.typed and row.digest is None and delivery.delivered:
            yield Finding(
                check=NAME,
                severity=Severity.WARNING,
                symptom=f"Audit cannot tell whether {row.namespace} holds the seeded credential.",
                cause="ESO delivered the Secret without a digest: the live ClusterExternalSecret is not the stack's.",
                evidence=(f"Secret {row.namespace}/{row.registry}: no annotation {CONTENT_DIGEST_ANNOTATION}",),
                fix=(up_command(snapshot),),
                prevention="Change the ClusterExternalSecret through the stack alone.",
                namespace=row.namespace,
                registry=row.registry,
            )


def _unrecorded(snapshot: Snapshot, registry: Registry, metadata: EntryMetadata) -> Finding:
    path = f"{snapshot.config.vault.mount}/{registry.path}"
    recorded = metadata.custom.get(VERSION_KEY)
    told = f"{DIGEST_KEY} is of version {recorded}" if recorded else f"no {DIGEST_KEY}"
    return Finding(
        check=NAME,
        severity=Severity.WARNING,
        symptom=f"Audit cannot tell which namespaces hold the credential of {registry.name} that is in Vault.",
        cause="Somebody wrote the path by other means than `pull-secrets seed`, which records a digest.",
        evidence=(f"Vault {path}: version {metadata.current_version} is live, {told}",),
        fix=(f"{seed_command(snapshot, registry)}   # the same credential",),
        prevention="Write the path with `pull-secrets seed` and `rotate` alone; grant write on it to the seeder.",
        registry=registry.name,
    )


CHECK = Check(NAME, "Digests prove what was delivered", find)
