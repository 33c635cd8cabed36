"""The role exists and is bound to another ServiceAccount, another namespace or another audience than ESO's token.

Found by a login of doctor's own with a token of ESO's ServiceAccount; Vault says which of the three does not fit. ESO
moved to another namespace, or a role shared between clusters, are the usual causes.
"""

from collections.abc import Iterator

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import STORE_UNUSABLE, again_command, login, login_evidence, store_evidence, up_command
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.store_access import BOUND_ELSEWHERE, Login, Refusal

NAME = "vault-role-bound-elsewhere"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield one finding when the role refuses ESO's token."""
    if not snapshot.config.has_vault or snapshot.store_access.refusal not in BOUND_ELSEWHERE:
        return
    refusal, found = snapshot.store_access.refusal, login(snapshot)
    yield Finding(
        check=NAME,
        severity=Severity.CLUSTER,
        symptom="The store stops being Ready, and no namespace receives a new or rotated credential.",
        cause=f"Vault's role {found.role!r} at {found.mount!r} {_difference(refusal, found)}.",
        evidence=(f"{login_evidence(snapshot)}: {snapshot.store_access.message}", store_evidence(snapshot)),
        fix=(f"vault read auth/{found.mount}/role/{found.role}", up_command(snapshot), again_command(snapshot)),
        prevention="Give each cluster a mount and a role of its own, declared by its stack alone.",
    )


def _difference(refusal: Refusal | None, found: Login) -> str:
    return {
        Refusal.ACCOUNT: f"is bound to another ServiceAccount than ESO's {found.service_account!r}",
        Refusal.NAMESPACE: f"is bound to another namespace than ESO's {found.namespace!r}",
        Refusal.AUDIENCE: f"is bound to none of the store's audiences ({', '.join(found.audiences) or 'none'})",
    }[refusal or Refusal.ACCOUNT]


CHECK = Check(NAME, "The role is bound to ESO's ServiceAccount, namespace and audience", find, explains=STORE_UNUSABLE)
