"""Append-safe binding of pull Secrets to ServiceAccounts, and release of the finalizer that ESO leaves behind.

`ServiceAccount.imagePullSecrets` is an atomic list: any merge or apply replaces it whole, and with it the entries of
OpenShift's own `default-dockercfg-...`. So each change here is a JSON Patch on the list as it was just read, guarded by
a `test` on the object's resourceVersion; whoever wrote in between makes the patch fail, and the list is read again.
"""

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from pullsecrets.config import StackConfig
from pullsecrets.data import mapping, sequence
from pullsecrets.durations import parse_duration
from pullsecrets.errors import BadInputError, ConflictError, PullSecretsError
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.editing import EDIT_ATTEMPTS, patch
from pullsecrets.kube.eso import external_secret_path
from pullsecrets.kube.marks import FINALIZER_PREFIX
from pullsecrets.kube.objects import entries_of, finalizers_of, holds, labels_of, namespace_path
from pullsecrets.kube.ownership import fanned_out, last_writer
from pullsecrets.kube.selectors import by_name, selects
from pullsecrets.kube.waiting import is_gone
from pullsecrets.text import listed

ACCOUNT_SECONDS = 30
EXTERNAL_SECRET_SECONDS = 60
DELIVERY_TIMEOUT_VARIABLE = "PULL_SECRETS_DELIVERY_TIMEOUT"
DELIVERY_TIMEOUT = "2m"
WATCH_SECONDS = 240
"""Shorter than proxies before an API server let a silent connection live."""
ACCOUNTS = "/api/v1/serviceaccounts"

Accounts = Mapping[str, dict[str, Any]]
"""A namespace's ServiceAccounts, as they were read, by name."""


@dataclass(frozen=True)
class BindingState:
    """Which of the wanted ServiceAccounts list every wanted Secret, and which do not exist yet."""

    bound: tuple[str, ...]
    unbound: tuple[str, ...]
    missing: tuple[str, ...]


def append_operations(account: dict[str, Any], secrets: Iterable[str]) -> list[dict[str, Any]]:
    """Return the JSON Patch that appends the entries which a ServiceAccount lacks; empty when it lacks none."""
    entries = entries_of(account)
    lacking = [name for name in secrets if name not in entries]
    if not lacking:
        return []
    creation = [] if account.get("imagePullSecrets") else [_operation("add", "/imagePullSecrets", [])]
    return [_unchanged(account), *creation, *(_operation("add", "/imagePullSecrets/-", {"name": n}) for n in lacking)]


def removal_operations(account: dict[str, Any], secrets: Iterable[str]) -> list[dict[str, Any]]:
    """Return the JSON Patch that removes our entries and no other; empty when there are none."""
    unwanted = set(secrets)
    positions = [index for index, name in enumerate(entries_of(account)) if name in unwanted]
    # From the end, so that each removal leaves the positions before it as they are.
    removals = [{"op": "remove", "path": f"/imagePullSecrets/{index}"} for index in reversed(positions)]
    return [_unchanged(account), *removals] if removals else []


def state_of(found: Accounts, accounts: Sequence[str], secrets: Sequence[str]) -> BindingState:
    """Tell by a namespace's ServiceAccounts as they were read which of the wanted ones list every Secret."""
    existing = [name for name in accounts if name in found]
    bound = tuple(name for name in existing if set(secrets) <= set(entries_of(found[name])))
    return BindingState(
        bound=bound,
        unbound=tuple(name for name in existing if name not in bound),
        missing=tuple(name for name in accounts if name not in found),
    )


def bind(client: KubernetesClient, namespace: str, accounts: Sequence[str], secrets: Sequence[str]) -> BindingState:
    """Append the Secrets to each ServiceAccount that exists, keep every other entry, and read back.

    The `default` ServiceAccount is waited for: the controller makes it in each new namespace. Others may appear
    later; they are reported as missing and bound by the next `pulumi up`.

    Raises:
        ConflictError: when others keep changing a ServiceAccount.
        PullSecretsError: when the `default` ServiceAccount does not appear.
    """
    append(client, namespace, accounts, secrets, _list_accounts(client, namespace))
    state = state_of(_list_accounts(client, namespace), accounts, secrets)
    require_kept(client, namespace, state)
    return state


def append(
    client: KubernetesClient, namespace: str, accounts: Sequence[str], secrets: Sequence[str], found: Accounts
) -> None:
    """Append the Secrets as `bind` does, to a namespace's ServiceAccounts as they were read, without reading back."""
    if "default" in accounts and "default" not in found:
        found = {**found, "default": _await_account(client, namespace, "default")}
    for account in (name for name in accounts if name in found):
        path = f"{_accounts(namespace)}/{account}"
        patch(client, path, lambda live: append_operations(live, secrets), found[account])


def require_kept(client: KubernetesClient, namespace: str, state: BindingState) -> None:
    """Refuse a namespace in which somebody took an entry off again that was just appended.

    Raises:
        ConflictError: naming who did.
    """
    if state.unbound:
        rewriter = _rewriter(client, namespace, state.unbound[0])
        raise ConflictError(
            f"ServiceAccounts {listed(state.unbound)} in namespace {namespace!r} lost the entry again right after it "
            f"was appended: {rewriter} rewrites imagePullSecrets; stop that, then run `pulumi up` again"
        )


Wanted = Mapping[tuple[str, str], Sequence[str]]
"""The Secrets that each ServiceAccount shall list, by namespace and name."""


def wanted_entries(config: StackConfig) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return what each declared ServiceAccount of a tenant shall list."""
    return {
        (tenant.name, account): tenant.registries
        for tenant in config.resolve_tenants()
        for account in tenant.service_accounts
    }


def bind_existing(client: KubernetesClient, wanted: Wanted) -> Iterator[str]:
    """Append what the ServiceAccounts that exist lack, keep every other entry, and yield whose list was changed.

    Raises:
        ConflictError: when others keep changing a ServiceAccount.
    """
    for account in client.items(ACCOUNTS):
        if _bind_one(client, wanted, account):
            yield _place(account)


def bind_appearing(client: KubernetesClient, wanted: Wanted, seconds: int = WATCH_SECONDS) -> Iterator[str]:
    """Do the same for those that exist and for those that appear or lose an entry, until the watch ends.

    Args:
        wanted: as `wanted_entries` returns it.
        seconds: after which the server ends the watch; the next one begins with what exists, so nothing is missed.

    Raises:
        ConflictError: when somebody takes the entry off again each time.
        UnreachableError: when the connection is lost.
    """
    appended: Counter[str] = Counter()
    # A watch without a resourceVersion begins with what exists.
    for event in client.watch(ACCOUNTS, {}, seconds):
        account = event["object"]
        if event["type"] not in {"ADDED", "MODIFIED"} or not _bind_one(client, wanted, account):
            continue
        place = _place(account)
        appended[place] += 1
        if appended[place] > EDIT_ATTEMPTS:
            writer = last_writer(account["metadata"], "imagePullSecrets") or "somebody"
            raise ConflictError(
                f"ServiceAccount {place} lost the entry {appended[place]} times within {seconds} s: {writer} rewrites "
                "imagePullSecrets; stop that, then run the command again"
            )
        yield place


def _bind_one(client: KubernetesClient, wanted: Wanted, account: dict[str, Any]) -> bool:
    metadata = account["metadata"]
    secrets = wanted.get((metadata.get("namespace", ""), metadata["name"]), ())
    if not append_operations(account, secrets):
        return False
    path = f"{_accounts(metadata['namespace'])}/{metadata['name']}"
    patch(client, path, lambda live: append_operations(live, secrets), account)
    return True


def _place(account: Mapping[str, Any]) -> str:
    return f"{account['metadata']['namespace']}/{account['metadata']['name']}"


def _rewriter(client: KubernetesClient, namespace: str, account: str) -> str:
    found = client.find(f"{_accounts(namespace)}/{account}") or {}
    return last_writer(found, "imagePullSecrets") or "a writer that the API server did not record"


def unbind(
    client: KubernetesClient,
    namespace: str,
    accounts: Iterable[str],
    secrets: Iterable[str],
    found: Accounts | None = None,
) -> None:
    """Remove our entries from each ServiceAccount that still exists; every other entry stays.

    Args:
        client: the cluster.
        namespace: of the ServiceAccounts.
        accounts: their names.
        secrets: names of the entries.
        found: all of the namespace's ServiceAccounts, where they were read already.
    """
    wanted = tuple(secrets)
    for account in accounts if found is None else [name for name in accounts if name in found]:
        path, first = f"{_accounts(namespace)}/{account}", (found or {}).get(account)
        patch(client, path, lambda live: removal_operations(live, wanted), first)


def await_delivery(client: KubernetesClient, namespace: str, registries: Iterable[str]) -> None:
    """Wait until the registries' Secrets are in a namespace, as their ExternalSecrets say.

    Raises:
        BadInputError: when the timeout in the environment is no duration.
        PullSecretsError: when one does not arrive within it.
    """
    timeout = _delivery_timeout().total_seconds()
    for registry in registries:
        collection, _, name = external_secret_path(namespace, registry).rpartition("/")
        deadline = time.monotonic() + timeout
        selector = by_name(name)
        while not _delivers(client, f"{collection}/{name}", selector, int(deadline - time.monotonic())):
            if time.monotonic() >= deadline:
                raise PullSecretsError(
                    f"ExternalSecret {name!r} in namespace {namespace!r} is not Ready after {timeout:g} s, so the "
                    "Secret that it replaces stays bound; find the cause with `pull-secrets doctor`, or give ESO "
                    f"longer with {DELIVERY_TIMEOUT_VARIABLE}, then run `pulumi up` again"
                )


def _delivery_timeout() -> timedelta:
    text = os.environ.get(DELIVERY_TIMEOUT_VARIABLE) or DELIVERY_TIMEOUT
    try:
        return parse_duration(text)
    except ValueError as error:
        raise BadInputError(f"{DELIVERY_TIMEOUT_VARIABLE}: found {text!r}; allowed: {error}") from error


def _delivers(client: KubernetesClient, path: str, selector: dict[str, str], seconds: int) -> bool:
    # A watch without a resourceVersion begins with what exists.
    events = client.watch(path.rpartition("/")[0], selector, max(seconds, 1))
    return any(holds(event["object"], "Ready") for event in events)


def release_finalizers(client: KubernetesClient, namespace: str, registries: Iterable[str]) -> None:
    """Take ESO's finalizers of registries that a namespace no longer has off it, once their ExternalSecrets are gone.

    ESO 0.20 puts the finalizer on when a namespace is selected and never takes it off when the label goes, so that
    the namespace's next deletion would hang (https://github.com/external-secrets/external-secrets/issues/6677).

    Raises:
        PullSecretsError: when an ExternalSecret stays although the label is gone.
    """
    for registry in registries:
        _await_absence(client, namespace, registry)
        finalizer = f"{FINALIZER_PREFIX}{registry}"
        patch(client, namespace_path(namespace), partial(_release, finalizer))


def release_abandoned(client: KubernetesClient, namespace: str, registries: Iterable[str]) -> None:
    """Take ESO's finalizers off a namespace that ESO does not select, such as one whose label was taken off by hand.

    Where ESO still selects the namespace it takes its finalizer off itself when the namespace is deleted; without the
    label it never would, and a deletion that comes next would hang.

    Raises:
        PullSecretsError: when an ExternalSecret stays although the label is gone.
    """
    found = client.find(namespace_path(namespace))
    if found is None:
        return
    finalizers = finalizers_of(found)
    held = [registry for registry in registries if f"{FINALIZER_PREFIX}{registry}" in finalizers]
    release_finalizers(client, namespace, [registry for registry in held if not _selects(client, registry, found)])


def _selects(client: KubernetesClient, registry: str, namespace: dict[str, Any]) -> bool:
    fanout = client.find(f"/apis/external-secrets.io/v1/clusterexternalsecrets/{registry}")
    selectors = sequence(mapping((fanout or {}).get("spec")).get("namespaceSelectors"))
    return any(selects(selector, labels_of(namespace)) for selector in selectors)


def _release(finalizer: str, namespace: dict[str, Any]) -> list[dict[str, Any]]:
    finalizers = finalizers_of(namespace)
    if finalizer not in finalizers:
        return []
    path = f"/metadata/finalizers/{finalizers.index(finalizer)}"
    return [_operation("test", path, finalizer), {"op": "remove", "path": path}]


def _list_accounts(client: KubernetesClient, namespace: str) -> dict[str, dict[str, Any]]:
    return {item["metadata"]["name"]: item for item in client.items(_accounts(namespace))}


def _await_account(client: KubernetesClient, namespace: str, account: str) -> dict[str, Any]:
    # A watch without a resourceVersion begins with what exists, so nothing is missed before it.
    deadline = time.monotonic() + ACCOUNT_SECONDS
    while (left := int(deadline - time.monotonic())) > 0:
        for event in client.watch(_accounts(namespace), by_name(account), left):
            if event["type"] in {"ADDED", "MODIFIED"}:
                return event["object"]
    raise PullSecretsError(
        f"ServiceAccount {account!r} did not appear in namespace {namespace!r} within {ACCOUNT_SECONDS} s; "
        "does kube-controller-manager run, and is the namespace being deleted?"
    )


def _await_absence(client: KubernetesClient, namespace: str, registry: str) -> None:
    path = external_secret_path(namespace, registry)
    found = client.find(path)
    if found and fanned_out(found, registry) and not is_gone(client, path, EXTERNAL_SECRET_SECONDS):
        raise PullSecretsError(
            f"ExternalSecret {path}: still there {EXTERNAL_SECRET_SECONDS} s after its namespace lost the label; "
            "does ESO run (`kubectl get pods -A -l app.kubernetes.io/name=external-secrets`)?"
        )


def _accounts(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/serviceaccounts"


def _unchanged(account: dict[str, Any]) -> dict[str, Any]:
    return _operation("test", "/metadata/resourceVersion", account["metadata"]["resourceVersion"])


def _operation(op: str, path: str, value: Any) -> dict[str, Any]:
    return {"op": op, "path": path, "value": value}
