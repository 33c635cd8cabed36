"""External Secrets Operator seems to run, and nothing shows that it works: refreshes are overdue, the store is not
looked at any more.

A controller that lost the leader's lease, hangs, or waits for an answer that a network policy swallows looks healthy
to Kubernetes. Judged by what it leaves behind: the refresh time of ExternalSecrets and the store's events.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, cast

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import NOT_SYNCED, again_command, readiness, stores
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import ago, parse_time
from pullsecrets.durations import parse_duration
from pullsecrets.kube.client import KubernetesApiError
from pullsecrets.kube.eso import stalled_refresh
from pullsecrets.text import listed

NAME = "eso-not-reconciling"
LATE = timedelta(minutes=10)
"""A refresh may wait in the queue and the store is looked at every 5 minutes; later than this both should be done."""


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield one finding when refreshes are overdue or the store is no longer looked at."""
    late = sorted(_overdue(snapshot), key=lambda item: item[1], reverse=True)
    unseen = _unseen(snapshot)
    if not late and not unseen:
        return
    evidence = [f"last event of ClusterSecretStore {unseen[0]}: {ago(unseen[1])} ago"] if unseen else []
    if late:
        evidence.append(
            f"{len(late)} ExternalSecrets overdue by up to {ago(late[0][1])}: {listed(name for name, _ in late)}"
        )
    where = next((f"-n {item.namespace} deployment/{item.name}" for item in snapshot.installations), "")
    yield Finding(
        check=NAME,
        severity=Severity.CLUSTER,
        symptom="No namespace receives a new or rotated credential, and no status of ESO's objects changes.",
        cause="External Secrets Operator does not reconcile, although its objects ask for it.",
        evidence=tuple(evidence),
        fix=(
            f"kubectl logs {where} --since=15m   # does it wait for a lease, or for Vault?",
            f"kubectl rollout restart {where}",
            again_command(snapshot),
        ),
        prevention="Alert on the rate of ESO's syncs (externalsecret_sync_calls_total), not on its Pods alone.",
    )


def overdue_by(item: Mapping[str, Any], now: Any) -> timedelta:
    """Return for how long the refresh of an ExternalSecret that is Ready is overdue; zero when it is not.

    One that fails keeps its last refresh time, which says nothing about ESO.
    """
    spec = cast("dict[str, Any]", item.get("spec") or {})
    status = cast("dict[str, Any]", item.get("status") or {})
    refreshed = parse_time(status.get("refreshTime"))
    if refreshed is None or readiness(item)[0] != "True" or stalled_refresh(spec):
        return timedelta(0)
    try:
        due = refreshed + parse_duration(str(spec.get("refreshInterval") or "1h"))
    except ValueError:
        # Somebody's own fraction of an hour: nothing of ours, and nothing to judge ESO by.
        return timedelta(0)
    return max(now - due - LATE, timedelta(0))


def _overdue(snapshot: Snapshot) -> Iterator[tuple[str, timedelta]]:
    for registry, items in snapshot.external_secrets.items():
        for namespace, item in items.items():
            late = overdue_by(item, snapshot.now)
            if late:
                yield f"{namespace}/{registry}", late + LATE


def _unseen(snapshot: Snapshot) -> tuple[str, timedelta] | None:
    """Return a store and for how long nobody looked at it; None when somebody did, or when it cannot be told."""
    store = next((item.name for item in stores(snapshot) if item.item), None)
    if store is None:
        return None
    query = {"fieldSelector": f"involvedObject.kind=ClusterSecretStore,involvedObject.name={store}"}
    try:
        events = list(snapshot.cluster.items("/api/v1/events", query))
    except KubernetesApiError as error:
        if error.status == 403:
            return None
        raise
    times = [time for event in events if (time := parse_time(event.get("lastTimestamp") or event.get("eventTime")))]
    # Events are forgotten after an hour; without any nothing can be told.
    unseen = snapshot.now - max(times) if times else timedelta(0)
    requeue = max((_requeue(item.flags) for item in snapshot.installations), default=timedelta(minutes=5))
    return (store, unseen) if unseen > requeue + LATE else None


def _requeue(flags: Mapping[str, str]) -> timedelta:
    return parse_duration(flags.get("store-requeue-interval", "5m"))


CHECK = Check(NAME, "ESO reconciles: refreshes happen when they are due", find, explains=NOT_SYNCED)
