"""A namespace holds another credential than the one that was seeded.

Pulls fail as soon as the old credential is revoked. Told apart by ESO's last refresh: it has not come round since the
seeding, it should have and is late, or it has and reads something else than the seeded path. The safe fix has ESO
sync at once.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import Enum
from typing import cast

from pullsecrets.config import Registry
from pullsecrets.coverage.audit import Coverage
from pullsecrets.doctor.model import Check, Finding
from pullsecrets.doctor.platform import up_command
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import (
    ago,
    failing_on,
    fix_command,
    force_sync,
    parse_time,
    pod_evidence,
    rows,
    severity_of,
)
from pullsecrets.durations import parse_duration

NAME = "content-stale"

SLACK = timedelta(minutes=1)
"""How far the clocks of whoever seeds and of the cluster may differ, and how long a refresh may take."""


class Reason(Enum):
    """Why the content is another one."""

    WAITING = "ESO has not refreshed since the seeding; the refresh interval has not passed yet."
    OVERDUE = "ESO should have refreshed since the seeding and has not: it does not run, or its queue is too long."
    ELSEWHERE = "ESO has refreshed since the seeding and delivered something else: it does not read the seeded path."


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield namespaces whose delivered digest is not the seeded one."""
    # Asked for first: where Vault cannot be read, rows hold no seeded digest to differ from.
    credentials = {registry.name: snapshot.credential(registry) for registry in snapshot.config.registries}
    stale = [row for row in rows(snapshot) if _is_stale(row)]
    for row in stale:
        together = [other.namespace for other in stale if other.registry == row.registry]
        yield _finding(snapshot, row, credentials[row.registry].seeded_at, together)


def _is_stale(row: Coverage) -> bool:
    return row.typed and row.labelled and None is not row.digest != row.seeded_digest is not None


def _finding(snapshot: Snapshot, row: Coverage, seeded: datetime | None, stale: list[str]) -> Finding:
    registry = snapshot.config.registry(row.registry)
    refreshed = _refreshed(snapshot, row)
    reason = _reason(registry, seeded, refreshed, snapshot.now)
    failed = failing_on(snapshot, row.namespace, registry.hosts)
    where = f"{row.namespace}/{row.registry}"
    restore = (up_command(snapshot), f"kubectl get clusterexternalsecret {row.registry} -o yaml")
    return Finding(
        check=NAME,
        severity=severity_of(failed),
        symptom=f"Namespace {row.namespace} holds an old credential: pulls fail once that is revoked.",
        cause=reason.value,
        evidence=(
            f"Secret {where}: digest {row.digest}; seeded digest {row.seeded_digest}",
            f"credential of {row.registry}: seeded {_when(seeded, snapshot.now)}",
            f"ExternalSecret {where}: {row.reason}; refreshed {_when(refreshed, snapshot.now)}",
            f"stack {snapshot.stack}: refresh interval {registry.refresh}",
            *pod_evidence(failed),
        ),
        fix=restore if reason is Reason.ELSEWHERE else (fix_command(snapshot, row.namespace),),
        prevention="Rotate with `pull-secrets rotate`, which has ESO refresh and waits for the proof.",
        namespace=row.namespace,
        registry=row.registry,
        remedy=None if reason is Reason.ELSEWHERE else force_sync(registry, stale),
    )


def _refreshed(snapshot: Snapshot, row: Coverage) -> datetime | None:
    external_secret = snapshot.external_secrets[row.registry].get(row.namespace) or {}
    status = cast("dict[str, str]", external_secret.get("status") or {})
    return parse_time(status.get("refreshTime"))


def _reason(registry: Registry, seeded: datetime | None, refreshed: datetime | None, now: datetime) -> Reason:
    # A relayed credential goes through two refreshes: the namespace's may come before the relay's and prove nothing.
    if seeded and refreshed and refreshed > seeded + SLACK and not registry.relayed:
        return Reason.ELSEWHERE
    interval = parse_duration(registry.refresh) * (2 if registry.relayed else 1)
    last = (seeded if registry.relayed else refreshed) or refreshed or seeded
    return Reason.OVERDUE if last is None or now > last + interval + SLACK else Reason.WAITING


def _when(time: datetime | None, now: datetime) -> str:
    return f"{ago(now - time)} ago" if time else "at no known time"


CHECK = Check(NAME, "Delivered content is the seeded content", find)
