"""A namespace that no longer has a registry still carries ESO's finalizer of it.

Everything works until somebody deletes the namespace: then it stays in Terminating, because ESO takes the finalizer
off selected namespaces only (https://github.com/external-secrets/external-secrets/issues/6677).
"""

from collections.abc import Iterator
from functools import partial

from pullsecrets.doctor.model import Check, Finding, Remedy, Severity
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import carries, finalizers_of, fix_command, release_command, staying
from pullsecrets.kube.marks import FINALIZER_PREFIX
from pullsecrets.tenancy.binding import release_finalizers

NAME = "finalizer-left-behind"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield namespaces with the finalizer, without the label, and not declared as a tenant of that registry."""
    declared = {(tenant.name, name) for tenant in snapshot.config.resolve_tenants() for name in tenant.registries}
    for registry in snapshot.config.registries:
        finalizer = f"{FINALIZER_PREFIX}{registry.name}"
        for name, item in staying(snapshot):
            if finalizer not in finalizers_of(item) or carries(item, registry) or (name, registry.name) in declared:
                continue
            if name in snapshot.external_secrets[registry.name]:
                continue  # The label went a moment ago: ESO deletes the ExternalSecret first.
            yield Finding(
                check=NAME,
                severity=Severity.WARNING,
                symptom=f"Deleting namespace {name} would leave it in Terminating.",
                cause="Its opt-in label was taken off, and ESO left its finalizer on the namespace.",
                evidence=(f"namespace {name}: finalizer {finalizer}, no label, no ExternalSecret",),
                fix=(fix_command(snapshot, name), release_command(item, finalizer)),
                prevention="Remove tenants with `pull-secrets offboard`: it takes the finalizer off after the label.",
                namespace=name,
                registry=registry.name,
                remedy=Remedy(
                    f"take the finalizer {finalizer} off namespace {name}, which no longer has the registry",
                    partial(release_finalizers, namespace=name, registries=[registry.name]),
                ),
            )


CHECK = Check(NAME, "No namespace keeps a finalizer of a registry that it no longer has", find)
