"""A namespace that should have a registry's pull Secret does not carry the opt-in label.

The label is what ESO selects by: without it there is neither ExternalSecret nor Secret, and the first Pod waits in
ImagePullBackOff. Found for tenants that the stack declares, and for namespaces whose Pods fail to pull from a
registry's host although nobody opted them in.

Where somebody's own Secret has the registry's name, the label would have ESO write over it: it is not set unattended,
and `pull-secrets adopt` keeps that Secret in Vault before it labels.
"""

from collections.abc import Iterator
from functools import partial

from pullsecrets.config import Registry
from pullsecrets.coverage.audit import Coverage
from pullsecrets.doctor.model import Check, Finding, Remedy, Severity
from pullsecrets.doctor.platform import up_command
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import (
    Object,
    adoption,
    carries,
    failing_on,
    fix_command,
    has_old_form,
    is_foreign,
    known,
    label_arguments,
    labels_of,
    origin_of,
    owner_of,
    pod_evidence,
    rows,
    severity_of,
    staying,
)
from pullsecrets.tenancy.opt_in import opt_in

NAME = "namespace-not-labelled"
PREVENTION = "Make namespaces through the stack, which sets the label; with guard.mode: deny only labelers take it off."


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield declared tenants without the label, then namespaces that fail for want of it."""
    declared: set[tuple[str, str]] = set()
    for row in rows(snapshot):
        if row.declared:
            declared.add((row.namespace, row.registry))
            if not row.labelled:
                secret = _foreign(snapshot, snapshot.config.registry(row.registry), row.namespace)
                yield _taken(snapshot, row, secret) if secret else _declared(snapshot, row)
    for registry in snapshot.config.registries:
        for name, item in staying(snapshot):
            if not carries(item, registry) and (name, registry.name) not in declared:
                yield from _undeclared(snapshot, registry, name)


def _foreign(snapshot: Snapshot, registry: Registry, namespace: str) -> Object | None:
    """Return the Secret of the registry's name there when it is of other origin."""
    return snapshot.secrets[registry.name].get(namespace) if is_foreign(snapshot, registry.name, namespace) else None


def _taken(snapshot: Snapshot, row: Coverage, secret: Object) -> Finding:
    """Return the finding on a declared tenant that has somebody's own Secret of the registry's name."""
    registry = snapshot.config.registry(row.registry)
    namespace = row.namespace
    failed = failing_on(snapshot, namespace, registry.hosts)
    serves = row.typed or has_old_form(snapshot, namespace, registry)
    return Finding(
        check=NAME,
        severity=severity_of(failed) if serves else Severity.TENANT,
        symptom=(
            f"Secret {registry.name} in {namespace} is of other origin: ESO does not look after it, and rotation "
            "passes it by."
            if serves
            else f"Pods in {namespace} cannot pull: Secret {registry.name} is of other origin and no pull Secret."
        ),
        cause=(
            "The tenant is declared, but its namespace does not carry the opt-in label that ESO selects by; the label "
            "alone would have ESO write over that Secret."
        ),
        evidence=(
            _label_evidence(snapshot.namespaces[namespace], registry, namespace),
            f"Secret {namespace}/{registry.name}: {origin_of(secret)}, made {secret['metadata']['creationTimestamp']}",
            *pod_evidence(failed),
        ),
        fix=_adopt(snapshot, registry, namespace, secret),
        prevention="Run `pull-secrets adopt` when a tenant is declared that holds a Secret made by hand.",
        namespace=namespace,
        registry=registry.name,
    )


def _adopt(snapshot: Snapshot, registry: Registry, namespace: str, secret: Object) -> tuple[str, ...]:
    owner = owner_of(secret)
    kept = (
        (f"# remove {' '.join(owner)} first, which keeps the Secret, or give its Secret another name",) if owner else ()
    )
    gap = namespace not in snapshot.typed[registry.name] and has_old_form(snapshot, namespace, registry)
    return (*kept, adoption(snapshot, registry, namespace, gap=gap))


def _declared(snapshot: Snapshot, row: Coverage) -> Finding:
    registry = snapshot.config.registry(row.registry)
    namespace = row.namespace
    label = label_arguments(registry)
    return Finding(
        check=NAME,
        severity=Severity.TENANT,
        symptom=f"Pods in {namespace} go to ImagePullBackOff: there is no Secret {registry.name}.",
        cause="The tenant is declared, but its namespace does not carry the opt-in label that ESO selects by.",
        evidence=(
            _label_evidence(snapshot.namespaces[namespace], registry, namespace),
            *pod_evidence(failing_on(snapshot, namespace, registry.hosts)),
        ),
        fix=(fix_command(snapshot, namespace), f"kubectl label namespace {namespace} {label} --overwrite"),
        prevention=PREVENTION,
        namespace=namespace,
        registry=registry.name,
        remedy=Remedy(
            f"label namespace {namespace} with {label}, as the stack declares it",
            partial(opt_in, namespace=namespace, labels=registry.selector),
        ),
    )


def _undeclared(snapshot: Snapshot, registry: Registry, namespace: str) -> Iterator[Finding]:
    failed = failing_on(snapshot, namespace, registry.hosts)
    if not failed:
        return
    permitted = known(registry).permits(namespace)
    patterns = ", ".join(registry.namespaces)
    cause = (
        "Nobody opted the namespace in: it is no declared tenant and does not carry the opt-in label."
        if permitted
        else f"The namespace is not opted in, and its name is not among the registry's namespaces ({patterns})."
    )
    fix = (
        _opted_in(snapshot, registry, namespace)
        if permitted
        else (f"# move the workload to a namespace named {patterns}, or give it a login of its own",)
    )
    yield Finding(
        check=NAME,
        severity=Severity.TENANT,
        symptom=f"Pods in {namespace} go to ImagePullBackOff: they pull from the registry of {registry.name}.",
        cause=cause,
        evidence=(
            _label_evidence(snapshot.namespaces[namespace], registry, namespace),
            *pod_evidence(failed),
        ),
        fix=fix,
        prevention="Declare each tenant in the stack before its first deployment: the program labels and binds it.",
        namespace=namespace,
        registry=registry.name,
    )


def _opted_in(snapshot: Snapshot, registry: Registry, namespace: str) -> tuple[str, ...]:
    declare = f"# declare {namespace} under tenants in Pulumi.{snapshot.stack}.yaml"
    restart = f"kubectl -n {namespace} rollout restart deployment"
    secret = _foreign(snapshot, registry, namespace)
    if secret:
        taken = _adopt(snapshot, registry, namespace, secret)
        return (*taken, f"{declare}, with adopt: true", up_command(snapshot), restart)
    label = f"kubectl label namespace {namespace} {label_arguments(registry)}"
    return (declare, up_command(snapshot), label, restart)


def _label_evidence(item: Object, registry: Registry, namespace: str) -> str:
    labels = labels_of(item)
    found = ", ".join(f"{key}={labels[key]}" if key in labels else f"no {key}" for key in registry.selector)
    return f"namespace {namespace}: {found}; wanted {label_arguments(registry)}"


CHECK = Check(NAME, "Namespaces that use a registry carry its opt-in label", find)
