"""Pods that cannot pull, or that cannot from their next restart on."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pullsecrets.config import Registry
from pullsecrets.coverage.rows import Coverage
from pullsecrets.doctor.mirrors import mirror_login, mirrors_of
from pullsecrets.doctor.model import Finding, Remedy, Severity, check
from pullsecrets.doctor.platform import one_line, warnings
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import (
    carries,
    client,
    entry_is_appended,
    fix_command,
    has_own_list,
    pod_evidence,
    pods_in,
    remake,
    rows,
    severity_of,
    staying,
    workload,
)
from pullsecrets.errors import ConflictError
from pullsecrets.image import written_host
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.pull_failure import Cause, read_pull_failure
from pullsecrets.manifests.builders import named_alike
from pullsecrets.policy.registries import KnownRegistry, other_name
from pullsecrets.text import listed
from pullsecrets.workloads.evict import BLOCKED, evict_pod
from pullsecrets.workloads.pods import STATIC_POD, PodPull, list_pods

FROM_CACHE = "pod-runs-from-cache"
REPLACED_BY = ("ReplicaSet", "StatefulSet", "DaemonSet")
"""Controllers that make a Pod again whatever became of it, and count nothing."""


@check("Pods carry the reference that their ServiceAccount lists", explains=(FROM_CACHE,))
def pod_admitted_too_early(snapshot: Snapshot) -> Iterator[Finding]:
    """A Pod was created before its ServiceAccount listed the pull Secret, and can never get the reference.

    A Pod's `imagePullSecrets` are copied at admission and immutable from then on; only recreating the Pod helps. It may
    name what its ServiceAccount listed then and no longer lists, as after `adopt`: whether a list is the workload's own is
    read in its Pod template. The safe fix evicts only Pods that cannot pull, of which no container runs, and which a
    ReplicaSet, StatefulSet or DaemonSet recreates: nothing is interrupted and nothing is lost. Running Pods, Pods of Jobs
    (an eviction counts as a failed try) and Pods that nothing recreates are left to their owners.
    """
    for row in rows(snapshot):
        pods = _too_early(snapshot, row)
        if pods:
            yield _admitted_too_early(snapshot, row, pods)


def _too_early(snapshot: Snapshot, row: Coverage) -> list[PodPull]:
    registry = snapshot.config.registry(row.registry)
    accounts = snapshot.accounts.get(row.namespace, {})
    appended = entry_is_appended(snapshot, registry)
    return [
        pod
        for pod in pods_in(snapshot, row.namespace)
        if pod.lacks(registry)
        and (
            appended
            or (registry.name in accounts.get(pod.service_account, ()) and not has_own_list(snapshot, pod, registry))
        )
    ]


def _admitted_too_early(snapshot: Snapshot, row: Coverage, pods: Sequence[PodPull]) -> Finding:
    registry = snapshot.config.registry(row.registry)
    failed = [pod for pod in pods if pod.fails_on(registry.hosts)]
    stuck = [pod for pod in failed if _is_safe_to_evict(pod, registry)]
    return Finding(
        severity=severity_of(failed),
        symptom=f"Pods in {row.namespace} do not refer to Secret {row.registry}, while Pods made now would.",
        cause="They were admitted before the entry was there, and a Pod's imagePullSecrets never change afterwards.",
        evidence=(
            *pod_evidence(pods),
            f"oldest of them made {min(pod.created for pod in pods)}; the entry exists by now",
            *_unread_templates(snapshot, registry, pods),
        ),
        fix=(*((fix_command(snapshot, row.namespace),) if stuck else ()), *dict.fromkeys(map(remake, pods))),
        prevention="Run `pulumi up` before a tenant's first deployment, so that its Pods find the entry.",
        namespace=row.namespace,
        registry=row.registry,
        remedy=_eviction(row.namespace, registry, stuck) if stuck else None,
    )


def _unread_templates(snapshot: Snapshot, registry: Registry, pods: Sequence[PodPull]) -> tuple[str, ...]:
    """Return one line that says whose templates could not be read; none where all could."""
    if entry_is_appended(snapshot, registry):
        return ()
    owners = dict.fromkeys(pod.owner or "" for pod in pods if has_own_list(snapshot, pod, registry) is None)
    told = "Pod templates not readable, so that they may have their own list as well"
    return (f"{told}: {listed(owners)}",) if owners else ()


def _is_safe_to_evict(pod: PodPull, registry: Registry) -> bool:
    kind = (pod.owner or "").partition("/")[0]
    return pod.lacks(registry) and pod.fails_on(registry.hosts) and pod.idle and kind in REPLACED_BY


def _eviction(namespace: str, registry: Registry, pods: Sequence[PodPull]) -> Remedy:
    names = sorted(pod.name for pod in pods)

    def apply(client: KubernetesClient) -> None:
        # Looked at again: a StatefulSet's new Pod has the old one's name.
        now = [pod.name for pod in list_pods(client, namespace) if _is_safe_to_evict(pod, registry)]
        refused = [message for name in names if name in now and (message := _evict(client, namespace, name))]
        if refused:
            raise ConflictError(f"eviction in namespace {namespace!r}: {'; '.join(refused)}; run the rollout restart")

    return Remedy(
        f"evict Pods of {namespace} that cannot pull; their controllers recreate them: {', '.join(names)}", apply
    )


def _evict(client: KubernetesClient, namespace: str, name: str) -> str | None:
    """Evict a Pod; return why a PodDisruptionBudget refuses, None when it is done."""
    error = evict_pod(client, namespace, name)
    if error is None:
        return None
    if error.status == BLOCKED:
        return f"{name}: {error.server_message}"
    raise error


@check("Workloads with their own list name the pull Secret", explains=(FROM_CACHE,))
def pod_with_own_list(snapshot: Snapshot) -> Iterator[Finding]:
    """A workload has its own `imagePullSecrets`, and the registry's pull Secret is not among them.

    Admission copies the ServiceAccount's list only into Pods that have none, so the entry on the ServiceAccount never
    reaches these. Found in the Pod template of the workload; a Pod that nothing recreates is found by names that its
    ServiceAccount does not list.
    """
    for row in rows(snapshot):
        registry = snapshot.config.registry(row.registry)
        if entry_is_appended(snapshot, registry):
            continue
        pods = [
            pod
            for pod in pods_in(snapshot, row.namespace)
            if pod.lacks(registry) and has_own_list(snapshot, pod, registry)
        ]
        if not pods:
            continue
        yield Finding(
            severity=severity_of([pod for pod in pods if pod.fails_on(registry.hosts)]),
            symptom=f"Pods in {row.namespace} do not refer to Secret {row.registry}.",
            cause="Their workload has its own imagePullSecrets, and admission leaves such a list as it is.",
            evidence=(
                *pod_evidence(pods),
                *(f"Pod {pod.name}: imagePullSecrets {listed(pod.references)}" for pod in pods[:3]),
            ),
            fix=tuple(dict.fromkeys(_append(pod, row.registry) for pod in pods)),
            prevention="Drop imagePullSecrets from workloads (`pull-secrets gitops migrate`), or bind by admission.",
            namespace=row.namespace,
            registry=row.registry,
        )


def _append(pod: PodPull, registry: str) -> str:
    target = workload(pod)
    if pod.owner and pod.owner.startswith("Node/"):
        return f"# Pod {pod.namespace}/{pod.name}: {STATIC_POD}"
    if target is None or target.startswith("job/"):
        return f"# Pod {pod.namespace}/{pod.name}: add {registry} to its manifest's list"
    # In a Pod template the list merges by name, unlike in a ServiceAccount.
    patch = f'{{"spec":{{"template":{{"spec":{{"imagePullSecrets":[{{"name":"{registry}"}}]}}}}}}}}'
    return f"{client(target)} -n {pod.namespace} patch {target} -p '{patch}'"


@check("Images name registries as their credential does")
def image_host_not_in_credential(snapshot: Snapshot) -> Iterator[Finding]:
    """Images name the registry by a host that the credential has no login for.

    The kubelet looks a login up by the exact host in the image reference: `registry.example.com` is another one than
    `registry.apps.example.com`, whatever both resolve to. Found on Pods whose image names a rejected host, and on Pods that
    fail on another name of the registry.
    """
    for registry in snapshot.config.registries:
        concerned = {row.namespace for row in rows(snapshot) if row.registry == registry.name}
        for name, item in staying(snapshot):
            if name in concerned or carries(item, registry) or registry.permits(name):
                yield from _misnamed(snapshot, registry, name)


def _misnamed(snapshot: Snapshot, registry: Registry, namespace: str) -> Iterator[Finding]:
    registries = [KnownRegistry(**named_alike(KnownRegistry, other)) for other in snapshot.config.registries]
    found = {pod: wrong for pod in pods_in(snapshot, namespace) if (wrong := _wrong_images(pod, registry, registries))}
    if not found:
        return
    failed = [pod for pod, wrong in found.items() if set(wrong) & set(pod.failed_images)]
    images = [image for wrong in found.values() for image in wrong]
    hosts = dict.fromkeys(written_host(image) for image in images)
    canonical = " or ".join(registry.hosts)
    yield Finding(
        severity=Severity.TENANT if failed else Severity.WARNING,
        symptom=f"Pods in {namespace} have no login for their image's host, although they have Secret {registry.name}.",
        cause=f"Their images name the registry as {', '.join(hosts)}, and the login is for {canonical}.",
        evidence=(
            *pod_evidence(list(found)),
            f"images: {listed(dict.fromkeys(images))}",
            f"stack {snapshot.stack}: hosts of {registry.name}: {canonical}",
        ),
        fix=tuple(dict.fromkeys(_edit(pod, registry) for pod in found)),
        prevention="Lint manifests with `pull-secrets lint`: disallow-noncanonical-image-hosts finds the wrong host.",
        namespace=namespace,
        registry=registry.name,
    )


def _wrong_images(pod: PodPull, registry: Registry, registries: Sequence[KnownRegistry]) -> tuple[str, ...]:
    """Return images from another name of the registry; one that is only alike counts when the pull of it fails."""
    return tuple(
        image
        for image in pod.images
        if (found := other_name(registries, written_host(image)))
        and found.registry.name == registry.name
        and (found.certain or image in pod.failed_images)
    )


def _edit(pod: PodPull, registry: Registry) -> str:
    hosts = " or ".join(registry.hosts)
    target = workload(pod) or (None if pod.owner else f"pod/{pod.name}")
    if target is None:
        return f"# Pod {pod.namespace}/{pod.name} of {pod.owner}: write {hosts} into the image in what it is made from"
    return f"{client(target)} -n {pod.namespace} edit {target}   # write {hosts} into the image"


class Advice(NamedTuple):
    """What a cause means here. In the command `{ns}`, `{pod}`, `{name}`, `{stack}` and `{host}` are filled in."""

    cause: str
    command: str
    prevention: str


DESCRIBE = "kubectl -n {ns} describe pod {pod}"
VERIFY = "pull-secrets seed {name} --stack {stack} --from-file dockerconfig.json --verify-login"
NODE = "# on the Pod's node: `crictl pull` of the image, with the runtime's log beside it"
SEED_VERIFIED = "Seed with --verify-login, which tries the credential at the registry before it is stored."
PUSH_FIRST = "Roll out what the registry has: push first, and pin images by digest."
WATCH_REGISTRY = "Alert on the registry's own health, and pull through a mirror that stays up."

ADVICE = {
    Cause.LOGIN_REFUSED: Advice(
        "The registry refuses the seeded login: it is wrong, locked or expired, or may not read it.",
        VERIFY,
        SEED_VERIFIED,
    ),
    Cause.NO_LOGIN: Advice(
        "No login was sent: no credential that the Pod names has a key for the host that the image is pulled from. "
        "Where an event FailedToRetrieveImagePullSecret came before, its kubelet had not read the Secret within a "
        "second; it tries again by itself.",
        "kubectl -n {ns} get pod {pod} -o jsonpath='{{.spec.imagePullSecrets}} {{.spec.containers[*].image}}'",
        "Seed credentials for every host that images name, and spell hosts as the stack file does.",
    ),
    Cause.ABSENT_OR_FORBIDDEN: Advice(
        "The registry does not show the image to the seeded login: it is not there, or the login may not read it.",
        VERIFY,
        "Give the login read access to the repositories of all tenants; registries hide what one may not read.",
    ),
    Cause.ABSENT: Advice(
        "The registry does not have the image: repository or tag is wrong, or it was not pushed.", DESCRIBE, PUSH_FIRST
    ),
    Cause.RATE_LIMITED: Advice(
        "The registry limits pulls for now: it counts them by login or address.",
        DESCRIBE,
        "Pull with a login that has a higher limit, or through a mirror; avoid imagePullPolicy Always.",
    ),
    Cause.CERTIFICATE: Advice(
        "The node does not trust the certificate of {host}.",
        "openssl s_client -connect {host}:443 -showcerts </dev/null   # who signed it, and until when it is valid",
        "Give nodes the registry's CA before it changes, and alert on the certificate's expiry.",
    ),
    Cause.PLAIN_HTTP: Advice(
        "{host} speaks plain HTTP, and the node TLS.",
        NODE,
        "Serve registries by TLS: a login by plain HTTP is readable on the way.",
    ),
    Cause.TLS_WANTED: Advice(
        "{host} speaks TLS, and the node is set to plain HTTP for it.",
        NODE,
        "Leave plain HTTP out of the runtime's settings for registries.",
    ),
    Cause.NAME: Advice(
        "The node does not reach {host}: its name does not resolve there.", NODE, "Alert on the nodes' name resolution."
    ),
    Cause.UNREACHED: Advice(
        "The node does not reach {host}: the connection is refused, or there is no route.", NODE, WATCH_REGISTRY
    ),
    Cause.TIMEOUT: Advice("The node does not reach {host} in time.", NODE, WATCH_REGISTRY),
    Cause.RESET: Advice("The connection to {host} breaks off on the way.", NODE, WATCH_REGISTRY),
    Cause.UNAVAILABLE: Advice("{host} answers that it cannot serve now.", NODE, WATCH_REGISTRY),
    Cause.NO_SPACE: Advice(
        "The node has no space left for the image.",
        "kubectl get pod {pod} -n {ns} -o jsonpath='{{.spec.nodeName}}'   # then describe that node",
        "Give the image store room, and let the kubelet's garbage collection begin earlier.",
    ),
    Cause.SIGNATURE: Advice(
        "The node's signature policy rejects the image.",
        NODE,
        "Sign images as the policy of the nodes demands before they are rolled out.",
    ),
    Cause.UNDECODABLE: Advice(
        "A Secret in the Pod's imagePullSecrets cannot be decoded, which fails every pull of that Pod, ours too.",
        "kubectl -n {ns} get pod {pod} -o jsonpath='{{.spec.imagePullSecrets}}'   # check the ones that are not ours",
        "Take hand-made Secrets out of the lists (`pull-secrets cleanup`).",
    ),
    Cause.PLATFORM: Advice(
        "The image has nothing for the node's operating system and architecture.",
        DESCRIBE,
        "Build images for the platforms of all nodes, or select nodes by kubernetes.io/arch.",
    ),
    Cause.DIGEST: Advice(
        "What arrives is not what its digest says: a proxy or mirror changes or cuts it.",
        NODE,
        "Let no proxy rewrite what registries send.",
    ),
    Cause.BLOCKED: Advice(
        "The nodes' registries.conf blocks the image's source.",
        DESCRIBE,
        "Mirror every image that is rolled out before its source is blocked.",
    ),
    Cause.NEVER: Advice(
        "The image is not on the node, or the Pod may not use the copy there, and imagePullPolicy is Never.",
        "kubectl -n {ns} get pod {pod} -o jsonpath='{{.spec.containers[*].imagePullPolicy}}'",
        "Use imagePullPolicy IfNotPresent: from Kubernetes 1.35 a node's copy serves only whom it was pulled for.",
    ),
    Cause.INVALID_NAME: Advice("The image's name is none.", DESCRIBE, "Lint manifests before they are rolled out."),
    Cause.UNINSPECTED: Advice(
        "The node's runtime cannot inspect its images.", NODE, "Alert on the runtime's errors of each node."
    ),
}
UNTOLD = Advice(
    "The registry or the node refuses for a reason that no event shows; a wrong login is the most frequent one.",
    DESCRIBE,
    SEED_VERIFIED,
)
OF_MIRRORS = Advice(
    "A mirror of {host} does not give the image ({said}). Mirrors are opened by {login}, and not by Secret {name}.",
    "oc get imagedigestmirrorsets,imagetagmirrorsets -o yaml   # which mirrors; their login is not this stack's to change",
    "Mirror what is rolled out first, and have the cluster's administrators watch the mirrors' login.",
)
"""What a mirror says is no matter of the seeded login, whatever it says."""


@check("Pods with the delivered credential can pull")
def pod_cannot_pull(snapshot: Snapshot) -> Iterator[Finding]:
    """Pods cannot pull although the seeded credential is delivered and they refer to it.

    Everything that this project manages is in order, so the registry itself refuses: the login is wrong or may not read
    that repository, the image does not exist, or the node does not reach the registry. The kubelet's message shows which.
    """
    for registry in snapshot.config.registries:
        # Unless Vault tells what was seeded, nobody can say that the registry is to blame: then it is not checked.
        snapshot.credential(registry)
    for row in rows(snapshot):
        if row.gap:
            continue
        hosts = snapshot.config.registry(row.registry).hosts
        pods = [
            pod for pod in pods_in(snapshot, row.namespace) if row.registry in pod.references and pod.fails_on(hosts)
        ]
        if pods:
            yield _cannot_pull(snapshot, row, pods)


def _cannot_pull(snapshot: Snapshot, row: Coverage, pods: list[PodPull]) -> Finding:
    message = _kubelet_message(snapshot, pods)
    read = read_pull_failure(f"{pods[0].failure}: {message}")
    advice = UNTOLD if read is None else OF_MIRRORS if read.mirror else ADVICE[read.cause]
    registry = snapshot.config.registry(row.registry)
    said = (f"the kubelet in {row.namespace}: {message}",) if message else ()
    filled = {
        "ns": row.namespace,
        "pod": pods[0].name,
        "name": row.registry,
        "stack": snapshot.stack,
        "host": registry.hosts[0],
        "said": read.cause if read else "",
        "login": mirror_login(snapshot, registry),
    }
    commands = dict.fromkeys((advice.command, DESCRIBE))
    return Finding(
        severity=Severity.TENANT,
        symptom=f"Pods in {row.namespace} wait in {pods[0].failure} although they have the delivered credential.",
        cause=advice.cause.format(**filled),
        evidence=(
            *pod_evidence(pods),
            *said,
            *(map(str, mirrors_of(snapshot, registry)) if read and read.mirror else ()),
            f"audit: {row.namespace}/{row.registry} holds the seeded digest {row.digest}",
        ),
        fix=tuple(command.format(**filled) for command in commands),
        prevention=advice.prevention,
        namespace=row.namespace,
        registry=row.registry,
    )


def _kubelet_message(snapshot: Snapshot, pods: list[PodPull]) -> str:
    """Return the kubelet's own words: the pull's outcome, and not the back-off that follows it.

    An event may not have arrived yet, or not any more; the Pod's status has the outcome of the last pull too.
    """
    found = warnings(snapshot, "Pod", "Failed")
    events = [line for pod in pods for line in found.get((pod.namespace, pod.name), ())]
    messages = [*events, *(one_line(pod.message) for pod in pods if pod.message)]
    pulls = [line for line in messages if not line.startswith("Error:")]
    return next(filter(read_pull_failure, pulls), next(iter(pulls or messages), ""))
