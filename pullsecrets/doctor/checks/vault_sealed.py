"""Vault runs and is sealed, or was never initialised, so that it refuses every request.

It happens after each restart where no auto-unseal is configured. The seal status is readable without a token.
"""

from collections.abc import Iterator

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import STORE_UNUSABLE, again_command, revalidate_command, server_in, store_evidence
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.vault_server import Condition

NAME = "vault-sealed"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield one finding when Vault is sealed or not initialised."""
    server = server_in(snapshot, Condition.SEALED) or server_in(snapshot, Condition.UNINITIALIZED)
    if server is None:
        return
    yield Finding(
        check=NAME,
        severity=Severity.CLUSTER,
        symptom="The store stops being Ready, and no namespace receives a new or rotated credential.",
        cause=f"{server}.",
        evidence=(
            f"GET {server.endpoint.address}/v1/sys/seal-status: {server.message or 'not initialised'}",
            store_evidence(snapshot),
        ),
        fix=(
            f"vault operator unseal -address={server.endpoint.address}   # by each holder of a key",
            revalidate_command(*(store.name for store in snapshot.config.vault_stores)),
            again_command(snapshot),
        ),
        prevention="Configure auto-unseal (a cloud KMS, or another Vault's transit), and alert on the seal status.",
    )


CHECK = Check(NAME, "Vault is unsealed", find, explains=STORE_UNUSABLE)
