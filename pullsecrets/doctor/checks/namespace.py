"""Namespaces: their labels, their deletion, and who may write where guarded Secrets are."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from pullsecrets import names
from pullsecrets.config import Registry
from pullsecrets.coverage.rows import Coverage
from pullsecrets.doctor.model import Finding, Remedy, Severity, check
from pullsecrets.doctor.platform import again_command, up_command
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import (
    Object,
    adoption,
    ago,
    carries,
    failing_on,
    fix_command,
    has_old_form,
    is_foreign,
    origin_of,
    owner_of,
    parse_time,
    pod_evidence,
    release_command,
    rows,
    seen_pods_in,
    severity_of,
    staying,
)
from pullsecrets.guard import GUARDED_OBJECTS
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.marks import FINALIZER_PREFIX
from pullsecrets.kube.objects import conditions_of, finalizers_of, is_leaving, labels_of, namespace_path
from pullsecrets.kube.selectors import written
from pullsecrets.manifests.rbac import RBAC_GROUP
from pullsecrets.tenancy.binding import release_finalizers
from pullsecrets.tenancy.opt_in import opt_in
from pullsecrets.text import listed


@check("Declared namespaces exist")
def namespace_missing(snapshot: Snapshot) -> Iterator[Finding]:
    """A tenant that the stack declares has no namespace in the cluster.

    Nothing is delivered without it. The namespace was deleted, the program has not run since the tenant was declared, or a
    namespace to adopt was never created by its owner.
    """
    for tenant in snapshot.config.resolve_tenants():
        if tenant.name in snapshot.namespaces or snapshot.only not in {None, tenant.name}:
            continue
        create = (f"kubectl create namespace {tenant.name}",) if tenant.adopt else ()
        adopted = ", to be adopted from its owner" if tenant.adopt else ""
        yield Finding(
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


PREVENTION = "Create namespaces through the stack, which sets the label; with guard.mode: deny only labelers remove it."


@check("Namespaces that use a registry carry its opt-in label", explains=("pod-runs-from-cache",))
def namespace_not_labelled(snapshot: Snapshot) -> Iterator[Finding]:
    """A namespace that should have a registry's pull Secret does not carry the opt-in label.

    The label is what ESO selects by: without it there is neither ExternalSecret nor Secret, and the first Pod waits in
    ImagePullBackOff. Found for tenants that the stack declares, and for namespaces whose Pods fail to pull from a
    registry's host without being opted in.

    Where an unmanaged Secret has the registry's name, the label would have ESO overwrite it: it is not set unattended,
    and `pull-secrets adopt` keeps that Secret in Vault before it labels.
    """
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
    """Return the Secret of the registry's name there when it is unmanaged."""
    return snapshot.secrets[registry.name].get(namespace) if is_foreign(snapshot, registry.name, namespace) else None


def _taken(snapshot: Snapshot, row: Coverage, secret: Object) -> Finding:
    """Return the finding on a declared tenant that has somebody's own Secret of the registry's name."""
    registry = snapshot.config.registry(row.registry)
    namespace = row.namespace
    failed = failing_on(snapshot, namespace, registry.hosts)
    serves = row.typed or has_old_form(snapshot, namespace, registry)
    return Finding(
        severity=severity_of(failed) if serves else Severity.TENANT,
        symptom=(
            f"Secret {registry.name} in {namespace} is unmanaged: ESO does not manage it, and rotation passes it by."
            if serves
            else f"Pods in {namespace} cannot pull: Secret {registry.name} is unmanaged and not a pull Secret."
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
    gap = namespace not in snapshot.inventory.typed[registry.name] and has_old_form(snapshot, namespace, registry)
    return (*kept, adoption(snapshot, registry, namespace, gap=gap))


def _declared(snapshot: Snapshot, row: Coverage) -> Finding:
    registry = snapshot.config.registry(row.registry)
    namespace = row.namespace
    label = written(registry.selector, " ")
    return Finding(
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
    permitted = registry.permits(namespace)
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
    label = f"kubectl label namespace {namespace} {written(registry.selector, ' ')}"
    return (declare, up_command(snapshot), label, restart)


def _label_evidence(item: Object, registry: Registry, namespace: str) -> str:
    labels = labels_of(item)
    found = ", ".join(f"{key}={labels[key]}" if key in labels else f"no {key}" for key in registry.selector)
    return f"namespace {namespace}: {found}; wanted {written(registry.selector, ' ')}"


@check("Only tenant namespaces carry opt-in labels")
def platform_namespace_labelled(snapshot: Snapshot) -> Iterator[Finding]:
    """A namespace that is not meant to be a tenant carries an opt-in label, and so receives the credential.

    The label is the grant: anyone who can read Secrets or start Pods there can use the login. Found on namespaces of the
    cluster itself and on names outside the registry's `namespaces` patterns. Removing the label deletes the Secret, so it
    is not done unattended: Pods there may have come to depend on it.
    """
    for registry in snapshot.config.registries:
        for name, item in staying(snapshot):
            if not carries(item, registry) or registry.permits(name):
                continue
            users = [pod.name for pod in seen_pods_in(snapshot, name) if registry.name in pod.references]
            unlabel = " ".join(f"{key}-" for key in registry.selector)
            patterns = ", ".join(registry.namespaces)
            kind = "a namespace of the cluster itself" if names.is_platform_namespace(name) else f"none of {patterns}"
            delivered = "delivered" if name in snapshot.secrets[registry.name] else "not delivered yet"
            yield Finding(
                severity=Severity.WARNING,
                symptom=f"Namespace {name}, which is no tenant, receives the credential of {registry.name}.",
                cause=f"It carries the opt-in label and is {kind}.",
                evidence=(
                    f"namespace {name}: {written(registry.selector, ' ')}; Secret {registry.name} is {delivered}",
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


PATIENCE = timedelta(minutes=1)
"""How long ESO may take with a namespace that it still selects."""


@check("No tenant's namespace hangs in Terminating")
def namespace_stuck_terminating(snapshot: Snapshot) -> Iterator[Finding]:
    """A tenant's namespace stays in Terminating: ESO's finalizer, another's, or content that is not deleted holds it.

    Since 0.20 ESO puts a finalizer on each namespace that a ClusterExternalSecret selects and removes it only from
    namespaces that are still selected. A namespace that lost its label first stays in Terminating
    (https://github.com/external-secrets/external-secrets/issues/6677). The safe fix removes that one finalizer, only
    when the ExternalSecret that it guards is gone and only for a registry of this stack. Other finalizers are left to
    their owners: they are listed, with the namespace's own conditions.
    """
    registries = {registry.name: registry for registry in snapshot.config.registries}
    for name, item in snapshot.namespaces.items():
        if not is_leaving(item) or snapshot.only not in {None, name}:
            continue
        finalizers = [found for found in finalizers_of(item) if found.startswith(FINALIZER_PREFIX)]
        held = [found.removeprefix(FINALIZER_PREFIX) for found in finalizers]
        for fanout in held:
            yield from _judge_stuck(snapshot, item, fanout, registries.get(fanout))
        if not held and any(row.namespace == name for row in snapshot.coverage):
            yield from _held_by_others(snapshot, item)


def _held_by_others(snapshot: Snapshot, item: Object) -> Iterator[Finding]:
    name, others = item["metadata"]["name"], finalizers_of(item)
    waited = _leaving_for(snapshot, item)
    if waited < PATIENCE:
        return
    yield Finding(
        severity=Severity.TENANT,
        symptom=f"Namespace {name} stays in Terminating; no Pod and no Secret can be made there.",
        cause=(
            f"Finalizers of others hold it: {listed(others)}."
            if others
            else "What is in it does not go: its conditions say what."
        ),
        evidence=(f"namespace {name}: in deletion for {ago(waited)}", *_conditions(snapshot, name)),
        fix=(
            f"kubectl get namespace {name} -o jsonpath='{{.status.conditions}}'",
            "# have the controller that put the finalizer on finish, or its owners release it",
        ),
        prevention="Delete what other controllers look after in a namespace before the namespace itself.",
        namespace=name,
    )


def _conditions(snapshot: Snapshot, name: str) -> Iterator[str]:
    """Yield what the namespace controller says is left (`Namespace*Remaining`, `Namespace*Failure`)."""
    found = snapshot.once(f"namespace/{name}", partial(snapshot.cluster.find, namespace_path(name)))
    for condition in conditions_of(found):
        if condition["status"] == "True":
            yield f"namespace {name}: {condition['type']}: {condition.get('message', '')}"


def _judge_stuck(snapshot: Snapshot, item: Object, fanout: str, registry: Registry | None) -> Iterator[Finding]:
    name, waited = item["metadata"]["name"], _leaving_for(snapshot, item)
    guarding = registry is not None and name in snapshot.external_secrets[registry.name]
    selected = registry is None or carries(item, registry)
    if (selected or guarding) and waited < PATIENCE:
        return
    finalizer = f"{FINALIZER_PREFIX}{fanout}"
    others = [found for found in finalizers_of(item) if found != finalizer]
    release = release_command(item, finalizer)
    if registry is None:
        cause = "It holds ESO's finalizer of a ClusterExternalSecret that is not this stack's."
        fix = (f"kubectl -n {name} get externalsecrets   # none left? then:", release)
    elif guarding:
        cause = "ESO has not deleted the ExternalSecret that its finalizer guards: it does not run, or is far behind."
        fix = (f"{again_command(snapshot)}   # start ESO: it deletes the ExternalSecret",)
    else:
        cause = (
            "ESO has not taken its finalizer off: it does not run, or is far behind."
            if selected
            else "It lost the opt-in label before it was deleted, and ESO removes its finalizer from selected namespaces "
            "only."
        )
        fix = (fix_command(snapshot, name), release)
    yield Finding(
        severity=Severity.TENANT,
        symptom=f"Namespace {name} stays in Terminating.",
        cause=cause,
        evidence=(
            f"namespace {name}: in deletion for {ago(waited)}, finalizer {finalizer}",
            *((f"ExternalSecret {name}/{fanout} {'is still there' if guarding else 'is gone'}",) if registry else ()),
            *((f"namespace {name}: other finalizers that hold it as well: {', '.join(others)}",) if others else ()),
        ),
        fix=fix,
        prevention=(
            "Remove tenants with `pull-secrets offboard`, which removes the finalizer after the label; or delete a "
            "namespace while it still carries the label."
        ),
        namespace=name,
        registry=registry.name if registry else None,
        remedy=_release(name, registry, "is being deleted") if registry and not guarding else None,
    )


def _leaving_for(snapshot: Snapshot, item: Object) -> timedelta:
    return snapshot.now - (parse_time(item["metadata"]["deletionTimestamp"]) or snapshot.now)


def _release(namespace: str, registry: Registry, why: str) -> Remedy:
    return Remedy(
        f"take the finalizer {FINALIZER_PREFIX}{registry.name} off namespace {namespace}, which {why}",
        partial(release_finalizers, namespace=namespace, registries=[registry.name]),
    )


@check("No namespace keeps a finalizer of a registry that it no longer has")
def finalizer_left_behind(snapshot: Snapshot) -> Iterator[Finding]:
    """A namespace that no longer has a registry still carries ESO's finalizer of it.

    Everything works until the namespace is deleted: then it stays in Terminating, because ESO removes the finalizer
    from selected namespaces only (https://github.com/external-secrets/external-secrets/issues/6677).
    """
    declared = {(tenant.name, name) for tenant in snapshot.config.resolve_tenants() for name in tenant.registries}
    for registry in snapshot.config.registries:
        finalizer = f"{FINALIZER_PREFIX}{registry.name}"
        for name, item in staying(snapshot):
            if finalizer not in finalizers_of(item) or carries(item, registry) or (name, registry.name) in declared:
                continue
            if name in snapshot.external_secrets[registry.name]:
                continue  # The label went a moment ago: ESO deletes the ExternalSecret first.
            yield Finding(
                severity=Severity.WARNING,
                symptom=f"Deleting namespace {name} would leave it in Terminating.",
                cause="Its opt-in label was taken off, and ESO left its finalizer on the namespace.",
                evidence=(f"namespace {name}: finalizer {finalizer}, no label, no ExternalSecret",),
                fix=(fix_command(snapshot, name), release_command(item, finalizer)),
                prevention="Remove tenants with `pull-secrets offboard`: it removes the finalizer after the label.",
                namespace=name,
                registry=registry.name,
                remedy=_release(name, registry, "no longer has the registry"),
            )


KUBE_SYSTEM = "kube-system"
RBAC = f"/apis/{RBAC_GROUP}/v1"
GUARDED_NAMES = {item.name for item in GUARDED_OBJECTS if (item.kind, item.namespace) == ("Secret", KUBE_SYSTEM)}
_WRITES = {"create", "update", "patch", "delete", "deletecollection", "*"}


@check("Nothing but the cluster's own accounts may write Secrets beside the guarded ones")
def guarded_namespace_writers(snapshot: Snapshot) -> Iterator[Finding]:
    """ServiceAccounts of `kube-system` beside the cluster's own may write Secrets there, and the guard does not deny it.

    `kube-system` holds guarded Secrets, and more runs in it than Kubernetes: sealed-secrets, cloud agents, leftovers of old
    installations. The guard trusts the accounts that `guard.platform` and `guard.writers` name, one by one. With `warn` it
    lets the others through; with `deny` the API server refuses them, and nothing is found here.
    """
    guard = snapshot.config.guard
    if guard.mode == "deny":
        return
    named = {*guard.platform.users, *guard.writers.users}
    for account, binding in sorted(_writers(snapshot.cluster).items()):
        user = f"system:serviceaccount:{KUBE_SYSTEM}:{account}"
        if user in named:
            continue
        yield Finding(
            severity=Severity.WARNING,
            symptom="A mistake in another component could replace the cluster-wide pull-secret.",
            cause=f"ServiceAccount {KUBE_SYSTEM}/{account} may write Secrets there, and guard.mode is {guard.mode}.",
            evidence=(f"{binding}: it may write Secrets there, {', '.join(sorted(GUARDED_NAMES))} among them",),
            fix=(
                f"kubectl auth can-i --list --namespace {KUBE_SYSTEM} --as {user}",
                f"# does it write one of them? add {user} to guard.writers.users; then set guard.mode: deny",
                again_command(snapshot),
            ),
            prevention="Install components into namespaces of their own, and set guard.mode: deny.",
        )


def may_write(rule: Mapping[str, Any]) -> bool:
    """Tell whether an RBAC rule permits writing a guarded Secret."""
    names = {*(rule.get("resourceNames") or ())}
    return (
        bool({"", "*"} & {*(rule.get("apiGroups") or ())})
        and bool({"secrets", "*"} & {*(rule.get("resources") or ())})
        and bool(_WRITES & {*(rule.get("verbs") or ())})
        and (not names or bool(names & GUARDED_NAMES))
    )


def _writers(cluster: KubernetesClient) -> dict[str, str]:
    """Return the accounts that may, each with a binding by which it may; Kubernetes' own bindings are passed over."""
    scopes = (("Cluster", RBAC), ("", f"{RBAC}/namespaces/{KUBE_SYSTEM}"))
    roles = {
        (f"{scope}Role", item["metadata"]["name"])
        for scope, where in scopes
        for item in cluster.items(f"{where}/{scope.lower()}roles")
        if any(map(may_write, item.get("rules") or ()))
    }
    return {
        subject["name"]: f"{scope}RoleBinding {item['metadata']['name']}"
        for scope, where in scopes
        for item in cluster.items(f"{where}/{scope.lower()}rolebindings")
        if (item["roleRef"]["kind"], item["roleRef"]["name"]) in roles
        and not item["metadata"]["name"].startswith("system:")
        for subject in item.get("subjects") or ()
        if (subject["kind"], subject.get("namespace")) == ("ServiceAccount", KUBE_SYSTEM)
    }
