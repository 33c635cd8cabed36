"""Delivered Secrets: are they there, are they ours, and do they hold what was seeded?"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import Enum

from pullsecrets.config import Registry
from pullsecrets.coverage.rows import Coverage
from pullsecrets.credential.vault import EntryMetadata
from pullsecrets.credential.vault_entry import DIGEST_KEY, VERSION_KEY, seeded_digest
from pullsecrets.doctor.model import Finding, Severity, check
from pullsecrets.doctor.platform import again_command, entry_path, seed_command, up_command
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import (
    Object,
    adoption,
    ago,
    failing_on,
    fix_command,
    force_sync,
    has_old_form,
    is_foreign,
    origin_of,
    owner_of,
    parse_time,
    pod_evidence,
    rows,
    severity_of,
)
from pullsecrets.durations import parse_duration
from pullsecrets.kube.marks import CONTENT_DIGEST_ANNOTATION, OLD_PULL_SECRET_TYPE, PULL_SECRET_TYPE
from pullsecrets.kube.objects import status_of
from pullsecrets.kube.ownership import Delivery, Fault


@check("Ready ExternalSecrets have their Secret")
def secret_missing(snapshot: Snapshot) -> Iterator[Finding]:
    """The ExternalSecret is Ready, and its Secret does not exist.

    The Secret was deleted while ESO did not run, or ESO has not noticed yet. The safe fix forces a sync.
    """
    missing = [row for row in rows(snapshot) if row.labelled and row.ready and not row.secret]
    for row in missing:
        where = f"{row.namespace}/{row.registry}"
        yield Finding(
            severity=Severity.TENANT,
            symptom=f"Pods in {row.namespace} cannot pull: there is no Secret {row.registry}.",
            cause="The Secret was deleted, and ESO has not made it again: it does not run, or is far behind.",
            evidence=(f"ExternalSecret {where}: Ready, {row.reason}", f"Secret {where}: not found"),
            fix=(fix_command(snapshot, row.namespace), again_command(snapshot)),
            prevention="Grant delete on Secrets in tenant namespaces to few; alert on ESO's Deployment.",
            namespace=row.namespace,
            registry=row.registry,
            remedy=force_sync(
                snapshot.config.registry(row.registry),
                (other.namespace for other in missing if other.registry == row.registry),
            ),
        )


@check("Pull Secrets belong to their ExternalSecret", explains=("external-secret-failing",))
def secret_foreign(snapshot: Snapshot) -> Iterator[Finding]:
    """A pull Secret of the registry's name exists and does not belong to the ExternalSecret.

    Where another controller owns it, ESO refuses to touch it and every sync fails. Without an owner, ESO takes it over as
    soon as it syncs, and removing the label later deletes it: adopt it knowingly. One that carries our digest and has no
    owner is ours all the same: restores leave ownerReferences out. The safe fix forces a sync, with which ESO takes it over
    again.
    """
    # Without the label nothing is to be delivered there: that is for `namespace-not-labelled`.
    for row in rows(snapshot):
        secret = snapshot.secrets[row.registry].get(row.namespace)
        if secret is None or not (row.labelled and row.typed):
            continue
        if is_foreign(snapshot, row.registry, row.namespace):
            yield _foreign(snapshot, row, secret)


def _foreign(snapshot: Snapshot, row: Coverage, secret: Object) -> Finding:
    owner = owner_of(secret)
    where = f"{row.namespace}/{row.registry}"
    restored = owner is None and row.digest is not None
    if owner:
        kind, name = owner
        cause = f"{kind} {name} owns the Secret of that name, and ESO writes no Secret of another controller."
        fix = (f"kubectl -n {row.namespace} delete {kind.lower()} {name}   # or give its Secret another name",)
    elif restored:
        cause = "It is the delivered Secret without its owner, as a restore leaves it; ESO takes it over when it syncs."
        fix = (fix_command(snapshot, row.namespace),)
    else:
        cause = "Somebody made the Secret by hand: ESO takes it over when it syncs, and unlabelling then deletes it."
        fix = (adoption(snapshot, snapshot.config.registry(row.registry), row.namespace),)
    return Finding(
        # One that nobody owns serves Pods until ESO takes it over.
        severity=Severity.TENANT if owner else Severity.WARNING,
        symptom=f"Secret {row.registry} in {row.namespace} does not hold what was seeded, and rotation passes it by.",
        cause=cause,
        evidence=(
            f"Secret {where}: {origin_of(secret)}, made {secret['metadata']['creationTimestamp']}",
            f"ExternalSecret {where}: {row.reason}",
        ),
        fix=fix,
        prevention=f"Leave the name {row.registry} to ESO; `pull-secrets audit` lists hand-made Secrets.",
        namespace=row.namespace,
        registry=row.registry,
        remedy=force_sync(snapshot.config.registry(row.registry), (row.namespace,)) if restored else None,
    )


@check("Secrets of a registry's name are pull Secrets", explains=("external-secret-failing", "secret-missing"))
def secret_wrong_type(snapshot: Snapshot) -> Iterator[Finding]:
    """A Secret of the registry's name exists and is no `kubernetes.io/dockerconfigjson`.

    A Secret's type is immutable, so every sync of ESO fails. The kubelet pulls with one of the older type
    `kubernetes.io/dockercfg` all the same, and ignores other types. The Secret may serve something else, so it is not
    deleted unattended: `pull-secrets adopt` keeps it in Vault and then replaces it.
    """
    # Without the label nothing is to be delivered there: that is for `namespace-not-labelled`.
    for row in rows(snapshot):
        if row.labelled and row.secret and not row.typed:
            yield _wrong_type(snapshot, row, snapshot.secrets[row.registry][row.namespace])


def _wrong_type(snapshot: Snapshot, row: Coverage, secret: Object) -> Finding:
    registry = snapshot.config.registry(row.registry)
    failed = failing_on(snapshot, row.namespace, registry.hosts)
    old = has_old_form(snapshot, row.namespace, registry)
    return Finding(
        severity=severity_of(failed) if old else Severity.TENANT,
        symptom=(
            f"ESO cannot deliver to {row.namespace}: Secret {row.registry} there is of an older type, with which Pods "
            "can pull and which rotation passes by."
            if old
            else f"Pods in {row.namespace} cannot pull, and the ExternalSecret there is never Ready."
        ),
        cause=(
            f"Secret {row.registry} is of type {OLD_PULL_SECRET_TYPE}, which the kubelet reads and ESO does not write, "
            "and a Secret's type cannot be changed."
            if old
            else f"Secret {row.registry} is not of type {PULL_SECRET_TYPE}, and a Secret's type cannot be changed."
        ),
        evidence=(
            f"Secret {row.namespace}/{row.registry}: not listed with type={PULL_SECRET_TYPE}; {origin_of(secret)}",
            f"ExternalSecret {row.namespace}/{row.registry}: {row.reason}",
            *pod_evidence(failed),
        ),
        fix=(
            f"kubectl describe -n {row.namespace} secret {row.registry}   # who made it, and does anything mount it?",
            _replacement(snapshot, row, secret, old=old),
        ),
        prevention=f"Leave the name {row.registry} to ESO in tenant namespaces.",
        namespace=row.namespace,
        registry=row.registry,
    )


def _replacement(snapshot: Snapshot, row: Coverage, secret: Object, *, old: bool) -> str:
    registry = snapshot.config.registry(row.registry)
    owner = owner_of(secret)
    if owner is None:
        return adoption(snapshot, registry, row.namespace, gap=old)
    if not is_foreign(snapshot, row.registry, row.namespace):
        return f"kubectl delete -n {row.namespace} secret {row.registry}   # ESO recreates it within seconds"
    kind, name = owner
    return f"kubectl -n {row.namespace} delete {kind.lower()} {name}   # or give its Secret another name"


NOT_KEPT_CAUSES = {
    Fault.IMMUTABLE: "The Secret is immutable: ESO changes its metadata, the digest too, and never its data.",
    Fault.UNMANAGED: "The Secret lost ESO's label, so that ESO does not notice edits to it.",
    None: "Somebody wrote the Secret after ESO, and ESO has not compared it with Vault since.",
}


@check("ESO keeps the Secrets that it delivered", explains=("external-secret-failing",))
def secret_not_kept(snapshot: Snapshot) -> Iterator[Finding]:
    """ESO delivered a Secret and does not keep it any more: it is immutable, unlabelled, or was written to by others since.

    Its digest shows what ESO last wrote and not what the Secret holds: ESO writes metadata, the digest among it, onto an
    immutable Secret whose data it cannot change, and ignores one that lost its label. Who wrote the content last is
    in the Secret's managedFields. The safe fix forces a sync, which overwrites what others wrote.
    """
    for row in rows(snapshot):
        delivery = snapshot.inventory.delivery(row.registry, row.namespace)
        if row.labelled and row.typed and delivery.delivered and (delivery.fault or delivery.overwritten):
            yield _not_kept(snapshot, row, delivery)


def _not_kept(snapshot: Snapshot, row: Coverage, delivery: Delivery) -> Finding:
    registry = snapshot.config.registry(row.registry)
    failed = failing_on(snapshot, row.namespace, registry.hosts)
    immutable = delivery.fault is Fault.IMMUTABLE
    return Finding(
        severity=severity_of(failed),
        symptom=f"It is unknown whether {row.namespace} holds the seeded credential, whatever its digest says.",
        cause=NOT_KEPT_CAUSES[delivery.fault],
        evidence=(
            f"Secret {row.namespace}/{row.registry}: {delivery.fault or delivery.overwritten}",
            f"ExternalSecret {row.namespace}/{row.registry}: {row.reason}",
            *pod_evidence(failed),
        ),
        fix=(delivery.fix(row.namespace) if immutable else fix_command(snapshot, row.namespace),),
        prevention=f"Leave Secret {row.registry} to ESO: neither edit it nor make it immutable.",
        namespace=row.namespace,
        registry=row.registry,
        remedy=None if immutable else force_sync(registry, (row.namespace,)),
    )


SLACK = timedelta(minutes=1)
"""How far the clocks of whoever seeds and of the cluster may differ, and how long a refresh may take."""


class StaleReason(Enum):
    """Why the content is another one."""

    WAITING = "ESO has not refreshed since the seeding; the refresh interval has not passed yet."
    OVERDUE = "ESO should have refreshed since the seeding and has not: it does not run, or its queue is too long."
    ELSEWHERE = "ESO has refreshed since the seeding and delivered something else: it does not read the seeded path."


@check("Delivered content is the seeded content")
def content_stale(snapshot: Snapshot) -> Iterator[Finding]:
    """A namespace holds another credential than the one that was seeded.

    Pulls fail as soon as the old credential is revoked. ESO's last refresh distinguishes the causes: it is not due yet
    since the seeding, it is overdue, or it ran and read something else than the seeded path. The safe fix forces a sync.
    """
    # Asked for first: where Vault cannot be read, rows hold no seeded digest to differ from.
    credentials = {registry.name: snapshot.credential(registry) for registry in snapshot.config.registries}
    labelled = [row for row in rows(snapshot) if row.typed and row.labelled]
    stale = [row for row in labelled if None is not row.digest != row.seeded_digest is not None]
    for row in stale:
        together = [other.namespace for other in stale if other.registry == row.registry]
        yield _stale(snapshot, row, credentials[row.registry].seeded_at, together)


def _stale(snapshot: Snapshot, row: Coverage, seeded: datetime | None, stale: list[str]) -> Finding:
    registry = snapshot.config.registry(row.registry)
    refreshed = _refreshed(snapshot, row)
    reason = _stale_reason(registry, seeded, refreshed, snapshot.now)
    failed = failing_on(snapshot, row.namespace, registry.hosts)
    where = f"{row.namespace}/{row.registry}"
    restore = (up_command(snapshot), f"kubectl get clusterexternalsecret {row.registry} -o yaml")
    return Finding(
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
        fix=restore if reason is StaleReason.ELSEWHERE else (fix_command(snapshot, row.namespace),),
        prevention="Rotate with `pull-secrets rotate`, which has ESO refresh and waits for the proof.",
        namespace=row.namespace,
        registry=row.registry,
        remedy=None if reason is StaleReason.ELSEWHERE else force_sync(registry, stale),
    )


def _refreshed(snapshot: Snapshot, row: Coverage) -> datetime | None:
    external_secret = snapshot.external_secrets[row.registry].get(row.namespace)
    return parse_time(status_of(external_secret).get("refreshTime"))


def _stale_reason(
    registry: Registry, seeded: datetime | None, refreshed: datetime | None, now: datetime
) -> StaleReason:
    # A relayed credential goes through two refreshes: the namespace's may come before the relay's and prove nothing.
    if seeded and refreshed and refreshed > seeded + SLACK and not registry.relayed:
        return StaleReason.ELSEWHERE
    interval = parse_duration(registry.refresh) * (2 if registry.relayed else 1)
    last = (seeded if registry.relayed else refreshed) or refreshed or seeded
    return StaleReason.OVERDUE if last is None or now > last + interval + SLACK else StaleReason.WAITING


def _when(time: datetime | None, now: datetime) -> str:
    return f"{ago(now - time)} ago" if time else "at no known time"


@check("Digests prove what was delivered")
def content_unproved(snapshot: Snapshot) -> Iterator[Finding]:
    """It is unknown whether the delivered content is the seeded one, because a digest is missing.

    Delivery is proved by two digests: one that `seed` records beside the Vault path for the version it wrote, and one that
    ESO writes beside each Secret. The first is missing when Vault was written to by other means, the second when the
    ClusterExternalSecret in the cluster is not the stack's.
    """
    for registry in snapshot.config.vault_registries:
        metadata = snapshot.metadata[registry.name]
        if metadata is not None and metadata.live and seeded_digest(metadata) is None:
            yield _unrecorded(snapshot, registry, metadata)
    for row in rows(snapshot):
        delivery = snapshot.inventory.delivery(row.registry, row.namespace)
        if row.typed and row.digest is None and delivery.delivered:
            yield Finding(
                severity=Severity.WARNING,
                symptom=f"Audit cannot determine whether {row.namespace} holds the seeded credential.",
                cause="ESO delivered the Secret without a digest: the live ClusterExternalSecret is not the stack's.",
                evidence=(f"Secret {row.namespace}/{row.registry}: no annotation {CONTENT_DIGEST_ANNOTATION}",),
                fix=(up_command(snapshot),),
                prevention="Change the ClusterExternalSecret through the stack alone.",
                namespace=row.namespace,
                registry=row.registry,
            )


def _unrecorded(snapshot: Snapshot, registry: Registry, metadata: EntryMetadata) -> Finding:
    path = entry_path(snapshot, registry)
    recorded = metadata.custom.get(VERSION_KEY)
    told = f"{DIGEST_KEY} is of version {recorded}" if recorded else f"no {DIGEST_KEY}"
    return Finding(
        severity=Severity.WARNING,
        symptom=f"Audit cannot determine which namespaces hold the credential of {registry.name} that is in Vault.",
        cause="Somebody wrote the path by other means than `pull-secrets seed`, which records a digest.",
        evidence=(f"Vault {path}: version {metadata.current_version} is live, {told}",),
        fix=(f"{seed_command(snapshot, registry)}   # the same credential",),
        prevention="Write the path with `pull-secrets seed` and `rotate` alone; grant write on it to the seeder.",
        registry=registry.name,
    )
