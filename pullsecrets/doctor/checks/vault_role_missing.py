"""The role that the store logs in to does not exist at the auth mount.

Found by a login of doctor's own, which Vault answers with `invalid role name`.
"""

from collections.abc import Iterator

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import STORE_UNUSABLE, again_command, login, login_evidence, store_evidence, up_command
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.store_access import Refusal

NAME = "vault-role-missing"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield one finding when Vault does not know the role."""
    if not snapshot.config.has_vault or snapshot.store_access.refusal != Refusal.ROLE:
        return
    found = login(snapshot)
    yield Finding(
        check=NAME,
        severity=Severity.CLUSTER,
        symptom="The store stops being Ready, and no namespace receives a new or rotated credential.",
        cause=f"Vault has no role {found.role!r} at auth mount {found.mount!r}.",
        evidence=(f"{login_evidence(snapshot)}: {snapshot.store_access.message}", store_evidence(snapshot)),
        fix=(f"vault list auth/{found.mount}/role", up_command(snapshot), again_command(snapshot)),
        prevention="Let only the stack manage the role: vault.auth.role names the one that is declared and used.",
    )


CHECK = Check(NAME, "The role that the store logs in to exists", find, explains=STORE_UNUSABLE)
