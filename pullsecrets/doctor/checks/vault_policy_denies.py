"""ESO's login works and its token may not read a registry's path (403).

Told apart: the role no longer hands out the registry's policy; the policy was removed; the policy does not hold the
path. Doctor logs in as ESO does and asks Vault what the token may do; the credential itself is not read.
"""

from collections.abc import Iterator

from pullsecrets.config import Registry
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import NOT_SYNCED, again_command, login_evidence, up_command
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.store_access import StoreAccess
from pullsecrets.errors import PullSecretsError
from pullsecrets.manifests.builders import vault_policy_name

NAME = "vault-policy-denies"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the registries whose path ESO's token may not read."""
    for store in snapshot.config.vault_stores:
        access = snapshot.store_access(store)
        for registry in () if access.refusal else store.registries:
            if not access.readable[registry.name]:
                yield _denied(snapshot, registry, access)


def _denied(snapshot: Snapshot, registry: Registry, access: StoreAccess) -> Finding:
    path = f"{snapshot.config.vault.mount}/data/{registry.path}"
    policy = vault_policy_name(snapshot.config, registry)
    granted, login = ", ".join(access.policies), access.login
    return Finding(
        check=NAME,
        severity=Severity.CLUSTER,
        symptom=f"ExternalSecrets {registry.name} fail with 403 or `permission denied` although the store is Ready.",
        cause=_cause(snapshot, registry, policy, access),
        evidence=(
            f"{login_evidence(snapshot, login)}: policies {granted}",
            f"sys/capabilities-self: no `read` on {path}",
        ),
        fix=(
            f"vault policy read {policy}",
            f"vault read auth/{login.mount}/role/{login.role}   # token_policies",
            up_command(snapshot),
            again_command(snapshot),
        ),
        prevention="Let only the stack write policies named pull-secrets-*, and preview for drift on a schedule.",
        registry=registry.name,
    )


def _cause(snapshot: Snapshot, registry: Registry, policy: str, access: StoreAccess) -> str:
    path = f"{snapshot.config.vault.mount}/data/{registry.path}"
    if policy not in access.policies:
        return f"Vault's role {access.login.role!r} does not hand out policy {policy!r}, which reads {path}."
    try:
        text = snapshot.vault.read_policy(policy)
    except PullSecretsError:
        return f"Vault's policy {policy!r} was removed or does not hold {path} (your token may not read policies)."
    if text is None:
        return f"Vault's policy {policy!r} was removed; the role still names it."
    return f"Vault's policy {policy!r} does not let {path} be read."


CHECK = Check(NAME, "ESO's token may read each registry's path", find, explains=NOT_SYNCED)
