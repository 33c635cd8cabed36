"""ESO delivered a Secret and does not keep it any more: it is immutable, unlabelled, or was written to by others since.

Its digest says what ESO last wrote and not what the Secret holds: ESO writes metadata, the digest among it, onto an
immutable Secret whose data it cannot change, and looks after none that lost its label. Who wrote the content last is
in the Secret's managedFields. The safe fix has ESO sync, which writes over what others wrote.
"""

from collections.abc import Iterator

from pullsecrets.coverage.audit import Coverage
from pullsecrets.doctor.model import Check, Finding
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import failing_on, fix_command, force_sync, pod_evidence, rows, severity_of
from pullsecrets.kube.ownership import Delivery, Fault

NAME = "secret-not-kept"

CAUSES = {
    Fault.IMMUTABLE: "The Secret is immutable: ESO changes its metadata, the digest too, and never its data.",
    Fault.UNMANAGED: "The Secret lost ESO's label, so that ESO does not see when somebody edits it.",
    None: "Somebody wrote the Secret after ESO, and ESO has not compared it with Vault since.",
}


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield Secrets that we deliver and whose content ESO does not vouch for."""
    for row in rows(snapshot):
        delivery = snapshot.inventory.delivery(row.registry, row.namespace)
        if row.labelled and row.typed and delivery.delivered and (delivery.fault or delivery.overwritten):
            yield _finding(snapshot, row, delivery)


def _finding(snapshot: Snapshot, row: Coverage, delivery: Delivery) -> Finding:
    registry = snapshot.config.registry(row.registry)
    failed = failing_on(snapshot, row.namespace, registry.hosts)
    immutable = delivery.fault is Fault.IMMUTABLE
    return Finding(
        check=NAME,
        severity=severity_of(failed),
        symptom=f"Nobody can tell whether {row.namespace} holds the seeded credential, whatever its digest says.",
        cause=CAUSES[delivery.fault],
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


CHECK = Check(NAME, "ESO keeps the Secrets that it delivered", find, explains=("external-secret-failing",))
