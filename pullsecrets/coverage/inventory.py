"""One reading of the cluster for coverage: few large lists, of Secrets the metadata alone, kept small in memory."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, cast

from pullsecrets.config import StackConfig
from pullsecrets.kube import admission
from pullsecrets.kube.client import KubernetesClient, unless_refused
from pullsecrets.kube.marks import LAST_APPLIED, PULL_SECRET_TYPE
from pullsecrets.kube.objects import annotations_of, managed_fields
from pullsecrets.kube.ownership import Delivery, content_fields
from pullsecrets.kube.selectors import by_name
from pullsecrets.manifests import guard
from pullsecrets.workloads.pods import PodPull, entries_by_account, list_pods

Object = dict[str, Any]
Value = TypeVar("Value")

EXTERNAL_SECRETS = "/apis/external-secrets.io/v1/externalsecrets"

# A page of metadata, or of ServiceAccounts, is about 1 KB an object; an ExternalSecret is about 4 KB.
SMALL_OBJECTS = {"limit": "2000"}
LARGE_OBJECTS = {"limit": "1000"}


@dataclass(frozen=True)
class Inventory:
    """Objects by namespace, for each registry where they differ by registry."""

    namespaces: Mapping[str, Object]
    """Metadata by name."""
    accounts: Mapping[str, Mapping[str, list[str]]]
    """What each ServiceAccount's `imagePullSecrets` lists, by namespace and name."""
    external_secrets: Mapping[str, Mapping[str, Object]]
    """By registry, then namespace."""
    secrets: Mapping[str, Mapping[str, Object]]
    """Metadata of the Secrets with a registry's name, by registry, then namespace."""
    typed: Mapping[str, frozenset[str]]
    """By registry: namespaces in which the Secret of its name is a pull Secret by its type."""
    pull_secrets: tuple[Object, ...]
    """Metadata of the cluster's pull Secrets: of every one, or of those with a registry's name alone."""
    every_pull_secret: bool
    """False where the caller may list Secrets of the registries' names only."""
    pods: tuple[PodPull, ...] | None
    """What Pods pull; None where the caller may not list them."""
    admitted: frozenset[str]
    """Names of the bound policies that append entries to Pods; empty where ServiceAccounts are bound."""

    def pods_in(self, namespace: str) -> Sequence[PodPull]:
        """Return a namespace's Pods; none where Pods may not be listed."""
        return self._pods_by_namespace.get(namespace, ())

    @cached_property
    def _pods_by_namespace(self) -> Mapping[str, Sequence[PodPull]]:
        found: dict[str, list[PodPull]] = {}
        for pod in self.pods or ():
            found.setdefault(pod.namespace, []).append(pod)
        return found

    def delivery(self, registry: str, namespace: str) -> Delivery:
        """Return what a namespace has of a registry."""
        external, secrets = self.external_secrets[registry], self.secrets[registry]
        return Delivery(registry, external.get(namespace), secrets.get(namespace))


def read_inventory(config: StackConfig, cluster: KubernetesClient) -> Inventory:
    """Read what coverage is judged by, side by side.

    A cluster of 1,000 namespaces costs one request for namespaces, two for each registry, and one for each 2,000 pull
    Secrets, 2,000 ServiceAccounts and 1,000 Pods. Who may list no more than the Secrets of the registries' names, for
    which RBAC wants the name in the field selector, pays one more for each registry.
    """
    names = [registry.name for registry in config.registries]
    with ThreadPoolExecutor(max_workers=6) as pool:

        def listing(path: str, query: Mapping[str, str], read: Callable[[Object], Value]) -> Future[list[Value]]:
            metadata_only = read is bare
            return pool.submit(lambda: [read(item) for item in cluster.items(path, query, metadata_only=metadata_only)])

        # The slowest first: they are what the others run beside.
        pods = pool.submit(unless_refused, lambda: tuple(list_pods(cluster)), 403)
        accounts = pool.submit(lambda: entries_by_account(cluster.items("/api/v1/serviceaccounts", SMALL_OBJECTS)))
        external = {name: listing(EXTERNAL_SECRETS, {**LARGE_OBJECTS, **by_name(name)}, _status) for name in names}
        pull_secrets = pool.submit(unless_refused, lambda: _of_type(cluster), 403)
        mistyped = {name: by_name(name, f"type!={PULL_SECRET_TYPE}") for name in names}
        others = {name: listing("/api/v1/secrets", {**SMALL_OBJECTS, **mistyped[name]}, bare) for name in names}
        namespaces = listing("/api/v1/namespaces", SMALL_OBJECTS, bare)
        by_admission = config.binding == guard.ADMISSION
        admitted = pool.submit(_admitted, cluster) if by_admission else None
        every = pull_secrets.result()
        of_type = (
            every
            if every is not None
            else tuple(item for name in names for item in _of_type(cluster, f"metadata.name={name},"))
        )
        typed = {name: _by_namespace(item for item in of_type if _name(item) == name) for name in names}
        return Inventory(
            namespaces={_name(item): item for item in namespaces.result()},
            accounts=accounts.result(),
            external_secrets={name: _by_namespace(future.result()) for name, future in external.items()},
            secrets={name: {**_by_namespace(others[name].result()), **typed[name]} for name in names},
            typed={name: frozenset(typed[name]) for name in names},
            pull_secrets=of_type,
            every_pull_secret=every is not None,
            pods=pods.result(),
            admitted=admitted.result() if admitted else frozenset(),
        )


def _admitted(cluster: KubernetesClient) -> frozenset[str]:
    """Return the bound policies on Pods; none in a cluster that serves none."""
    version = admission.mutating_version(cluster)
    path = f"/apis/{admission.GROUP}/{version}/mutatingadmissionpolicybindings"
    return (
        frozenset(_name(item) for item in cluster.items(path, SMALL_OBJECTS, metadata_only=True))
        if version
        else frozenset()
    )


def bare(item: Object) -> Object:
    """Return an object's metadata without what is large, and without what `kubectl apply` copied of its content."""
    metadata = dict(cast("Object", item["metadata"]))
    metadata["managedFields"] = [content_fields(field) for field in managed_fields(item)]
    noted = annotations_of(item).items()
    metadata["annotations"] = {key: "" if key == LAST_APPLIED else value for key, value in noted}
    return {"metadata": metadata}


def _status(item: Object) -> Object:
    return {**bare(item), "spec": item.get("spec") or {}, "status": item.get("status") or {}}


def _of_type(cluster: KubernetesClient, selector: str = "") -> tuple[Object, ...]:
    query = {**SMALL_OBJECTS, "fieldSelector": f"{selector}type={PULL_SECRET_TYPE}"}
    return tuple(bare(item) for item in cluster.items("/api/v1/secrets", query, metadata_only=True))


def _name(item: Object) -> str:
    return str(item["metadata"]["name"])


def _by_namespace(items: Iterable[Object]) -> dict[str, Object]:
    return {item["metadata"]["namespace"]: item for item in items}
