"""A namespace that is not meant to be a tenant carries an opt-in label, and so receives the credential.

The label is the grant: whoever can read Secrets or start Pods there can use the login. Found on namespaces of the
cluster itself and on names outside the registry's `namespaces` patterns. Taking the label off deletes the Secret, so it
is not done unattended: Pods there may have come to depend on it.
"""

from collections.abc import Iterator

from pullsecrets import names
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import carries, known, label_arguments, seen_pods_in, staying
from pullsecrets.text import listed

NAME = "platform-namespace-labelled"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield namespaces with a label that may not stand there."""
    for registry in snapshot.config.registries:
        for name, item in staying(snapshot):
            if not carries(item, registry) or known(registry).permits(name):
                continue
            users = [pod.name for pod in seen_pods_in(snapshot, name) if registry.name in pod.references]
            unlabel = " ".join(f"{key}-" for key in registry.selector)
            patterns = ", ".join(registry.namespaces)
            kind = "a namespace of the cluster itself" if names.is_platform_namespace(name) else f"none of {patterns}"
            delivered = "delivered" if name in snapshot.secrets[registry.name] else "not delivered yet"
            yield Finding(
                check=NAME,
                severity=Severity.WARNING,
                symptom=f"Namespace {name}, which is no tenant, receives the credential of {registry.name}.",
                cause=f"It carries the opt-in label and is {kind}.",
                evidence=(
                    f"namespace {name}: {label_arguments(registry)}; Secret {registry.name} is {delivered}",
                    f"Pods of {name} that refer to the Secret: {listed(users) or 'none'}",
                ),
                fix=(
                    f"pull-secrets offboard {name} --registry {registry.name} --stack {snapshot.stack}",
                    f"kubectl label namespace {name} {unlabel}   # by hand",
                ),
                prevention="With guard.mode: deny only labelers set the label; `pull-secrets lint` finds it.",
                namespace=name,
                registry=registry.name,
            )


CHECK = Check(NAME, "Opt-in labels stand on tenant namespaces only", find)
