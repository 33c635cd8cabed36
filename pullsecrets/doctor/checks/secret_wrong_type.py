"""A Secret of the registry's name exists and is no `kubernetes.io/dockerconfigjson`.

A Secret's type is immutable, so every sync of ESO fails, and the kubelet passes over other types. The Secret may serve
something else, so it is not deleted unattended.
"""

from collections.abc import Iterator

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import origin_of, rows
from pullsecrets.inventory import PULL_SECRET_TYPE

NAME = "secret-wrong-type"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield Secrets of the right name and the wrong type."""
    for row in rows(snapshot):
        if not row.secret or row.typed:
            continue
        origin = origin_of(snapshot.secrets[row.registry][row.namespace])
        path = f"-n {row.namespace} secret {row.registry}"
        yield Finding(
            check=NAME,
            severity=Severity.TENANT,
            symptom=f"Pods in {row.namespace} cannot pull, and the ExternalSecret there is never Ready.",
            cause=f"Secret {row.registry} is not of type {PULL_SECRET_TYPE}, and a Secret's type cannot be changed.",
            evidence=(
                f"Secret {row.namespace}/{row.registry}: not listed with type={PULL_SECRET_TYPE}; {origin}",
                f"ExternalSecret {row.namespace}/{row.registry}: {row.reason}",
            ),
            fix=(
                f"kubectl describe {path}   # who made it, and does anything mount it?",
                f"kubectl delete {path}   # ESO makes it anew within seconds",
            ),
            prevention=f"Leave the name {row.registry} to ESO in tenant namespaces.",
            namespace=row.namespace,
            registry=row.registry,
        )


CHECK = Check(
    NAME, "Secrets of a registry's name are pull Secrets", find, explains=("external-secret-failing", "secret-missing")
)
