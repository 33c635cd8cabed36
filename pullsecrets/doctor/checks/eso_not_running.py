"""External Secrets Operator is installed and none of its Pods is ready, or it is scaled to zero."""

from collections.abc import Iterator

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import STORE_UNUSABLE, again_command
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.kube.eso import Installation

NAME = "eso-not-running"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield one finding when no controller has a ready Pod."""
    if not snapshot.installations or any(item.ready for item in snapshot.installations):
        return
    for item in snapshot.installations:
        yield Finding(
            check=NAME,
            severity=Severity.CLUSTER,
            symptom="No namespace receives a new or rotated credential, and no status of ESO's objects changes.",
            cause=_cause(item),
            evidence=(f"Deployment {item.namespace}/{item.name}: {item.ready} of {item.replicas} Pods ready",),
            fix=(*_fix(item), again_command(snapshot)),
            prevention="Alert on the Deployment's ready Pods, run two replicas with leader election.",
        )


def _cause(item: Installation) -> str:
    if item.replicas == 0:
        return f"Controller {item} is scaled to zero."
    return f"Controller {item} has no ready Pod of {item.replicas}."


def _fix(item: Installation) -> tuple[str, ...]:
    where = f"-n {item.namespace}"
    if item.replicas == 0:
        return (f"kubectl {where} scale deployment {item.name} --replicas=1",)
    return (
        f"kubectl {where} describe deployment {item.name}",
        f"kubectl {where} get pods -l app.kubernetes.io/name=external-secrets",
        f"kubectl {where} logs deployment/{item.name} --previous",
    )


CHECK = Check(NAME, "ESO's controller has a ready Pod", find, explains=("eso-not-reconciling", *STORE_UNUSABLE))
