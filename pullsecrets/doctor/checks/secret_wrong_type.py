"""A Secret of the registry's name exists and is no `kubernetes.io/dockerconfigjson`.

A Secret's type is immutable, so every sync of ESO fails. The kubelet pulls with one of the older type
`kubernetes.io/dockercfg` all the same, and passes over other types. The Secret may serve something else, so it is not
deleted unattended: `pull-secrets adopt` keeps it in Vault and then replaces it.
"""

from collections.abc import Iterator

from pullsecrets.adoption.handmade import OLD_PULL_SECRET_TYPE
from pullsecrets.coverage.audit import Coverage
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import (
    Object,
    adoption,
    failing_on,
    has_old_form,
    is_foreign,
    origin_of,
    owner_of,
    pod_evidence,
    rows,
    severity_of,
)
from pullsecrets.kube.marks import PULL_SECRET_TYPE

NAME = "secret-wrong-type"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield Secrets of the right name and the wrong type.

    Without the label nothing is to be delivered there: that is `namespace-not-labelled`, which looks at the Secret too.
    """
    for row in rows(snapshot):
        if row.labelled and row.secret and not row.typed:
            yield _finding(snapshot, row, snapshot.secrets[row.registry][row.namespace])


def _finding(snapshot: Snapshot, row: Coverage, secret: Object) -> Finding:
    registry = snapshot.config.registry(row.registry)
    failed = failing_on(snapshot, row.namespace, registry.hosts)
    old = has_old_form(snapshot, row.namespace, registry)
    return Finding(
        check=NAME,
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
        return f"kubectl delete -n {row.namespace} secret {row.registry}   # ESO makes it anew within seconds"
    kind, name = owner
    return f"kubectl -n {row.namespace} delete {kind.lower()} {name}   # or give its Secret another name"


CHECK = Check(
    NAME, "Secrets of a registry's name are pull Secrets", find, explains=("external-secret-failing", "secret-missing")
)
