"""A namespace carries the opt-in label and has no ExternalSecret from the stack's ClusterExternalSecret.

ESO watches namespaces, so a new label acts within seconds unless ESO does not run, its queue is long, or it cannot
write there: then the ClusterExternalSecret says why in `.status.failedNamespaces`. Another ExternalSecret of the same
name, which somebody made by hand, counts as missing: ESO leaves it alone.
"""

from collections.abc import Iterator
from typing import Any, cast

from pullsecrets.coverage.audit import Coverage
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import up_command
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import owner_of, rows

NAME = "external-secret-missing"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield labelled namespaces without an ExternalSecret of the fan-out."""
    for row in rows(snapshot):
        if not row.labelled:
            continue
        found = snapshot.external_secrets[row.registry].get(row.namespace)
        if found is None:
            yield _absent(snapshot, row)
        elif owner_of(found) != ("ClusterExternalSecret", row.registry):
            yield _foreign(snapshot, row)


def _absent(snapshot: Snapshot, row: Coverage) -> Finding:
    fanout = snapshot.fanouts[row.registry]
    failure = _failure(snapshot, row)
    waiting = [other for other in snapshot.coverage if other.registry == row.registry and other.labelled]
    without = [other for other in waiting if other.namespace not in snapshot.external_secrets[row.registry]]
    if fanout is None:
        cause, fix = "The stack's ClusterExternalSecret is not in the cluster.", up_command(snapshot)
    elif failure:
        cause, fix = f"ESO could not write there: {failure}", f"kubectl describe clusterexternalsecret {row.registry}"
    else:
        cause = "ESO has not come to this namespace yet: it does not run, or its queue is long."
        fix = f"pull-secrets doctor --stack {snapshot.stack}"
    return Finding(
        check=NAME,
        severity=Severity.TENANT,
        symptom=f"Namespace {row.namespace} carries the label and receives no Secret {row.registry}.",
        cause=cause,
        evidence=(
            f"ExternalSecret {row.namespace}/{row.registry}: not found",
            f"ClusterExternalSecret {row.registry}: {failure or 'no failure of that namespace'}",
            f"{len(without)} of {len(waiting)} labelled namespaces have no ExternalSecret of {row.registry}",
        ),
        fix=(fix,),
        prevention="Give ESO the flags that doctor recommends for so many namespaces; alert on its Deployment.",
        namespace=row.namespace,
        registry=row.registry,
    )


def _foreign(snapshot: Snapshot, row: Coverage) -> Finding:
    target = f"-n {row.namespace} externalsecret {row.registry}"
    return Finding(
        check=NAME,
        severity=Severity.TENANT,
        symptom=f"Namespace {row.namespace} carries the label, and rotation passes its Secret {row.registry} by.",
        cause="Somebody made an ExternalSecret of that name, and the ClusterExternalSecret leaves it alone.",
        evidence=(
            f"ExternalSecret {row.namespace}/{row.registry}: not owned by ClusterExternalSecret {row.registry}",
            f"ClusterExternalSecret {row.registry}: {_failure(snapshot, row) or 'no failure of that namespace'}",
        ),
        fix=(f"kubectl describe {target}", f"kubectl delete {target}   # ESO makes the fan-out's within seconds"),
        prevention=f"Leave the name {row.registry} to the stack in tenant namespaces.",
        namespace=row.namespace,
        registry=row.registry,
    )


def _failure(snapshot: Snapshot, row: Coverage) -> str | None:
    """Return why ESO could not write to the namespace, in its own words."""
    fanout = snapshot.fanouts[row.registry] or {}
    status = cast("dict[str, Any]", fanout.get("status") or {})
    failed = cast("list[dict[str, str]]", status.get("failedNamespaces") or [])
    return next((item.get("reason") or "no reason" for item in failed if item["namespace"] == row.namespace), None)


CHECK = Check(NAME, "Labelled namespaces have the fan-out's ExternalSecret", find, explains=("secret-foreign",))
