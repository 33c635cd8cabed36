"""The role exists and is bound to another ServiceAccount, another namespace or another audience than ESO's token.

Found by a login of doctor's own with a token of ESO's ServiceAccount; Vault says which of the three does not fit. ESO
moved to another namespace, or a role shared between clusters, are the usual causes.
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
from pullsecrets.doctor.store_access import BOUND_ELSEWHERE, Login, Refusal

NAME = "vault-role-bound-elsewhere"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the stores whose role refuses ESO's token."""
    for store, access in refused(snapshot, BOUND_ELSEWHERE):
        found = access.login
        yield Finding(
            check=NAME,
            severity=Severity.CLUSTER,
            symptom="The store stops being Ready, and no namespace receives a new or rotated credential.",
            cause=f"Vault's role {found.role!r} at {found.mount!r} {_difference(access.refusal, found)}.",
            evidence=(f"{login_evidence(snapshot, found)}: {access.message}", store_evidence(snapshot, store)),
            fix=(f"vault read auth/{found.mount}/role/{found.role}", up_command(snapshot), again_command(snapshot)),
            prevention="Give each cluster a mount and roles of its own, declared by its stack alone.",
            registry=sole(store.registries),
        )


def _difference(refusal: Refusal | None, found: Login) -> str:
    return {
        Refusal.ACCOUNT: f"is bound to another ServiceAccount than ESO's {found.service_account!r}",
        Refusal.NAMESPACE: f"is bound to another namespace than ESO's {found.namespace!r}",
        Refusal.AUDIENCE: f"is bound to none of the store's audiences ({', '.join(found.audiences) or 'none'})",
    }[refusal or Refusal.ACCOUNT]


CHECK = Check(NAME, "The role is bound to ESO's ServiceAccount, namespace and audience", find, explains=STORE_UNUSABLE)
