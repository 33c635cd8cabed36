"""A tenant that the stack declares has no namespace in the cluster.

Nothing is delivered to what is not there. Somebody deleted the namespace, the program has not run since the tenant was
declared, or a namespace to adopt was never made by its owner.
"""

from collections.abc import Iterator

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import up_command
from pullsecrets.doctor.snapshot import Snapshot

NAME = "namespace-missing"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield declared tenants whose namespace does not exist."""
    for tenant in snapshot.config.resolve_tenants():
        if tenant.name in snapshot.namespaces or snapshot.only not in {None, tenant.name}:
            continue
        create = (f"kubectl create namespace {tenant.name}",) if tenant.adopt else ()
        adopted = ", to be adopted from its owner" if tenant.adopt else ""
        yield Finding(
            check=NAME,
            severity=Severity.TENANT,
            symptom=f"Namespace {tenant.name} is not there, so nothing can be deployed or pulled in it.",
            cause=f"The stack declares the tenant{adopted}, and the cluster has no such namespace.",
            evidence=(
                f"stack {snapshot.stack}: tenant {tenant.name} for {', '.join(tenant.registries)}",
                f"/api/v1/namespaces: no {tenant.name} among {len(snapshot.namespaces)}",
            ),
            fix=(*create, up_command(snapshot)),
            prevention="Run `pulumi up` once a tenant is declared; keep tenants.protect on, so that no run deletes it.",
            namespace=tenant.name,
        )


CHECK = Check(NAME, "Declared namespaces exist", find)
