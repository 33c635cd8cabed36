"""External Secrets Operator itself: is it there, new enough, alone, alive and fast enough?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from pullsecrets.doctor.model import Finding, Phase, Severity, check
from pullsecrets.doctor.platform import (
    CONTROLLER,
    ESO_STOPS,
    NOT_SYNCED,
    STORE_UNUSABLE,
    again_command,
    permitted_items,
    readiness,
    stores,
    up_command,
)
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import ago, parse_time
from pullsecrets.durations import parse_duration
from pullsecrets.kube import eso_versions
from pullsecrets.kube.eso import GROUP, Installation, held_refresh, stalled_refresh
from pullsecrets.kube.eso_versions import RED_HAT
from pullsecrets.kube.marks import LAST_APPLIED
from pullsecrets.kube.objects import annotations_of, managed_fields, status_of
from pullsecrets.text import listed

ESO_GROUP = "external-secrets.io"


def served_versions(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the served versions of ESO's API group, preferred first; empty when it is not installed."""

    def read() -> tuple[str, ...]:
        found = snapshot.cluster.find(f"/apis/{ESO_GROUP}")
        versions = cast("list[dict[str, Any]]", (found or {}).get("versions") or [])
        return tuple(str(item["version"]) for item in versions)

    return snapshot.once("eso/served", read)


INSTALL = (
    "helm install external-secrets external-secrets/external-secrets -n {namespace} --create-namespace "
    "--set installCRDs=true   # or Red Hat's operator"
)


@check(
    "External Secrets Operator is installed",
    explains=("eso-crds-absent", "eso-not-reconciling", "store-missing", "fanout-missing", *STORE_UNUSABLE),
    phase=Phase.ALWAYS,
)
def eso_absent(snapshot: Snapshot) -> Iterator[Finding]:
    """External Secrets Operator is not installed: no Deployment of its controller is in the cluster.

    It is looked for by the label `app.kubernetes.io/name=external-secrets`, which its chart and Red Hat's operator set.
    """
    if snapshot.installations:
        return
    yield Finding(
        severity=Severity.CLUSTER,
        symptom="Labelled namespaces get no ExternalSecret and no Secret; nothing in the cluster reports an error.",
        cause="No Deployment of External Secrets Operator's controller is in the cluster.",
        evidence=(f"{CONTROLLER}: none",),
        fix=(INSTALL.format(namespace=snapshot.config.eso.namespace), again_command(snapshot)),
        prevention="Install ESO with the cluster's own platform services, and alert when its Deployment is gone.",
    )


@check(
    "ESO's custom resource definitions are installed",
    explains=("store-missing", "fanout-missing", *STORE_UNUSABLE),
    phase=Phase.ALWAYS,
)
def eso_crds_absent(snapshot: Snapshot) -> Iterator[Finding]:
    """The cluster does not serve ESO's kinds: its custom resource definitions are not installed, or not all of them.

    A chart installed without `installCRDs`, or an uninstall that took the definitions and with them every object.
    """
    if served_versions(snapshot):
        return
    yield Finding(
        severity=Severity.CLUSTER,
        symptom="`kubectl get clusterexternalsecrets` answers that the server has no such resource type.",
        cause="The custom resource definitions of External Secrets Operator are not installed.",
        evidence=("GET /apis/external-secrets.io: 404",),
        fix=(INSTALL.format(namespace=snapshot.config.eso.namespace), up_command(snapshot), again_command(snapshot)),
        prevention="Keep the definitions when the chart is uninstalled (`helm.sh/resource-policy: keep`).",
    )


@check("ESO's controller has a ready Pod", explains=("eso-not-reconciling", *STORE_UNUSABLE), phase=Phase.ALWAYS)
def eso_not_running(snapshot: Snapshot) -> Iterator[Finding]:
    """External Secrets Operator is installed and none of its Pods is ready, or it is scaled to zero."""
    if not snapshot.installations or any(item.ready for item in snapshot.installations):
        return
    for item in snapshot.installations:
        kubectl = f"kubectl -n {item.namespace}"
        cause = f"Controller {item} is scaled to zero."
        fix: tuple[str, ...] = (f"{kubectl} scale deployment {item.name} --replicas=1",)
        if item.replicas:
            cause = f"Controller {item} has no ready Pod of {item.replicas}."
            fix = (
                f"{kubectl} describe deployment {item.name}",
                f"{kubectl} get pods -l app.kubernetes.io/name=external-secrets",
                f"{kubectl} logs deployment/{item.name} --previous",
            )
        yield Finding(
            severity=Severity.CLUSTER,
            symptom=ESO_STOPS,
            cause=cause,
            evidence=(f"Deployment {item.namespace}/{item.name}: {item.ready} of {item.replicas} Pods ready",),
            fix=(*fix, again_command(snapshot)),
            prevention="Alert on the Deployment's ready Pods, run two replicas with leader election.",
        )


LATE = timedelta(minutes=10)
"""A refresh may wait in the queue and the store is looked at every 5 minutes; later than this both should be done."""


@check("ESO reconciles: refreshes happen when they are due", explains=NOT_SYNCED)
def eso_not_reconciling(snapshot: Snapshot) -> Iterator[Finding]:
    """External Secrets Operator seems to run, and nothing shows that it works: refreshes are overdue, the store is no
    longer reconciled.

    A controller that lost the leader's lease, hangs, or waits for an answer that a network policy swallows looks healthy
    to Kubernetes. Judged by its traces: the refresh time of ExternalSecrets and the store's events.
    """
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
        severity=Severity.CLUSTER,
        symptom=ESO_STOPS,
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
    refreshed = parse_time(status_of(item).get("refreshTime"))
    if refreshed is None or readiness(item)[0] != "True" or held_refresh(spec):
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
    """Return a store and for how long nobody looked at it; None when somebody did, or when it is unknown."""
    store = next((item.name for item in stores(snapshot) if item.item), None)
    if store is None:
        return None
    query = {"fieldSelector": f"involvedObject.kind=ClusterSecretStore,involvedObject.name={store}"}
    events = permitted_items(snapshot, "/api/v1/events", query)
    times = [time for event in events if (time := parse_time(event.get("lastTimestamp") or event.get("eventTime")))]
    if not times:  # Events are forgotten after an hour.
        return None
    unseen = snapshot.now - max(times)
    requeues = (item.flags.get("store-requeue-interval", "5m") for item in snapshot.installations)
    requeue = max(map(parse_duration, requeues), default=timedelta(minutes=5))
    return (store, unseen) if unseen > requeue + LATE else None


@check("One controller of ESO works on the cluster", phase=Phase.ALWAYS)
def eso_duplicated(snapshot: Snapshot) -> Iterator[Finding]:
    """More than one controller of External Secrets Operator works on the cluster's objects.

    Two of them, such as the chart's beside Red Hat's operator, undo each other's writes: finalizers and annotations come
    and go, and Secrets are written twice as often.
    """
    found = [item for item in snapshot.installations if item.fans_out]
    if len(found) < 2:
        return
    own = snapshot.config.eso.namespace
    others = [item for item in found if item.namespace != own] or found[1:]
    yield Finding(
        severity=Severity.CLUSTER,
        symptom="Objects of ESO change back and forth, `rotate` refuses to start, Vault sees twice the logins.",
        cause=f"{len(found)} controllers work on the same objects: {', '.join(map(str, found))}.",
        evidence=(f"{CONTROLLER}: {', '.join(f'{item.namespace}/{item.name}' for item in found)}",),
        fix=(
            *(f"helm list -n {item.namespace}   # then uninstall {item}, keeping the definitions" for item in others),
            again_command(snapshot),
        ),
        prevention="Install ESO once per cluster; scope further ones with scopedNamespace or a controllerClass.",
    )


@check("Credentials are read again when their interval is over")
def refresh_held(snapshot: Snapshot) -> Iterator[Finding]:
    """The refresh of a registry was stopped on purpose, or is limited to certain hours.

    `refreshPolicy: CreatedOnce` and an interval of 0 stop it permanently: even `rotate` has no effect. With
    `refreshPolicy: OnChange`, and outside of `syncWindows` (ESO 2.7 and newer), ESO reads Vault on request, as
    `rotate` makes one, and never by itself: a credential that was written to Vault otherwise is not delivered.
    """
    namespace = snapshot.config.eso.namespace
    for registry in snapshot.config.registries:
        fanout = snapshot.fanouts[registry.name]
        live = {f"ClusterExternalSecret {registry.name}": (fanout or {}).get("spec", {}).get("externalSecretSpec")}
        if registry.relayed:
            relay = snapshot.external_secrets[registry.name].get(namespace)
            live[f"ExternalSecret {namespace}/{registry.name}"] = (relay or {}).get("spec")
        for what, spec in live.items():
            setting = held_refresh(spec or {})
            if setting is None:
                continue
            never = stalled_refresh(spec or {}) is not None
            yield Finding(
                severity=Severity.WARNING,
                symptom=(
                    "A changed credential never arrives, and `rotate` refuses to start."
                    if never
                    else "A credential that is written to Vault by hand arrives late, or only with the next `rotate`."
                ),
                cause=f"{what} has {setting}, and the stack declares a refresh each {registry.refresh}.",
                evidence=(f"{what}: {setting}",),
                fix=(up_command(snapshot), again_command(snapshot)),
                prevention="Change registries[].refresh in the stack file, not the live object.",
                registry=registry.name,
            )


V1BETA1 = f"{ESO_GROUP}/v1beta1"
_KINDS = {"clustersecretstores": "ClusterSecretStore", "clusterexternalsecrets": "ClusterExternalSecret"}
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@check("No manifest uses external-secrets.io/v1beta1")
def eso_v1beta1_manifests(snapshot: Snapshot) -> Iterator[Finding]:
    """A manifest somewhere still uses `external-secrets.io/v1beta1`, which ESO does not serve from 0.17 on.

    The objects themselves live on as v1; the next sync of Argo CD, Flux or `kubectl apply` from that manifest fails. Seen
    in the objects' `last-applied-configuration`, in their managed fields, and in the versions that the definitions keep.
    """
    if not served_versions(snapshot):
        return
    written = [
        f"{kind} {item['metadata']['name']} ({writer})"
        for plural, kind in _KINDS.items()
        for item in snapshot.cluster.items(f"{GROUP}/{plural}", metadata_only=True)
        if (writer := old_writer(item))
    ]
    if written:
        yield _old_manifests(
            snapshot,
            cause=f"Manifests of {len(written)} objects still say {V1BETA1}, which this cluster's ESO does not serve.",
            evidence=(f"last applied or managed as {V1BETA1}: {listed(written)}",),
        )
    stored = [name for name in _definitions(snapshot) if name.endswith(f".{ESO_GROUP}")]
    if stored:
        yield _old_manifests(
            snapshot,
            cause=f"Definitions still list v1beta1 among their stored versions: {listed(stored)}.",
            evidence=(f"status.storedVersions of {listed(stored)}: v1beta1",),
        )


def old_writer(item: Mapping[str, Any]) -> str | None:
    """Return who writes an object as v1beta1: a field manager, or `kubectl apply`; None when nobody does."""
    if V1BETA1 in annotations_of(item).get(LAST_APPLIED, ""):
        return "last-applied-configuration"
    fields = managed_fields(item)
    return next((f"manager {entry.get('manager', '')}" for entry in fields if entry.get("apiVersion") == V1BETA1), None)


def _definitions(snapshot: Snapshot) -> list[str]:
    items = permitted_items(snapshot, _DEFINITIONS)
    return [item["metadata"]["name"] for item in items if "v1beta1" in (status_of(item).get("storedVersions") or ())]


def _old_manifests(snapshot: Snapshot, cause: str, evidence: tuple[str, ...]) -> Finding:
    return Finding(
        severity=Severity.WARNING,
        symptom="Argo CD, Flux or kubectl report `no matches for kind` on the next apply; until then nothing is seen.",
        cause=cause,
        evidence=evidence,
        fix=(
            f"grep -rl '{V1BETA1}' <your GitOps repository>   # write external-secrets.io/v1 there, then sync",
            f"pull-secrets render --stack {snapshot.stack} --out <your GitOps repository>   # the stack's objects",
            again_command(snapshot),
        ),
        prevention="`pull-secrets lint` in the repository's pipeline.",
    )


WRITES = 3
"""API writes of one refresh."""
LOGIN_REQUESTS = 4
"""Requests to Vault of one refresh: login, read, look-up, revocation."""
REQUEST_SECONDS = 0.02
"""Taken for one request of one worker; 7 of them are what a refresh waits for. Measured without a network: 14 ms."""
LONGEST_WAIT = timedelta(minutes=1)
"""A new namespace should not wait longer for its Secret."""
_DEFAULTS = {"concurrent": "1", "client-qps": "50", "client-burst": "100"}


@dataclass(frozen=True)
class Capacity:
    """How fast a controller with some flags gets through its queue."""

    flags: Mapping[str, str]

    @property
    def per_second(self) -> float:
        """Refreshes per second: what the API rate permits, or what the workers can wait for, whichever is less."""
        by_rate = float(self._flag("client-qps")) / WRITES
        by_workers = int(self._flag("concurrent")) / (REQUEST_SECONDS * (WRITES + self._vault_requests))
        return max(min(by_rate, by_workers), 0.001)

    def round(self, count: int) -> timedelta:
        """Return how long a round over so many ExternalSecrets takes."""
        # A burst passes before the rate limits, which shortens small rounds only.
        return timedelta(seconds=round(count / self.per_second))

    @property
    def _vault_requests(self) -> int:
        # With the cache a refresh still looks its token up before it reads (counted in Vault's audit log, ESO 0.20.4).
        return 2 if eso_versions.caches_tokens(self.flags) else LOGIN_REQUESTS

    def _flag(self, name: str) -> str:
        return self.flags.get(name, _DEFAULTS[name])


@check("ESO's queue is short for the refresh interval")
def refresh_queue_too_long(snapshot: Snapshot) -> Iterator[Finding]:
    """ESO's queue is too long: a round over all ExternalSecrets takes a large part of the refresh interval.

    New namespaces wait behind that round. By default ESO works on one ExternalSecret at a time and sends the API server 50
    requests a second; each refresh costs about 3 writes there, and 4 requests to Vault unless the token cache is on.
    Measured with everything on one machine of 2 cores (`make bench`): 10 refreshes a second by default, 50 to 64 with the
    flags that are proposed, from 25 to 1,000 namespaces; 1,503 in 86 s with `--concurrent 5` and the default rate.
    """
    installation = next((item for item in snapshot.installations if item.fans_out), None)
    if installation is None:
        return
    count = _count_external_secrets(snapshot)
    refresh = min(parse_duration(registry.refresh) for registry in snapshot.config.registries)
    severity = judge_queue(installation.flags, count, refresh)
    if severity:
        yield _long_queue(snapshot, installation, count, refresh, severity)


def judge_queue(flags: Mapping[str, str], count: int, refresh: timedelta) -> Severity | None:
    """Return how bad a queue is: nothing below half the interval and a minute's wait."""
    taken = Capacity(flags).round(count)
    if taken >= refresh:
        return Severity.TENANT
    return Severity.WARNING if taken > min(refresh / 2, LONGEST_WAIT) else None


def _count_external_secrets(snapshot: Snapshot) -> int:
    """Count every ExternalSecret of the cluster, since all wait in one queue, without reading them."""
    first = snapshot.cluster.get(f"{GROUP}/externalsecrets", {"limit": "1"})
    return len(first["items"]) + int(first["metadata"].get("remainingItemCount") or 0)


def _long_queue(
    snapshot: Snapshot, installation: Installation, count: int, refresh: timedelta, severity: Severity
) -> Finding:
    now = Capacity(installation.flags)
    told = ", ".join(f"--{name} {installation.flags.get(name, default)}" for name, default in _DEFAULTS.items())
    cached = "with" if eso_versions.caches_tokens(installation.flags) else "without"
    return Finding(
        severity=severity,
        symptom=f"A new namespace waits up to {_told(now.round(count))} for its Secret, a rotation takes as long.",
        cause=(
            f"A round over {count} ExternalSecrets takes about {_told(now.round(count))} of {_told(refresh)} between "
            f"two refreshes: {now.per_second:.0f} a second."
        ),
        evidence=(
            f"Deployment {installation.namespace}/{installation.name}: {told}, {cached} the Vault token cache",
            f"GET {GROUP}/externalsecrets: {count}",
        ),
        fix=(*_faster(snapshot, installation, count), again_command(snapshot)),
        prevention="Set these flags when ESO is installed; beyond some thousand namespaces use delivery: fanout.",
    )


def _faster(snapshot: Snapshot, installation: Installation, count: int) -> tuple[str, ...]:
    """Return what shortens the queue: flags, and fewer refreshes where Red Hat's operator takes none."""
    if snapshot.config.eso.distribution == RED_HAT:
        hours = 1 + 2 * Capacity(installation.flags).round(count) // timedelta(hours=1)
        return (
            "# Red Hat's operator fixes the controller's flags, --concurrent=1 among them, so ask less of it:",
            f"# registries[].refresh: {hours}h or more, which `rotate` does not wait for, and delivery: fanout",
            up_command(snapshot),
        )
    recommended = eso_versions.recommended_flags(installation.version)
    then = Capacity({**installation.flags, **recommended})
    flags = " ".join(f"--{name}" if value == "true" else f"--{name} {value}" for name, value in recommended.items())
    return (
        f"# flags of deployment {installation.namespace}/{installation.name} (the chart's extraArgs): {flags}",
        f"# with them up to {then.per_second:.0f} a second, a round in {_told(then.round(count))} at best",
    )


def _told(duration: timedelta) -> str:
    return (
        f"{duration.total_seconds():.0f} s"
        if duration < timedelta(minutes=3)
        else f"{duration.total_seconds() / 60:.0f} min"
    )
