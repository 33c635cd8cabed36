"""Vault has mount and role, and refuses the login nevertheless: most often it cannot review ESO's token.

Vault asks the cluster's API server whether the token is good, with that same token. It needs the ClusterRoleBinding
to `system:auth-delegator` that the stack declares, a `kubernetes_host` that Vault reaches, and the API server's CA.
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
from pullsecrets.manifests.builders import ReviewerSpec

NAME = "vault-login-refused"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield one finding when the login fails for neither mount nor role."""
    binding = ReviewerSpec.of(snapshot.config).name
    for store, access in islice(refused(snapshot, {Refusal.REVIEW, Refusal.OTHER}), 1):
        found = access.login
        cause = f"Vault cannot review the token of ServiceAccount {found.account} with the cluster's API server."
        if access.refusal == Refusal.OTHER:
            cause = f"Vault refuses the login of ServiceAccount {found.account}: {access.message}."
        yield Finding(
            check=NAME,
            severity=Severity.CLUSTER,
            symptom="The store stops being Ready, and no namespace receives a new or rotated credential.",
            cause=cause,
            evidence=(f"{login_evidence(snapshot, found)}: {access.message}", store_evidence(snapshot, store)),
            fix=(
                f"kubectl get clusterrolebinding {binding} -o yaml   # to system:auth-delegator, for {found.account}",
                f"vault read auth/{found.mount}/config   # kubernetes_host and kubernetes_ca_cert of this cluster",
                up_command(snapshot),
                again_command(snapshot),
            ),
            prevention="Let only the stack manage the mount's configuration and the token reviewer's binding.",
        )


CHECK = Check(NAME, "Vault can review ESO's token", find, explains=STORE_UNUSABLE)
