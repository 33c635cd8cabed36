"""What the checks on tenant namespaces share: which namespaces they judge, and how findings name what they found."""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pullsecrets.config import Registry
from pullsecrets.coverage.rows import Coverage
from pullsecrets.doctor.model import Remedy, Severity
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.kube import eso
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.marks import OLD_PULL_SECRET_TYPE
from pullsecrets.kube.objects import controller_of, finalizers_of, is_leaving, labels_of, managed_fields
from pullsecrets.kube.ownership import Fault
from pullsecrets.kube.selectors import by_name
from pullsecrets.manifests import guard
from pullsecrets.text import listed
from pullsecrets.workloads.pods import STATIC_POD, PodPull, Templates, brings_own_list, list_templates

Object = Mapping[str, Any]

# OpenShift's DeploymentConfig names its ReplicationControllers by its own name and a number.
_DEPLOYMENT_CONFIGS = re.compile(r"(?P<name>.+)-\d+")


def rows(snapshot: Snapshot) -> Iterator[Coverage]:
    """Yield the coverage of namespaces that exist, stay, and where the registry's label may stand.

    What is missing, leaving or not meant to be a tenant is a check of its own.
    """
    for row in snapshot.coverage:
        namespace = snapshot.namespaces.get(row.namespace)
        if namespace is None or is_leaving(namespace) or snapshot.only not in {None, row.namespace}:
            continue
        if snapshot.config.registry(row.registry).permits(row.namespace):
            yield row


def staying(snapshot: Snapshot) -> Iterator[tuple[str, Object]]:
    """Yield the namespaces asked about that are not being deleted, by name."""
    for name, item in snapshot.namespaces.items():
        if snapshot.only in {None, name} and not is_leaving(item):
            yield name, item


def carries(namespace: Object, registry: Registry) -> bool:
    """Tell whether a namespace carries a registry's opt-in label."""
    return registry.selects(labels_of(namespace))


def pods_in(snapshot: Snapshot, namespace: str) -> Sequence[PodPull]:
    """Return a namespace's Pods.

    Raises:
        PullSecretsError: when listing Pods is not permitted, so that a check of Pods counts as not done.
    """
    found = snapshot.inventory
    return snapshot.pods if found.pods is None else found.pods_in(namespace)


def seen_pods_in(snapshot: Snapshot, namespace: str) -> Sequence[PodPull]:
    """Return a namespace's Pods for a check that is about something else: none where Pods may not be listed."""
    return snapshot.inventory.pods_in(namespace)


def failing_on(snapshot: Snapshot, namespace: str, hosts: Collection[str]) -> list[PodPull]:
    """Return a namespace's Pods that cannot pull an image from one of the hosts, as far as Pods may be listed."""
    return [pod for pod in seen_pods_in(snapshot, namespace) if pod.fails_on(hosts)]


def severity_of(failed: Sequence[PodPull]) -> Severity:
    """Return how much it stops: nothing as yet where every Pod still has its image."""
    return Severity.TENANT if failed else Severity.WARNING


def entry_is_appended(snapshot: Snapshot, registry: Registry) -> bool:
    """Tell whether each new Pod gets the entry at admission, whatever ServiceAccount it runs as."""
    return guard.PodAdmissionSpec.of(snapshot.config, registry).name in snapshot.inventory.admitted


def owner_of(item: Object) -> tuple[str, str] | None:
    """Return kind and name of the controller that an object's metadata names; None without one."""
    owner = controller_of(item)
    return (str(owner["kind"]), str(owner["name"])) if owner else None


def force_sync(registry: Registry, namespaces: Iterable[str]) -> Remedy:
    """Return the remedy that has ESO deliver a registry's credential again at once.

    The description is the same for every namespace, so that it is applied once: one annotation reaches them all.
    """
    wanted = tuple(namespaces)

    def apply(client: KubernetesClient) -> None:
        eso.force_sync(client, registry, None, wanted)

    return Remedy(f"have ESO read the credential of {registry.name} again at once, in every namespace", apply)


def pod_evidence(pods: Sequence[PodPull]) -> tuple[str, ...]:
    """Return one line that names Pods; none without Pods."""
    if not pods:
        return ()
    return (f"Pods of {pods[0].namespace}: {listed(_told(pod) for pod in pods)}",)


def _told(pod: PodPull) -> str:
    return f"{pod.name} ({pod.failure or 'not failing'}, ServiceAccount {pod.service_account})"


def workload(pod: PodPull) -> str | None:
    """Return a Pod's workload as `client` takes it, such as `deployment/auth`.

    None where there is none: nothing makes the Pod again, or something of a kind that is unknown.
    """
    kind, _, name = (pod.owner or "").partition("/")
    if kind == "ReplicaSet":
        # A Deployment names its ReplicaSets by its own name and a hash of the template.
        return f"deployment/{name.rpartition('-')[0] or name}"
    if kind == "ReplicationController":
        found = _DEPLOYMENT_CONFIGS.fullmatch(name)
        return f"dc/{found['name']}" if found else None
    return f"{kind.lower()}/{name}" if kind in {"StatefulSet", "DaemonSet", "Job"} else None


def client(target: str) -> str:
    """Return the command line that takes a workload: `oc` for what OpenShift alone has."""
    return "oc" if target.startswith("dc/") else "kubectl"


def remake(pod: PodPull) -> str:
    """Return the command that has a Pod recreated, or a comment that says who can where no command does it."""
    kind, _, name = (pod.owner or "").partition("/")
    target = workload(pod)
    delete = f"kubectl -n {pod.namespace} delete pod {pod.name}"
    if kind == "Job":
        return f"{delete}   # counts as a failed try of its Job"
    if target:
        # A DeploymentConfig knows no restart.
        roll = "latest" if target.startswith("dc/") else "restart"
        return f"{client(target)} -n {pod.namespace} rollout {roll} {target}"
    if not kind:
        return f"{delete}   # nothing recreates it: apply it again"
    told = STATIC_POD if kind == "Node" else f"{kind} {name} created it: have that recreate it"
    return f"# Pod {pod.namespace}/{pod.name}: {told}"


def fix_command(snapshot: Snapshot, namespace: str) -> str:
    """Return the command that applies the safe fixes of one namespace."""
    return f"pull-secrets doctor {namespace} --stack {snapshot.stack} --fix"


def release_command(namespace: Object, finalizer: str) -> str:
    """Return the command that takes one finalizer off a namespace and fails when the list changed meanwhile."""
    path = f"/metadata/finalizers/{finalizers_of(namespace).index(finalizer)}"
    patch = json.dumps([{"op": "test", "path": path, "value": finalizer}, {"op": "remove", "path": path}])
    return f"kubectl patch namespace {namespace['metadata']['name']} --type=json -p '{patch}'"


def parse_time(text: str | None) -> datetime | None:
    """Return a time that a server or `seed` wrote; None for none and for what is no time."""
    if not text:
        return None
    try:
        # The API server writes nanoseconds for some fields, of which Python reads microseconds.
        found = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def ago(duration: timedelta) -> str:
    """Return a duration in the largest unit that says enough, such as `3 h`."""
    seconds = max(int(duration.total_seconds()), 0)
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def has_own_list(snapshot: Snapshot, pod: PodPull, registry: Registry) -> bool | None:
    """Tell whether a Pod that lacks a registry's reference brings a list of its own; None when nobody can tell.

    Templates are listed once for each kind, and only for Pods that lack the reference: in a healthy cluster never.
    """

    def templates(kind: str) -> Templates:
        return snapshot.once(f"templates/{kind}", lambda: list_templates(snapshot.cluster, kind, snapshot.only))

    entries = snapshot.accounts.get(pod.namespace, {}).get(pod.service_account, ())
    return brings_own_list(pod, registry, entries, templates)


def is_foreign(snapshot: Snapshot, registry: str, namespace: str) -> bool:
    """Tell whether a namespace's Secret of a registry's name is not the one that we deliver."""
    return snapshot.inventory.delivery(registry, namespace).fault is Fault.FOREIGN


def has_old_form(snapshot: Snapshot, namespace: str, registry: Registry) -> bool:
    """Tell whether a Secret that is no pull Secret of today's type is one of the older type, which serves as well.

    Only the type is asked for, by a list that is made when a Secret of another type was found.
    """

    def read() -> frozenset[str]:
        query = by_name(registry.name, f"type={OLD_PULL_SECRET_TYPE}")
        items = snapshot.cluster.items("/api/v1/secrets", query, metadata_only=True)
        return frozenset(item["metadata"]["namespace"] for item in items)

    return namespace in snapshot.once(f"secrets/{registry.name}/dockercfg", read)


def adoption(snapshot: Snapshot, registry: Registry, namespace: str, *, gap: bool = False) -> str:
    """Return the command that takes a hand-made Secret of the registry's name over once it is kept in Vault.

    Args:
        gap: whether it serves Pods and must be deleted and recreated, which `adopt` wants to be accepted.
    """
    if registry.sealed:
        return (
            f"# keep a copy of Secret {namespace}/{registry.name} where credentials may lie, then delete it: adopt "
            "takes no registry with source: sealedSecret"
        )
    accepted = " --accept-gap" if gap else ""
    return f"pull-secrets adopt {namespace} --registry {registry.name} --stack {snapshot.stack}{accepted}"


def origin_of(secret: Object) -> str:
    """Return who owns a Secret, else who wrote it, as far as its metadata tells."""
    owner = owner_of(secret)
    if owner:
        return f"owned by {owner[0]} {owner[1]}"
    writers = listed(dict.fromkeys(str(field.get("manager", "")) for field in managed_fields(secret)))
    return f"without an owner, written by {writers}" if writers else "without an owner"
