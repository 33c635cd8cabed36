"""The ExternalSecret says that it is Ready, and its Secret is not there.

Somebody deleted the Secret while ESO did not run, or ESO has not seen it yet. The safe fix has ESO sync again.
"""

from collections.abc import Iterator

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import fix_command, force_sync, rows

NAME = "secret-missing"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield namespaces whose Ready ExternalSecret has no Secret."""
    missing = [row for row in rows(snapshot) if row.labelled and row.ready and not row.secret]
    for row in missing:
        where = f"{row.namespace}/{row.registry}"
        yield Finding(
            check=NAME,
            severity=Severity.TENANT,
            symptom=f"Pods in {row.namespace} cannot pull: there is no Secret {row.registry}.",
            cause="The Secret was deleted, and ESO has not made it again: it does not run, or is far behind.",
            evidence=(f"ExternalSecret {where}: Ready, {row.reason}", f"Secret {where}: not found"),
            fix=(
                fix_command(snapshot, row.namespace),
                f"pull-secrets doctor --stack {snapshot.stack}",
            ),
            prevention="Grant delete on Secrets in tenant namespaces to few; alert on ESO's Deployment.",
            namespace=row.namespace,
            registry=row.registry,
            remedy=force_sync(
                snapshot.config.registry(row.registry),
                (other.namespace for other in missing if other.registry == row.registry),
            ),
        )


CHECK = Check(NAME, "Ready ExternalSecrets have their Secret", find)
