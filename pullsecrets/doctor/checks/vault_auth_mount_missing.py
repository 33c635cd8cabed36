"""The Kubernetes auth mount that the store logs in at is not there in Vault.

Found by a login of doctor's own. Vault answers it with the same `permission denied` as a failed token review; the two
are told apart by a login to a role that nobody made, which only a mount that is there answers.
"""

from collections.abc import Iterator
from itertools import islice

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import (
    STORE_UNUSABLE,
    again_command,
    login_evidence,
    refused,
    store_evidence,
    up_command,
)
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.store_access import Refusal

NAME = "vault-auth-mount-missing"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield one finding when no mount answers the login."""
    for store, access in islice(refused(snapshot, {Refusal.MOUNT}), 1):
        mount = access.login.mount
        yield Finding(
            check=NAME,
            severity=Severity.CLUSTER,
            symptom="The stores stop being Ready, and no namespace receives a new or rotated credential.",
            cause=f"Vault has no Kubernetes auth mount {mount!r}: disabled, moved, or never made for this cluster.",
            evidence=(f"{login_evidence(snapshot, access.login)}: {access.message}", store_evidence(snapshot, store)),
            fix=("vault auth list", up_command(snapshot), again_command(snapshot)),
            prevention="Let only the stack manage the mount, and nobody else disable auth mounts of clusters in use.",
        )


CHECK = Check(NAME, "The Kubernetes auth mount of the cluster is there", find, explains=STORE_UNUSABLE)
