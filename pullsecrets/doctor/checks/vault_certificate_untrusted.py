"""Vault's certificate is not signed by what the store trusts, has expired, or is for another name.

Judged with the store's own `caBundle`, or the system's certificates where it has none, as ESO does. A CA that was
renewed without the stack's `vault.caBundle` is the usual cause.
"""

from collections.abc import Iterator
from urllib.parse import urlsplit

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import STORE_UNUSABLE, again_command, server_in, store_evidence, up_command
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.vault_server import Condition

NAME = "vault-certificate-untrusted"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield one finding when TLS to Vault fails."""
    server = server_in(snapshot, Condition.UNTRUSTED)
    if server is None:
        return
    parts = urlsplit(server.endpoint.address)
    where = f"{parts.hostname}:{parts.port or 443}"
    yield Finding(
        check=NAME,
        severity=Severity.CLUSTER,
        symptom="The store stops being Ready, and no namespace receives a new or rotated credential.",
        cause=f"{server}.",
        evidence=(
            f"TLS to {server.endpoint.address}: {server.message}",
            f"trusted by: {server.endpoint.source}",
            store_evidence(snapshot),
        ),
        fix=(
            f"openssl s_client -connect {where} -showcerts </dev/null   # who signed it, and until when it is valid",
            f"pulumi config set --path pull-secrets:vault.caBundle --stack {snapshot.stack} < vault-ca.pem",
            up_command(snapshot),
            again_command(snapshot),
        ),
        prevention="Before a CA is renewed put old and new into vault.caBundle; alert on certificate expiry.",
    )


CHECK = Check(NAME, "Vault's certificate is trusted by the store", find, explains=STORE_UNUSABLE)
