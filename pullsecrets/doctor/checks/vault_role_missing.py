"""The role that the store logs in to does not exist at the auth mount.

Found by a login of doctor's own, which Vault answers with `invalid role name`.
"""

from collections.abc import Iterator

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import (
    STORE_UNUSABLE,
    again_command,
    login_evidence,
    refused,
    sole,
    store_evidence,
    up_command,
)
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.store_access import Refusal

NAME = "vault-role-missing"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the stores whose role Vault does not know."""
    for store, access in refused(snapshot, {Refusal.ROLE}):
        found = access.login
        yield Finding(
            check=NAME,
            severity=Severity.CLUSTER,
            symptom="The store stops being Ready, and no namespace receives a new or rotated credential.",
            cause=f"Vault has no role {found.role!r} at auth mount {found.mount!r}.",
            evidence=(f"{login_evidence(snapshot, found)}: {access.message}", store_evidence(snapshot, store)),
            fix=(f"vault list auth/{found.mount}/role", up_command(snapshot), again_command(snapshot)),
            prevention="Let only the stack manage the roles: vault.auth.role names the first one that it declares.",
            registry=sole(store.registries),
        )


CHECK = Check(NAME, "The role that the store logs in to exists", find, explains=STORE_UNUSABLE)
