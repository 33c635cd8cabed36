"""Coverage: which namespaces should have a pull Secret, which have it, with which content, and who is bound to it.

Secrets are listed as metadata only: the API server is never asked for their content.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from pullsecrets.config import Registry, StackConfig, Tenant
from pullsecrets.coverage.inventory import Inventory, read_inventory
from pullsecrets.coverage.rows import Coverage
from pullsecrets.coverage.strays import (
    Concerned,
    Orphan,
    UndeclaredUse,
    UnmanagedSecret,
    orphans,
    undeclared_uses,
    unmanaged_secrets,
)
from pullsecrets.credential.expiry import read_expiry
from pullsecrets.credential.sealed import EXPIRES_AT_ANNOTATION, SEALED_AT_ANNOTATION
from pullsecrets.credential.vault import EntryMetadata, VaultClient
from pullsecrets.credential.vault_entry import EXPIRES_AT_KEY, SEEDED_AT_KEY, seeded_digest
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.marks import CONTENT_DIGEST_ANNOTATION, VERIFIED_PREFIX
from pullsecrets.kube.objects import Object, annotations_of, condition, is_leaving, labels_of
from pullsecrets.manifests import guard
from pullsecrets.names import matches


class _InNamespace(Protocol):
    @property
    def namespace(self) -> str: ...


_Placed = TypeVar("_Placed", bound=_InNamespace)

PODS_UNREADABLE = (
    "Pods could not be read, so namespaces that use a registry without opting in are not shown and this report is not "
    "complete; let the auditor's role list pods (auditor_roles in pullsecrets/manifests/rbac.py)"
)
SECRETS_UNREADABLE = (
    "Secrets of other names could not be listed, so unmanaged pull Secrets are shown only where they have a "
    "registry's name; that takes `pull-secrets roles --surveyors` beside the auditor's role"
)


@dataclass(frozen=True)
class RegistryTotals:
    """The counts that must match for one registry: selected namespaces and namespaces that hold the Secret."""

    registry: str
    selected: int
    delivered: int
    proved: int
    bound: int
    green: int
    expected: int


@dataclass(frozen=True)
class Credential:
    """What Vault tells of a registry's credential without showing it."""

    registry: str
    hosts: tuple[str, ...]
    owner: str
    source: str
    """`vault`, or `sealedSecret` for one that is kept encrypted in the repository."""
    version: int | None
    """Of the path in Vault; 0 when it was never written, None for a sealed credential."""
    digest: str | None
    seeded_at: datetime | None
    expires_at: datetime | None


@dataclass(frozen=True)
class Audit:
    """Coverage of a whole stack, and what stands beside it."""

    rows: tuple[Coverage, ...]
    credentials: tuple[Credential, ...] = ()
    unmanaged_secrets: tuple[UnmanagedSecret, ...] = ()
    orphans: tuple[Orphan, ...] = ()
    undeclared_uses: tuple[UndeclaredUse, ...] = ()
    notes: tuple[str, ...] = ()
    """What could not be read: the report is not complete."""
    limits: tuple[str, ...] = ()
    """What the caller's role leaves out on purpose; what it covers is complete."""
    requests: int = 0
    """Requests to the Kubernetes API."""
    seconds: float = 0.0
    finished_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def green(self) -> bool:
        """Whether every namespace that should have a Secret has the seeded one, bound."""
        return all(row.green for row in self.rows)

    @property
    def warnings(self) -> int:
        """How many things should be looked at although every namespace is green."""
        return len(self.unmanaged_secrets) + len(self.orphans) + len(self.undeclared_uses) + len(self.notes)

    def within(self, patterns: Sequence[str]) -> "Audit":
        """Return what concerns the namespaces of these names or patterns alone."""

        def kept(items: Iterable[_Placed]) -> tuple[_Placed, ...]:
            return tuple(item for item in items if matches(item.namespace, patterns))

        return replace(
            self,
            rows=kept(self.rows),
            unmanaged_secrets=kept(self.unmanaged_secrets),
            orphans=kept(self.orphans),
            undeclared_uses=kept(self.undeclared_uses),
        )

    def totals(self) -> tuple[RegistryTotals, ...]:
        """Return the counts of each registry, in the order of the stack."""
        names = dict.fromkeys([*(item.registry for item in self.credentials), *(row.registry for row in self.rows)])
        return tuple(_totals(name, [row for row in self.rows if row.registry == name]) for name in names)


def audit(config: StackConfig, cluster: KubernetesClient, vault: VaultClient | None) -> Audit:
    """Compare what the stack declares with what the cluster holds and what was seeded.

    Args:
        cluster: the cluster, as an auditor.
        vault: Vault, for its metadata; None for a stack that has none.
    """
    started, sent = time.monotonic(), cluster.requests
    with ThreadPoolExecutor(max_workers=4) as pool:
        reading = {
            registry.name: pool.submit(vault.read_metadata, config.vault.mount, registry.path)
            for registry in config.registries
            if vault and not registry.sealed
        }
        found = read_inventory(config, cluster)
        metadata = {name: future.result() for name, future in reading.items()}
    credentials = tuple(
        sealed_credential(config, registry, found) if registry.sealed else credential(registry, metadata[registry.name])
        for registry in config.registries
    )
    concerned = concerned_namespaces(config, found.namespaces)
    seeded = {item.registry: item.digest for item in credentials}
    return Audit(
        rows=coverage(config, found, _lasting(config, found, concerned), seeded),
        credentials=credentials,
        unmanaged_secrets=unmanaged_secrets(config, found, concerned),
        orphans=orphans(config, found, concerned),
        undeclared_uses=undeclared_uses(config, found, concerned),
        notes=() if found.pods is not None else (PODS_UNREADABLE,),
        limits=() if found.every_pull_secret else (SECRETS_UNREADABLE,),
        requests=cluster.requests - sent,
        seconds=time.monotonic() - started,
        finished_at=datetime.now(UTC),
    )


def concerned_namespaces(config: StackConfig, namespaces: Mapping[str, Object]) -> dict[str, frozenset[str]]:
    """Return by registry the namespaces that should have its Secret: those declared and those that are labelled so."""
    tenants = config.resolve_tenants()

    def of(registry: Registry) -> frozenset[str]:
        declared = {tenant.name for tenant in tenants if registry.name in tenant.registries}
        return frozenset(declared | {name for name, item in namespaces.items() if registry.selects(labels_of(item))})

    return {registry.name: of(registry) for registry in config.registries}


def coverage(
    config: StackConfig, found: Inventory, concerned: Concerned, seeded: Mapping[str, str | None]
) -> tuple[Coverage, ...]:
    """Return a row for each registry and concerned namespace.

    Args:
        concerned: by registry, the namespaces that should have its Secret.
        seeded: by registry, the digest recorded in Vault.
    """
    tenants = {tenant.name: tenant for tenant in config.resolve_tenants()}
    return tuple(
        _row(config, registry, tenants.get(namespace), namespace, found, seeded[registry.name])
        for registry in config.registries
        for namespace in sorted(concerned[registry.name])
    )


def credential(registry: Registry, metadata: EntryMetadata | None) -> Credential:
    """Return what is recorded of a registry's credential; a path that was never written has version 0."""
    custom: Mapping[str, str] = metadata.custom if metadata else {}
    return Credential(
        registry=registry.name,
        hosts=registry.hosts,
        owner=registry.owner,
        source=registry.source,
        version=metadata.current_version if metadata else 0,
        digest=seeded_digest(metadata),
        seeded_at=read_expiry(custom.get(SEEDED_AT_KEY)),
        expires_at=read_expiry(custom.get(EXPIRES_AT_KEY)),
    )


def sealed_credential(config: StackConfig, registry: Registry, found: Inventory) -> Credential:
    """Return what the Secret that was unsealed into ESO's namespace records of itself."""
    unsealed = found.secrets[registry.name].get(config.eso.namespace)
    noted = annotations_of(unsealed)
    return Credential(
        registry=registry.name,
        hosts=registry.hosts,
        owner=registry.owner,
        source=registry.source,
        version=None,
        digest=noted.get(CONTENT_DIGEST_ANNOTATION),
        seeded_at=read_expiry(noted.get(SEALED_AT_ANNOTATION)),
        expires_at=read_expiry(noted.get(EXPIRES_AT_ANNOTATION)),
    )


def _lasting(config: StackConfig, found: Inventory, concerned: Concerned) -> Concerned:
    """Leave out what is being deleted and not declared: it loses its Secret now, and no Pod can be made there."""
    declared = {(tenant.name, registry) for tenant in config.resolve_tenants() for registry in tenant.registries}
    leaving = {name for name, item in found.namespaces.items() if is_leaving(item)}
    return {
        registry: frozenset(name for name in names if name not in leaving or (name, registry) in declared)
        for registry, names in concerned.items()
    }


def _row(
    config: StackConfig,
    registry: Registry,
    tenant: Tenant | None,
    namespace: str,
    found: Inventory,
    seeded: str | None,
) -> Coverage:
    declared = tenant is not None and registry.name in tenant.registries
    ready, reason = _readiness(found.external_secrets[registry.name].get(namespace))
    delivery = found.delivery(registry.name, namespace)
    accounts = found.accounts.get(namespace, {})
    wanted = tenant.service_accounts if tenant and declared else ("default",)
    existing = tuple(name for name in wanted if name in accounts or name == "default")
    by_admission = config.binding == guard.ADMISSION
    admitted = by_admission and guard.PodAdmissionSpec.of(config, registry).name in found.admitted
    bound = tuple(name for name in existing if admitted or registry.name in accounts.get(name, ()))
    return Coverage(
        namespace=namespace,
        registry=registry.name,
        declared=declared,
        labelled=registry.selects(labels_of(found.namespaces.get(namespace))),
        ready=ready,
        reason=reason,
        secret=delivery.secret is not None,
        typed=namespace in found.typed[registry.name],
        digest=delivery.digest,
        seeded_digest=seeded,
        binding=config.binding,
        bound=bound,
        unbound=tuple(name for name in existing if name not in bound),
        awaited=tuple(name for name in wanted if name not in existing),
        doubt=delivery.unproved(),
        pulled=_proof_of_pull(registry, namespace, found),
    )


def _proof_of_pull(registry: Registry, namespace: str, found: Inventory) -> str | None:
    delivery = found.delivery(registry.name, namespace)
    noted = annotations_of(found.namespaces.get(namespace)).get(f"{VERIFIED_PREFIX}{registry.name}", "")
    digest, _, at = noted.partition(" ")
    if digest == delivery.digest and at >= delivery.written > "":
        return f"pull-secrets verify, {at}"
    pods = (pod for pod in found.pods_in(namespace) if pod.has_pulled(registry, delivery.written))
    return next((f"Pod {pod.name}, {pod.created}" for pod in pods), None)


def _readiness(external_secret: Mapping[str, Any] | None) -> tuple[bool, str]:
    if external_secret is None:
        return False, "no ExternalSecret"
    ready = condition(external_secret, "Ready")
    if ready is None:
        return False, "not reconciled yet"
    return ready["status"] == "True", ready.get("message") or ready.get("reason", "")


def _totals(registry: str, rows: list[Coverage]) -> RegistryTotals:
    return RegistryTotals(
        registry=registry,
        selected=sum(row.labelled for row in rows),
        delivered=sum(row.labelled and row.secret and row.typed for row in rows),
        proved=sum(row.labelled and row.proved for row in rows),
        bound=sum(row.labelled and not row.unbound for row in rows),
        green=sum(row.green for row in rows),
        expected=len(rows),
    )
