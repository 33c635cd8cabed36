"""Binding many namespaces at once: a few lists tell what differs, and only that is written, side by side."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pullsecrets.errors import PullSecretsError, UnreachableError
from pullsecrets.kube.bindings import Bound
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.kubeconfig import CONNECTIONS
from pullsecrets.kube.objects import entries_of
from pullsecrets.tenancy import binding, opt_in

Bindings = Mapping[str, Bound]
"""What each namespace has, by its name."""

_NOTHING = Bound()


@dataclass(frozen=True)
class Settled:
    """What namespaces have after a change, and why some could not be changed."""

    held: dict[str, Bound]
    failed: dict[str, str]


def read_lacking(client: KubernetesClient, wanted: Bindings) -> dict[str, dict[str, list[str]]]:
    """Return the entries that ServiceAccounts lack, by namespace and name: those that exist, and `default` always."""
    found = _read(client, wanted)
    lacking = {
        namespace: {
            account: names
            for account in bound.service_accounts
            if account in {*found[namespace], "default"}
            if (names := _lacking(found[namespace].get(account, {}), bound.secrets))
        }
        for namespace, bound in sorted(wanted.items())
    }
    return {namespace: accounts for namespace, accounts in lacking.items() if accounts}


def _lacking(account: Mapping[str, Any], secrets: Iterable[str]) -> list[str]:
    entries = entries_of(account)
    return [name for name in secrets if name not in entries]


def settle(client: KubernetesClient, held: Bindings, wanted: Bindings) -> Settled:
    """Append what is wanted; only where that can be pulled with, take away what is not wanted any more.

    A namespace that fails keeps no other from being bound. One that is not wanted any more loses its entries, and its
    labels where those are declared.

    Args:
        client: the cluster.
        held: what namespaces have by the state, which may be more than what they have.
        wanted: what they shall have.
    """
    change = _Change(client, held, wanted)
    # What fails here fails before anything is appended: state would not know the new entry, and nobody take it off.
    undelivered = change.each((name for name in wanted if change.dropped(name)), change.await_delivery)
    differing = [name for name in wanted if name not in undelivered and not change.is_bound(name)]
    failed = change.each(differing, change.append)
    if differing:
        change.read()
        failed |= change.each((name for name in differing if name not in failed), change.require_kept)
    failed |= undelivered
    ending = [name for name, bound in held.items() if name not in failed and bound != wanted.get(name)]
    failed |= change.each(ending, change.end)
    begun = {name: held.get(name, _NOTHING).joined(wanted.get(name, _NOTHING)) for name in failed}
    return Settled({**wanted, **begun, **{name: held[name] for name in undelivered}}, failed)


class _Change:
    """From what namespaces have to what they shall have."""

    def __init__(self, client: KubernetesClient, held: Bindings, wanted: Bindings) -> None:
        self._client, self._held, self._wanted = client, held, wanted
        self.read()

    def read(self) -> None:
        """Read the ServiceAccounts of all namespaces."""
        self._found = _read(self._client, {**self._held, **self._wanted})

    def each(self, namespaces: Iterable[str], act: Callable[[str], None]) -> dict[str, str]:
        """Act on namespaces side by side; return why it failed where it did, and on what followed a lost cluster."""
        failed: dict[str, str] = {}
        lost: list[UnreachableError] = []

        def attempt(namespace: str) -> None:
            try:
                if lost:
                    raise lost[0]
                act(namespace)
            except PullSecretsError as error:
                if isinstance(error, UnreachableError):
                    lost.append(error)
                failed[namespace] = str(error)

        with ThreadPoolExecutor(CONNECTIONS) as pool:
            # As a list, so that whatever is no expected failure is raised.
            list(pool.map(attempt, namespaces))
        return failed

    def is_bound(self, namespace: str) -> bool:
        """Tell whether every ServiceAccount that exists, and `default` in any case, has every entry."""
        state = self._state(namespace)
        return not state.unbound and "default" not in state.missing

    def dropped(self, namespace: str) -> list[str]:
        """Return the Secrets that a namespace has and that it shall not have."""
        wanted = self._wanted.get(namespace, _NOTHING).secrets
        return [name for name in self._held.get(namespace, _NOTHING).secrets if name not in wanted]

    def await_delivery(self, namespace: str) -> None:
        """Wait for the Secrets that come in the place of others."""
        held = self._held[namespace].secrets
        new = [name for name in self._wanted[namespace].secrets if name not in held]
        binding.await_delivery(self._client, namespace, new)

    def append(self, namespace: str) -> None:
        """Append the entries that are lacking."""
        wanted = self._wanted[namespace]
        binding.append(self._client, namespace, wanted.service_accounts, wanted.secrets, self._found[namespace])

    def require_kept(self, namespace: str) -> None:
        """Refuse entries that vanished again."""
        binding.require_kept(self._client, namespace, self._state(namespace))

    def end(self, namespace: str) -> None:
        """Take away what is not wanted any more."""
        held, wanted = self._held[namespace], self._wanted.get(namespace)
        dropped, found = self.dropped(namespace), self._found[namespace]
        kept = wanted.service_accounts if wanted else ()
        gone = [name for name in held.service_accounts if name not in kept]
        binding.unbind(self._client, namespace, gone, held.secrets, found)
        binding.unbind(self._client, namespace, kept, dropped, found)
        if wanted:
            labels = {key: value for key, value in held.labels.items() if wanted.labels.get(key) != value}
            opt_in.leave(self._client, namespace, labels, {}, dropped)

    def _state(self, namespace: str) -> binding.BindingState:
        wanted = self._wanted[namespace]
        return binding.state_of(self._found[namespace], wanted.service_accounts, wanted.secrets)


def _read(client: KubernetesClient, bindings: Bindings) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the ServiceAccounts of namespaces by namespace and name: a list for one, else those of the cluster."""
    found: dict[str, dict[str, dict[str, Any]]] = {namespace: {} for namespace in bindings}
    if not any(bound.service_accounts for bound in bindings.values()):
        return found
    of_one = f"/api/v1/namespaces/{next(iter(found))}/serviceaccounts"
    for account in client.items(of_one if len(found) == 1 else binding.ACCOUNTS):
        metadata = account["metadata"]
        if (accounts := found.get(metadata["namespace"])) is not None:
            accounts[metadata["name"]] = account
    return found
