"""Coverage: which namespaces should have a pull Secret, which have it, with which content, and who is bound to it.

Secrets are listed as metadata only: their content never leaves the API server.
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

from pullsecrets import admission
from pullsecrets.binding import entries_of
from pullsecrets.config import Registry, StackConfig, Tenant
from pullsecrets.kube import KubernetesClient
from pullsecrets.manifests import CONTENT_DIGEST_ANNOTATION
from pullsecrets.seed import seeded_digest
from pullsecrets.vault import VaultClient

PULL_SECRET_TYPE = "kubernetes.io/dockerconfigjson"  # noqa: S105 - the type's name


@dataclass(frozen=True)
class Coverage:
    """One registry in one namespace."""

    namespace: str
    registry: str
    declared: bool
    labelled: bool
    ready: bool
    reason: str
    secret: bool
    typed: bool
    digest: str | None
    seeded_digest: str | None
    binding: str
    """How Pods get the entry: by their `serviceAccounts`, or by `admission` whatever ServiceAccount they run as."""
    bound: tuple[str, ...]
    unbound: tuple[str, ...]
    awaited: tuple[str, ...]
    """Wanted ServiceAccounts that do not exist yet, so that no Pod can run under them."""

    @property
    def proved(self) -> bool:
        """Whether the delivered content is the seeded content."""
        return self.digest is not None and self.digest == self.seeded_digest

    @property
    def green(self) -> bool:
        """Whether Pods of this namespace can pull."""
        return all((self.labelled, self.ready, self.secret, self.typed, self.proved, not self.unbound))


@dataclass(frozen=True)
class RegistryTotals:
    """The counts that must match for one registry: selected namespaces and namespaces that hold the Secret."""

    registry: str
    selected: int
    delivered: int
    proved: int
    green: int
    expected: int


@dataclass(frozen=True)
class Audit:
    """Coverage of a whole stack."""

    rows: tuple[Coverage, ...]

    @property
    def green(self) -> bool:
        """Whether every namespace that should have a Secret has the seeded one, bound."""
        return all(row.green for row in self.rows)

    def totals(self) -> tuple[RegistryTotals, ...]:
        """Return the counts of each registry, in the order of the rows."""
        names = dict.fromkeys(row.registry for row in self.rows)
        return tuple(_totals(name, [row for row in self.rows if row.registry == name]) for name in names)


@dataclass(frozen=True)
class _Cluster:
    """One reading of the cluster: objects by namespace, for each registry where they differ by registry."""

    namespaces: Mapping[str, dict[str, Any]]
    accounts: Mapping[str, Mapping[str, list[str]]]
    external_secrets: Mapping[str, Mapping[str, dict[str, Any]]]
    secrets: Mapping[str, Mapping[str, dict[str, Any]]]
    typed: Mapping[str, frozenset[str]]
    admitted: frozenset[str]
    """Names of the bound policies that append entries to Pods; empty where ServiceAccounts are bound."""


def audit(config: StackConfig, cluster: KubernetesClient, vault: VaultClient) -> Audit:
    """Compare what the stack declares with what the cluster holds and what Vault was seeded with."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        digests = {
            registry.name: pool.submit(vault.read_metadata, config.vault.mount, registry.path)
            for registry in config.registries
        }
        found = _read(config, cluster, pool)
        seeded = {name: seeded_digest(metadata.result()) for name, metadata in digests.items()}
    tenants = {tenant.name: tenant for tenant in config.resolve_tenants()}
    rows = [
        _row(config, registry, tenants.get(namespace), namespace, found, seeded[registry.name])
        for registry in config.registries
        for namespace in _concerned(registry, tenants.values(), found)
    ]
    return Audit(tuple(rows))


def _read(config: StackConfig, cluster: KubernetesClient, pool: ThreadPoolExecutor) -> _Cluster:
    names = [registry.name for registry in config.registries]
    external = "/apis/external-secrets.io/v1/externalsecrets"
    by_name = {name: {"fieldSelector": f"metadata.name={name}"} for name in names}
    typed = {name: {"fieldSelector": f"metadata.name={name},type={PULL_SECRET_TYPE}"} for name in names}

    def listing(path: str, query: Mapping[str, str] | None = None, *, metadata_only: bool = False) -> Any:
        return pool.submit(lambda: list(cluster.items(path, query, metadata_only=metadata_only)))

    namespaces = listing("/api/v1/namespaces", metadata_only=True)
    accounts = listing("/api/v1/serviceaccounts")
    by_admission = config.binding == admission.ADMISSION
    policies = listing(admission.MUTATING_BINDINGS, metadata_only=True) if by_admission else None
    external_secrets = {name: listing(external, by_name[name]) for name in names}
    secrets = {name: listing("/api/v1/secrets", by_name[name], metadata_only=True) for name in names}
    of_type = {name: listing("/api/v1/secrets", typed[name], metadata_only=True) for name in names}
    return _Cluster(
        namespaces={item["metadata"]["name"]: item for item in namespaces.result()},
        accounts=_accounts_by_namespace(accounts.result()),
        external_secrets={name: _by_namespace(future.result()) for name, future in external_secrets.items()},
        secrets={name: _by_namespace(future.result()) for name, future in secrets.items()},
        typed={name: frozenset(_by_namespace(future.result())) for name, future in of_type.items()},
        admitted=frozenset(item["metadata"]["name"] for item in policies.result()) if policies else frozenset(),
    )


def _concerned(registry: Registry, tenants: Iterable[Tenant], found: _Cluster) -> Iterator[str]:
    declared = {tenant.name for tenant in tenants if registry.name in tenant.registries}
    labelled = {name for name, item in found.namespaces.items() if _selected(registry, item)}
    yield from sorted(declared | labelled)


def _selected(registry: Registry, namespace: Mapping[str, Any] | None) -> bool:
    labels = cast("dict[str, str]", (namespace or {}).get("metadata", {}).get("labels") or {})
    return registry.selector.items() <= labels.items()


def _row(
    config: StackConfig,
    registry: Registry,
    tenant: Tenant | None,
    namespace: str,
    found: _Cluster,
    seeded: str | None,
) -> Coverage:
    declared = tenant is not None and registry.name in tenant.registries
    ready, reason = _readiness(found.external_secrets[registry.name].get(namespace))
    secret = found.secrets[registry.name].get(namespace)
    accounts = found.accounts.get(namespace, {})
    wanted = tenant.service_accounts if tenant and declared else ("default",)
    existing = tuple(name for name in wanted if name in accounts or name == "default")
    by_admission = config.binding == admission.ADMISSION
    admitted = by_admission and admission.PodAdmissionSpec.of(config, registry).name in found.admitted
    bound = tuple(name for name in existing if admitted or registry.name in accounts.get(name, ()))
    annotations = cast("dict[str, str]", (secret or {}).get("metadata", {}).get("annotations") or {})
    return Coverage(
        namespace=namespace,
        registry=registry.name,
        declared=declared,
        labelled=_selected(registry, found.namespaces.get(namespace)),
        ready=ready,
        reason=reason,
        secret=secret is not None,
        typed=namespace in found.typed[registry.name],
        digest=annotations.get(CONTENT_DIGEST_ANNOTATION),
        seeded_digest=seeded,
        binding=config.binding,
        bound=bound,
        unbound=tuple(name for name in existing if name not in bound),
        awaited=tuple(name for name in wanted if name not in existing),
    )


def _readiness(external_secret: Mapping[str, Any] | None) -> tuple[bool, str]:
    if external_secret is None:
        return False, "no ExternalSecret"
    conditions = cast("list[dict[str, str]]", external_secret.get("status", {}).get("conditions") or [])
    ready = next((item for item in conditions if item["type"] == "Ready"), None)
    if ready is None:
        return False, "not reconciled yet"
    return ready["status"] == "True", ready.get("message", "")


def _by_namespace(items: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {item["metadata"]["namespace"]: item for item in items}


def _accounts_by_namespace(items: Iterable[dict[str, Any]]) -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = {}
    for item in items:
        found.setdefault(item["metadata"]["namespace"], {})[item["metadata"]["name"]] = entries_of(item)
    return found


def _totals(registry: str, rows: list[Coverage]) -> RegistryTotals:
    return RegistryTotals(
        registry=registry,
        selected=sum(row.labelled for row in rows),
        delivered=sum(row.labelled and row.secret and row.typed for row in rows),
        proved=sum(row.labelled and row.proved for row in rows),
        green=sum(row.green for row in rows),
        expected=len(rows),
    )
