"""The Kubernetes auth mount that the store logs in at is not there in Vault.

Found by a login of doctor's own. Vault answers it with the same `permission denied` as a failed token review; the two
are told apart by a login to a role that nobody made, which only a mount that is there answers.
"""

from collections.abc import Iterator

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import STORE_UNUSABLE, again_command, login, login_evidence, store_evidence, up_command
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.store_access import Refusal

NAME = "vault-auth-mount-missing"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield one finding when no mount answers the login."""
    if not snapshot.config.has_vault or snapshot.store_access.refusal != Refusal.MOUNT:
        return
    mount = login(snapshot).mount
    yield Finding(
        check=NAME,
        severity=Severity.CLUSTER,
        symptom="The store stops being Ready, and no namespace receives a new or rotated credential.",
        cause=f"Vault has no Kubernetes auth mount {mount!r}: it was disabled, moved, or never made for this cluster.",
        evidence=(f"{login_evidence(snapshot)}: {snapshot.store_access.message}", store_evidence(snapshot)),
        fix=("vault auth list", up_command(snapshot), again_command(snapshot)),
        prevention="Let only the stack manage the mount, and let nobody else disable auth mounts of clusters in use.",
    )


CHECK = Check(NAME, "The Kubernetes auth mount of the cluster is there", find, explains=STORE_UNUSABLE)
