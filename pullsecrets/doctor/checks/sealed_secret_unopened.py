"""The sealed-secrets controller cannot open a registry's SealedSecret, or does not run.

It was sealed for another cluster's key, for another name or namespace, or the controller's key was lost
(https://github.com/bitnami-labs/sealed-secrets#usage).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pullsecrets.config import Registry
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import NOT_SYNCED, up_command
from pullsecrets.doctor.sealing import opening, sealed_secret
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.redaction import redact

NAME = "sealed-secret-unopened"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the sealed registries whose SealedSecret was not opened."""
    for registry in snapshot.config.registries:
        item = sealed_secret(snapshot, registry) if registry.sealed else None
        if item is not None and opening(item)[0] != "True":
            yield _finding(snapshot, registry, item)


def _finding(snapshot: Snapshot, registry: Registry, item: Mapping[str, Any]) -> Finding:
    status, message = opening(item)
    place = f"SealedSecret {registry.name!r} in namespace {snapshot.config.eso.namespace!r}"
    seal = f"pull-secrets seal {registry.name} --stack {snapshot.stack} --again --certificate cert.pem --from-file FILE"
    refused = status == "False"
    return Finding(
        check=NAME,
        severity=Severity.CLUSTER,
        symptom="No namespace receives a new credential; new namespaces receive none.",
        cause=f"The controller cannot open {place}." if refused else f"No controller has looked at {place}.",
        evidence=(f"{place}: Synced={status}: {redact(message)}",),
        fix=("kubeseal --fetch-cert > cert.pem", seal, up_command(snapshot))
        if refused
        else ("kubectl get pods -A -l app.kubernetes.io/name=sealed-secrets",),
        prevention="Back the controller's keys up, and seal for the cluster that the file is declared in.",
        registry=registry.name,
    )


CHECK = Check(NAME, "The controller has opened each registry's SealedSecret", find, explains=NOT_SYNCED)
