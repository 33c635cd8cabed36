"""What doctor's checks look at: one cluster and one Vault, each part read once and only when a check asks for it."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from pullsecrets.config import Registry, StackConfig, VaultStore
from pullsecrets.coverage.audit import Credential, concerned_namespaces, coverage, credential, sealed_credential
from pullsecrets.coverage.inventory import Inventory, read_inventory
from pullsecrets.coverage.rows import Coverage
from pullsecrets.credential import vault_token
from pullsecrets.credential.vault import EntryMetadata, VaultClient
from pullsecrets.doctor.store_access import StoreAccess, open_as_eso
from pullsecrets.doctor.vault_server import VaultServer, probe
from pullsecrets.errors import PullSecretsError
from pullsecrets.kube.client import KubernetesClient, unless_refused
from pullsecrets.kube.eso import GROUP, Installation, find_installations
from pullsecrets.workloads.pods import PodPull

Value = TypeVar("Value")
Object = dict[str, Any]


class Snapshot:
    """One look at a stack's cluster and Vault. Safe across threads; a failed reading fails for each asker."""

    def __init__(
        self,
        config: StackConfig,
        stack: str,
        cluster: KubernetesClient,
        vault: VaultClient | None = None,
        *,
        now: datetime | None = None,
        only: str | None = None,
    ) -> None:
        """Read nothing yet.

        Args:
            stack: the stack's name, for the commands that findings recommend.
            vault: Vault as the user who runs doctor; by default opened with the caller's token when a check needs it.
            now: the time to judge by; the clock's by default.
            only: the namespace that is asked about; None for all.
        """
        self.config = config
        self.stack = stack
        self.cluster = cluster
        self._vault = vault
        self.now = now or datetime.now(UTC)
        self.only = only
        self._readings: dict[str, Future[Any]] = {}
        self._lock = threading.Lock()

    @property
    def vault(self) -> VaultClient:
        """Vault as the user who runs doctor.

        Raises:
            BadInputError: when there is no token, or the stack has no Vault.
        """
        return self.once("vault", lambda: self._vault or vault_token.open_vault(self.config))

    @property
    def inventory(self) -> Inventory:
        """The cluster as the audit reads it."""
        return self.once("inventory", lambda: read_inventory(self.config, self.cluster))

    @property
    def namespaces(self) -> Mapping[str, Object]:
        """Every namespace's metadata by name."""
        return self.inventory.namespaces

    @property
    def accounts(self) -> Mapping[str, Mapping[str, list[str]]]:
        """What each ServiceAccount's `imagePullSecrets` lists, by namespace and name."""
        return self.inventory.accounts

    @property
    def external_secrets(self) -> Mapping[str, Mapping[str, Object]]:
        """The ExternalSecret of each registry by namespace."""
        return self.inventory.external_secrets

    @property
    def secrets(self) -> Mapping[str, Mapping[str, Object]]:
        """The metadata of the Secret of each registry by namespace; content is never asked for."""
        return self.inventory.secrets

    @property
    def pods(self) -> list[PodPull]:
        """Pods that have not finished, of the namespace asked about or of all.

        Raises:
            PullSecretsError: when listing Pods is not permitted.
        """
        found = self.inventory.pods
        if found is None:
            raise PullSecretsError("listing Pods is not permitted to you; the operator's role in access.py permits it")
        return [pod for pod in found if self.only in {None, pod.namespace}]

    @property
    def coverage(self) -> tuple[Coverage, ...]:
        """Rows of the audit: one per registry and namespace that should have it or carries the label.

        Where Vault tells nothing the seeded digest is unknown, so that the rest can be judged nevertheless. A check
        of content asks for `metadata` itself.
        """

        def read() -> tuple[Coverage, ...]:
            seeded = {registry.name: self._digest(registry) for registry in self.config.registries}
            found = self.inventory
            return coverage(self.config, found, concerned_namespaces(self.config, found.namespaces), seeded)

        return self.once("coverage", read)

    def credential(self, registry: Registry) -> Credential:
        """Return what is recorded of a registry's credential, in Vault or beside the sealed one.

        Raises:
            PullSecretsError: when Vault tells nothing.
        """
        if registry.sealed:
            return sealed_credential(self.config, registry, self.inventory)
        return credential(registry, self.metadata[registry.name])

    @property
    def fanouts(self) -> Mapping[str, Object | None]:
        """The ClusterExternalSecret of each registry; None where there is none."""

        def read() -> dict[str, Object | None]:
            items = self.cluster.items(f"{GROUP}/clusterexternalsecrets")
            found = {str(item["metadata"]["name"]): item for item in items}
            return {registry.name: found.get(registry.name) for registry in self.config.registries}

        return self.once("fanouts", read)

    def store(self, name: str) -> Object | None:
        """Return a ClusterSecretStore; None when there is none of that name."""
        return self.once(f"store/{name}", lambda: self.cluster.find(f"{GROUP}/clustersecretstores/{name}"))

    @property
    def installations(self) -> tuple[Installation, ...]:
        """Deployments of ESO's controller; those of ESO's namespace alone for anyone who may list no others."""

        def read() -> tuple[Installation, ...]:
            found = unless_refused(lambda: find_installations(self.cluster), 403)
            return find_installations(self.cluster, self.config.eso.namespace) if found is None else found

        return self.once("installations", read)

    @property
    def vault_server(self) -> VaultServer:
        """Vault as ESO meets it before any login: reachable, trusted, unsealed. As the first store has it."""
        first = self.config.vault_stores[0].name
        return self.once("vault_server", lambda: probe(self.config, first, self.store(first)))

    def store_access(self, store: VaultStore) -> StoreAccess:
        """Return what a login to Vault through a store, with ESO's own ServiceAccount, gives.

        Raises:
            PullSecretsError: when Vault cannot be asked, or a token for that ServiceAccount cannot be had.
        """

        def read() -> StoreAccess:
            return open_as_eso(self.config, store, self.store(store.name), self.cluster, self.vault_server)

        return self.once(f"store_access/{store.name}", read)

    @property
    def metadata(self) -> Mapping[str, EntryMetadata | None]:
        """KV metadata of the path of each registry that is read from Vault; None for a path that was never written.

        It is read with the caller's token, or as ESO where the caller has none that may.
        """

        def read() -> dict[str, EntryMetadata | None]:
            mount, stores = self.config.vault.mount, self.config.vault_stores
            try:
                return {item.name: self.vault.read_metadata(mount, item.path) for item in self.config.vault_registries}
            except PullSecretsError as refused:
                try:
                    return {
                        item.name: self.store_access(store).metadata(item.name)
                        for store in stores
                        for item in store.registries
                    }
                except PullSecretsError:
                    raise refused from None

        return self.once("metadata", read)

    def _digest(self, registry: Registry) -> str | None:
        try:
            return self.credential(registry).digest
        except PullSecretsError:
            return None

    def once(self, name: str, read: Callable[[], Value]) -> Value:
        """Return a reading of that name, made by whoever asks first; others wait for it.

        A check that reads something of its own goes through here as well, so that nothing is read twice.

        Raises:
            PullSecretsError: what the reading raised, for each that asks.
        """
        with self._lock:
            found = self._readings.get(name)
            mine: Future[Any] | None = None
            if found is None:
                found = mine = self._readings[name] = Future()
        if mine is not None:
            try:
                mine.set_result(read())
            except BaseException as error:  # noqa: BLE001 - those who wait must be woken, whatever it was
                mine.set_exception(error)
        return cast("Value", found.result())
