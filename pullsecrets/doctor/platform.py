"""What the checks on Vault, the store and ESO share: commands, wording, and what follows when nothing is delivered."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pullsecrets.config import Registry
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.store_access import Login, login_of
from pullsecrets.doctor.vault_server import Condition, VaultServer
from pullsecrets.eso import GROUP
from pullsecrets.kube import condition
from pullsecrets.manifests import RelaySpec

NOT_SYNCED = (
    "external-secret-failing",
    "external-secret-missing",
    "secret-missing",
    "content-stale",
    "content-unproved",
)
"""What tenants see while ESO reads or writes nothing for a registry."""

STORE_UNUSABLE = ("store-not-ready", *NOT_SYNCED)
"""What everybody sees while nobody can read Vault through the store."""

CONTROLLER = "kubectl get deployments -A -l app.kubernetes.io/name=external-secrets"


def server_in(snapshot: Snapshot, condition: Condition) -> VaultServer | None:
    """Return Vault when it is in a condition; None when it is not, or the stack has none."""
    if not snapshot.config.has_vault:
        return None
    server = snapshot.vault_server
    return server if server.condition == condition else None


@dataclass(frozen=True)
class Store:
    """A ClusterSecretStore of the stack, as it is in the cluster."""

    name: str
    registry: Registry | None
    """The registry that it relays; None for the one that reads Vault."""
    item: Mapping[str, Any] | None
    """None when it is not there."""


def stores(snapshot: Snapshot) -> tuple[Store, ...]:
    """Return the stores that the stack declares: the one that reads Vault, and one for each relayed registry."""
    found = [Store(snapshot.config.eso.store, None, snapshot.store)] if snapshot.config.has_vault else []
    for registry in snapshot.config.registries:
        if registry.relayed:
            name = RelaySpec.of(snapshot.config, registry).name
            path = f"{GROUP}/clustersecretstores/{name}"
            found.append(Store(name, registry, snapshot.once(f"store/{name}", partial(snapshot.cluster.find, path))))
    return tuple(found)


def store_evidence(snapshot: Snapshot) -> str:
    """Return what the store itself says, which ESO renews only every few minutes."""
    name = snapshot.config.eso.store
    if snapshot.store is None:
        return f"ClusterSecretStore {name}: there is none"
    status, message = readiness(snapshot.store)
    return f"ClusterSecretStore {name}: Ready={status}: {message}"


def readiness(item: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return status and message of an object's condition Ready; `Unknown` when it has none yet."""
    ready = condition(item, "Ready")
    return (ready["status"], ready.get("message", "")) if ready else ("Unknown", "not reconciled yet")


def login(snapshot: Snapshot) -> Login:
    """Return how the live store logs in to Vault."""
    return login_of(snapshot.config, snapshot.store)


def login_evidence(snapshot: Snapshot) -> str:
    """Return what was tried to learn what Vault grants."""
    found = login(snapshot)
    return (
        f"{snapshot.vault_server.endpoint.address}: login of doctor's own at auth/{found.mount} to role {found.role} "
        f"as ServiceAccount {found.account}"
    )


def entry_path(snapshot: Snapshot, registry: Registry) -> str:
    """Return a registry's KV path as `vault kv` takes it."""
    return f"{snapshot.config.vault.mount}/{registry.path}"


def seed_command(snapshot: Snapshot, registry: Registry) -> str:
    """Return the command that puts a credential into a registry's path."""
    return f"pull-secrets seed {registry.name} --stack {snapshot.stack} --from-file dockerconfig.json"


def up_command(snapshot: Snapshot) -> str:
    """Return the command that brings back what the stack declares, also where others changed it."""
    return f"pulumi up --stack {snapshot.stack} --refresh"


def again_command(snapshot: Snapshot) -> str:
    """Return the command that shows whether it helped."""
    return f"pull-secrets doctor --stack {snapshot.stack}"


def revalidate_command(store: str) -> str:
    """Return the command that has ESO look at a store now and not in a few minutes."""
    change = 'apps.platform/revalidated-at="$(date +%s)" --overwrite'
    return f"kubectl annotate clustersecretstore {store} {change}   # or wait: ESO looks every few minutes"
