"""How Pods get their reference to the pull Secret: by their ServiceAccount or by Pod admission."""

from collections.abc import Iterator

from pullsecrets.coverage.inventory import SMALL_OBJECTS
from pullsecrets.coverage.rows import Coverage
from pullsecrets.doctor.model import Finding, Remedy, Severity, check
from pullsecrets.doctor.platform import up_command
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import (
    Object,
    entry_is_appended,
    failing_on,
    fix_command,
    has_own_list,
    pod_evidence,
    rows,
    seen_pods_in,
    severity_of,
)
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.objects import managed_fields, metadata_of
from pullsecrets.kube.ownership import last_writer
from pullsecrets.manifests import guard
from pullsecrets.tenancy.binding import bind
from pullsecrets.text import listed
from pullsecrets.workloads.pods import PodPull

BY_ACCOUNT = "serviceAccounts"


@check("ServiceAccounts that Pods run as list the pull Secret", explains=("pod-runs-from-cache",))
def service_account_unbound(snapshot: Snapshot) -> Iterator[Finding]:
    """A ServiceAccount that Pods run as does not list the registry's pull Secret.

    Admission copies the ServiceAccount's list into each new Pod, so Pods fail although the Secret is there. Found for the
    `default` and the declared ServiceAccounts of a tenant, and for those that Pods using the registry run as and that are
    not declared. The safe fix appends the entry and keeps every other one.
    """
    if snapshot.config.binding != BY_ACCOUNT:
        return
    for row in rows(snapshot):
        if row.unbound:
            yield _wanted(snapshot, row)
        undeclared = _undeclared(snapshot, row)
        if undeclared:
            yield _used(snapshot, row, undeclared)


def _wanted(snapshot: Snapshot, row: Coverage) -> Finding:
    failed = [
        pod
        for pod in failing_on(snapshot, row.namespace, snapshot.config.registry(row.registry).hosts)
        if pod.service_account in row.unbound
    ]
    accounts = listed(row.unbound)
    return Finding(
        severity=Severity.TENANT,
        symptom=f"New Pods in {row.namespace} cannot pull: they get no reference to Secret {row.registry}.",
        cause=(
            f"ServiceAccount {accounts} does not list {row.registry}: its list was replaced, or it was made after the "
            "last `pulumi up`."
        ),
        evidence=(*_entries(snapshot, row, row.unbound), *pod_evidence(failed)),
        fix=(fix_command(snapshot, row.namespace), f"pull-secrets bind --stack {snapshot.stack}"),
        prevention=(
            "Never apply or merge-patch a ServiceAccount's imagePullSecrets, which replaces the list. Let the stack "
            "append to it; for ServiceAccounts that are made later run `pull-secrets bind --watch` "
            "(monitoring.bindWatch), or set binding: admission."
        ),
        namespace=row.namespace,
        registry=row.registry,
        remedy=_remedy(row, row.unbound),
    )


def _undeclared(snapshot: Snapshot, row: Coverage) -> list[PodPull]:
    """Return Pods whose ServiceAccount exists, is none that the stack binds, and lacks the entry."""
    registry = snapshot.config.registry(row.registry)
    bound_by_stack = {*row.bound, *row.unbound, *row.awaited}
    accounts = snapshot.accounts.get(row.namespace, {})
    return [
        pod
        for pod in seen_pods_in(snapshot, row.namespace)
        if pod.lacks(registry)
        and pod.service_account not in bound_by_stack
        and registry.name not in accounts.get(pod.service_account, (registry.name,))
        and not has_own_list(snapshot, pod, registry)
    ]


def _used(snapshot: Snapshot, row: Coverage, pods: list[PodPull]) -> Finding:
    names = tuple(sorted({pod.service_account for pod in pods}))
    failed = [pod for pod in pods if pod.failure]
    accounts = listed(names)
    declare = f"# add serviceAccounts: [{accounts}] to tenant {row.namespace} in Pulumi.{snapshot.stack}.yaml"
    return Finding(
        severity=severity_of(failed),
        symptom=f"Pods in {row.namespace} cannot pull, although Secret {row.registry} exists and `default` lists it.",
        cause=f"They run as ServiceAccount {accounts}, which is not declared, and name no Secret themselves.",
        evidence=(*_entries(snapshot, row, names), *pod_evidence(pods)),
        fix=(declare, up_command(snapshot), fix_command(snapshot, row.namespace)),
        prevention="Declare each ServiceAccount that workloads run as under the tenant's serviceAccounts.",
        namespace=row.namespace,
        registry=row.registry,
        remedy=_remedy(row, names),
    )


def _entries(snapshot: Snapshot, row: Coverage, names: tuple[str, ...]) -> tuple[str, ...]:
    accounts = snapshot.accounts.get(row.namespace, {})
    return tuple(
        f"ServiceAccount {row.namespace}/{name}: imagePullSecrets {listed(accounts.get(name, ())) or 'none'}"
        f"{_writer(snapshot, row.namespace, name)}"
        for name in names
    )


def _writer(snapshot: Snapshot, namespace: str, account: str) -> str:
    """Say who wrote the list last, as the API server recorded it, or that nobody has written one.

    Of an account that was made empty, as each `default` is, it records nobody until somebody applies server-side.
    """

    def read() -> dict[tuple[str, str], Object]:
        scope = f"/namespaces/{snapshot.only}" if snapshot.only else ""
        found = snapshot.cluster.items(f"/api/v1{scope}/serviceaccounts", SMALL_OBJECTS, metadata_only=True)
        return {(item["metadata"]["namespace"], item["metadata"]["name"]): item for item in found}

    found = snapshot.once("accounts/metadata", read).get((namespace, account), {})
    writer = last_writer(found, "imagePullSecrets")
    if writer:
        return f", written last by {writer}"
    if not managed_fields(found):
        return "; who wrote it is not recorded (metadata.managedFields)"
    return f"; its list was not written since it was created at {metadata_of(found).get('creationTimestamp')}"


def _remedy(row: Coverage, names: tuple[str, ...]) -> Remedy:
    def apply(client: KubernetesClient) -> None:
        bind(client, row.namespace, names, [row.registry])

    accounts = listed(names)
    return Remedy(
        f"append {row.registry} to ServiceAccount {accounts} in {row.namespace}, keeping other entries", apply
    )


@check("The policy that appends pull Secrets to Pods is bound", explains=("pod-admitted-too-early",))
def pod_admission_missing(snapshot: Snapshot) -> Iterator[Finding]:
    """The stack lets an admission policy append the pull Secret to Pods, and the policy is not bound in the cluster.

    With `binding: admission` no ServiceAccount lists the Secret, so each Pod that is made without the policy cannot pull.
    """
    if snapshot.config.binding != guard.ADMISSION:
        return
    for registry in snapshot.config.registries:
        if entry_is_appended(snapshot, registry):
            continue
        policy = guard.PodAdmissionSpec.of(snapshot.config, registry).name
        yield Finding(
            severity=Severity.CLUSTER,
            symptom=f"New Pods cannot pull from {', '.join(registry.hosts)} in any namespace.",
            cause=f"With binding: admission a policy appends {registry.name} to Pods, and it is not bound.",
            evidence=(f"MutatingAdmissionPolicyBindings: no {policy}",),
            fix=(
                f"kubectl get mutatingadmissionpolicies,mutatingadmissionpolicybindings {policy}",
                up_command(snapshot),
            ),
            prevention="Let only the stack's deployers change admission policies.",
            registry=registry.name,
        )
