"""What the checks on Vault, the store and ESO share: commands, wording, and what follows when nothing is delivered."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pullsecrets.config import Registry, VaultStore
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.store_access import Login, Refusal, StoreAccess
from pullsecrets.doctor.vault_server import Condition, VaultServer, provider_of
from pullsecrets.kube.client import last_seen, unless_refused
from pullsecrets.kube.objects import condition
from pullsecrets.redaction import redact

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

STORE_STOPS = "The store stops being Ready, and no namespace receives a new or rotated credential."
ESO_STOPS = "No namespace receives a new or rotated credential, and no status of ESO's objects changes."
"""Symptoms that several causes share."""

PROJECT = "pull-secrets"
"""Name of the Pulumi project, which owners of objects are told by."""

CONTROLLER = "kubectl get deployments -A -l app.kubernetes.io/name=external-secrets"

LONGEST_MESSAGE = 400
"""Characters of a message that are shown."""

Messages = Mapping[tuple[str, str], tuple[str, ...]]


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
    registries: tuple[Registry, ...]
    """The registries that are read through it."""
    item: Mapping[str, Any] | None
    """None when it is not there."""


def sole(registries: Sequence[Registry]) -> str | None:
    """Return the one registry that a finding about a store concerns; None for several."""
    return registries[0].name if len(registries) == 1 else None


def stores(snapshot: Snapshot) -> tuple[Store, ...]:
    """Return the stores that the stack declares: those that read Vault, and one for each relayed registry."""
    config = snapshot.config
    relays = {config.relay_store(registry): (registry,) for registry in config.registries if registry.relayed}
    declared = {**{store.name: store.registries for store in config.vault_stores}, **relays}
    return tuple(Store(name, registries, snapshot.store(name)) for name, registries in declared.items())


def store_evidence(snapshot: Snapshot, store: VaultStore | None = None) -> str:
    """Return what a store says itself, which ESO renews only every few minutes; the first one that reads Vault."""
    name = (store or snapshot.config.vault_stores[0]).name
    item = snapshot.store(name)
    if item is None:
        return f"ClusterSecretStore {name}: there is none"
    status, message = readiness(item)
    return f"ClusterSecretStore {name}: Ready={status}: {message}"


def elsewhere(snapshot: Snapshot) -> Iterator[tuple[VaultStore, str]]:
    """Yield the live stores that name another Vault than the stack file, and its address."""
    for store in snapshot.config.vault_stores:
        server = str(provider_of(snapshot.store(store.name)).get("server") or "").rstrip("/")
        if server and server != snapshot.config.vault.address:
            yield store, server


def readiness(item: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return status and message of an object's condition Ready; `Unknown` when it has none yet."""
    ready = condition(item, "Ready")
    return (ready["status"], ready.get("message", "")) if ready else ("Unknown", "not reconciled yet")


def refused(snapshot: Snapshot, refusals: Collection[Refusal]) -> Iterator[tuple[VaultStore, StoreAccess]]:
    """Yield the stores whose login Vault refuses for one of these reasons, and what it said."""
    for store in snapshot.config.vault_stores:
        access = snapshot.store_access(store)
        if access.refusal in refusals:
            yield store, access


def login_evidence(snapshot: Snapshot, found: Login) -> str:
    """Return what was tried to learn what Vault grants."""
    return (
        f"{snapshot.vault_server.endpoint.address}: login of doctor's own at auth/{found.mount} to role {found.role} "
        f"as ServiceAccount {found.account}"
    )


def refusal_evidence(snapshot: Snapshot, store: VaultStore, access: StoreAccess) -> tuple[str, ...]:
    """Return what Vault said to the login through a store, and what the store says itself."""
    return (f"{login_evidence(snapshot, access.login)}: {access.message}", store_evidence(snapshot, store))


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


def revalidate_command(*names: str) -> str:
    """Return the command that has ESO look at stores now and not in a few minutes."""
    change = 'apps.platform/revalidated-at="$(date +%s)" --overwrite'
    return f"kubectl annotate clustersecretstore {' '.join(names)} {change}   # or wait: ESO looks every few minutes"


def permitted_items(snapshot: Snapshot, path: str, query: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Return the objects that a path lists; none for anyone who may not list them, or where there is no such kind."""
    return unless_refused(lambda: list(snapshot.cluster.items(path, query)), 403, 404) or []


def warnings(snapshot: Snapshot, kind: str, reason: str) -> Messages:
    """Return the warnings about objects of a kind by namespace and name, newest first.

    Anyone who may not read events gets none: they are evidence, and no check depends on them.
    """

    def read() -> Messages:
        scope = f"/namespaces/{snapshot.only}" if snapshot.only else ""
        query = {"fieldSelector": f"involvedObject.kind={kind},reason={reason},type=Warning"}
        found = permitted_items(snapshot, f"/api/v1{scope}/events", query)
        messages: dict[tuple[str, str], list[str]] = {}
        for event in sorted(found, key=last_seen, reverse=True):
            about = event["involvedObject"]
            line = one_line(str(event.get("message", "")))
            messages.setdefault((about.get("namespace", ""), about["name"]), []).append(line)
        return {place: tuple(dict.fromkeys(lines)) for place, lines in messages.items()}

    return snapshot.once(f"events/{kind}/{reason}", read)


def one_line(message: str) -> str:
    """Return what a node or a controller says, without credentials and not too long to be read."""
    text = " ".join(redact(message).split())
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]}…"
