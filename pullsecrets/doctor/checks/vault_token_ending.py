"""The caller's Vault token ends before a rotation would: what is written could be neither recorded nor taken back.

Judged by the time that `rotate` waits by default. Who has no Vault token, or may not look it up, is not asked for one.
"""

from collections.abc import Iterator

from pullsecrets.delivery.rotation import DEFAULT_TIMEOUT
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.errors import PullSecretsError

NAME = "vault-token-ending"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield a token of the caller that a rotation would outlive."""
    if not snapshot.config.has_vault:
        return
    try:
        left = snapshot.vault.token_seconds()
    except PullSecretsError:
        return
    if left is not None and left < DEFAULT_TIMEOUT:
        yield Finding(
            check=NAME,
            severity=Severity.WARNING,
            symptom="A rotation that is begun now can end with permission denied, half way.",
            cause=f"Your Vault token ends in {left} s, and `rotate` waits up to {DEFAULT_TIMEOUT} s.",
            evidence=(f"Vault auth/token/lookup-self: ttl {left} s",),
            fix=("vault token renew   # or `vault login` again",),
            prevention="Log in before a rotation with a token that lives longer than its --timeout.",
        )


CHECK = Check(NAME, "The caller's Vault token outlives a rotation", find)
