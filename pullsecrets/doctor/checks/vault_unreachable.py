"""Vault does not answer at the address that the store names.

Existing Secrets stay (`deletionPolicy: Retain`) and running Pods are not concerned, but no namespace receives a new or
rotated credential. Vault is asked for its seal status, which needs no token, with the certificates that the store
names. Doctor asks from where it runs: where the store stays Ready, look at the way from here to Vault first.
"""

from collections.abc import Iterator

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import (
    STORE_UNUSABLE,
    again_command,
    readiness,
    revalidate_command,
    server_in,
    store_evidence,
)
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.vault_server import Condition

NAME = "vault-unreachable"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield one finding when Vault gives no answer."""
    server = server_in(snapshot, Condition.UNREACHABLE)
    if server is None:
        return
    yield Finding(
        check=NAME,
        severity=Severity.CLUSTER,
        symptom="The store stops being Ready, and no namespace receives a new or rotated credential.",
        cause=f"{server}.",
        evidence=(
            f"GET {server.endpoint.address}/v1/sys/seal-status: {server.message}",
            store_evidence(snapshot),
            *_doubt(snapshot),
        ),
        fix=(
            f"curl -sS --cacert vault-ca.pem {server.endpoint.address}/v1/sys/health   # from here and from a Pod",
            "# bring Vault, its load balancer or its name back; then have ESO look again:",
            revalidate_command(*(store.name for store in snapshot.config.vault_stores)),
            again_command(snapshot),
        ),
        prevention="Run Vault highly available, and alert on its health endpoint and on the store's condition Ready.",
    )


def _doubt(snapshot: Snapshot) -> tuple[str, ...]:
    if readiness(snapshot.store(snapshot.config.vault_stores[0].name))[0] != "True":
        return ()
    return (
        "the store is Ready as of ESO's last look, minutes ago at most: if it stays so, only the way from here fails",
    )


CHECK = Check(NAME, "Vault answers", find, explains=STORE_UNUSABLE)
