"""Verification by a pull: a short-lived Pod has the kubelet pull an image through the delivered Secret alone.

The Pod runs nothing of the image: its command is a file that no image has, so the container ends as soon as it was
pulled and created. It is named the same everywhere, so that the right to delete can be restricted to that name. A
namespace in which it pulled is marked with the content that the Secret held, by which an audit knows of it.
"""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, cast

from pullsecrets.config import Registry, StackConfig
from pullsecrets.delivery.proof import selected_namespaces
from pullsecrets.errors import BadInputError
from pullsecrets.image import image_host
from pullsecrets.kube.client import KubernetesApiError, KubernetesClient, last_seen, unless_refused
from pullsecrets.kube.marks import CONTENT_DIGEST_ANNOTATION, STANDARD_LABELS, VERIFIED_PREFIX, VERIFY_POD_NAME
from pullsecrets.kube.objects import KubernetesObject, annotations_of, condition, holds, status_of
from pullsecrets.kube.pull_failure import LASTING, PULL_FAILURES, Cause, read_pull_failure
from pullsecrets.kube.selectors import by_name, written
from pullsecrets.redaction import redact

DEFAULT_TIMEOUT = 120
"""Seconds for one pull."""

POLL_SECONDS = 0.5
PARALLEL = 16
"""Namespaces that are tried at the same time."""

NOBODY = 65534
"""User and group by which an image that names root may be created under the restricted Pod security standard."""

_NO_FILE = "/pull-secrets-verify-starts-nothing"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TOOK = re.compile(r"\bin (?P<took>(?:[0-9.]+(?:h|ms|µs|us|ns|m|s))+)")
_PART = re.compile(r"(?P<number>[0-9.]+)(?P<unit>h|ms|µs|us|ns|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True)
class Node:
    """A node that takes Pods of tenants."""

    name: str
    architecture: str


@dataclass(frozen=True)
class Pull:
    """How a pull went in one namespace, on one node."""

    namespace: str
    pulled: bool
    message: str
    """The kubelet's words, or the server's where it refused the Pod."""
    node: str | None = None
    architecture: str | None = None
    digest: str | None = None
    """Of the image that was pulled."""
    seconds: float | None = None
    """How long the kubelet says that the pull took."""
    at: str | None = None
    """When the Pod was made, RFC 3339 by the clock of the API server."""
    recorded: bool = False
    """Whether the namespace is marked with it, so that an audit knows."""


@dataclass(frozen=True)
class Trial:
    """What is to be pulled, and as what."""

    config: StackConfig
    registry: Registry
    image: str
    timeout: float = DEFAULT_TIMEOUT

    def pod(self, namespace: str, node: Node | None = None) -> KubernetesObject:
        """Return the Pod that pulls, as the restricted Pod security standard wants it.

        OpenShift gives it a user itself (https://kubernetes.io/docs/concepts/security/pod-security-standards/).
        """
        openshift = self.config.cluster.platform == "openshift"
        user = {} if openshift else {"runAsUser": NOBODY, "runAsGroup": NOBODY}
        resources = {"cpu": "10m", "memory": "16Mi"}
        spec: dict[str, Any] = {
            "restartPolicy": "Never",
            # A run that is killed leaves nothing that goes on.
            "activeDeadlineSeconds": int(self.timeout) + 1,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            # With a list of its own the Pod gets none of its ServiceAccount: this Secret alone is tried.
            "imagePullSecrets": [{"name": self.registry.name}],
            "securityContext": {"runAsNonRoot": True, **user, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "pull",
                    "image": self.image,
                    "imagePullPolicy": "Always",
                    "command": [_NO_FILE],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "resources": {"requests": resources, "limits": resources},
                }
            ],
        }
        if node:
            terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node.name]}]}]
            required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
            spec["affinity"] = {"nodeAffinity": required}
        labels = {**STANDARD_LABELS, "app.kubernetes.io/component": "verify", "sidecar.istio.io/inject": "false"}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": VERIFY_POD_NAME, "namespace": namespace, "labels": labels},
            "spec": spec,
        }


OnPull = Callable[[Pull], None]


def registry_of_image(config: StackConfig, image: str, name: str | None = None) -> Registry:
    """Return the registry of the stack that an image is pulled from.

    Args:
        config: the stack's configuration.
        image: such as `registry.example.com/team/app:1`.
        name: of the registry, where several have the image's host.

    Raises:
        BadInputError: when none has that host, or several have.
    """
    host = image_host(image)
    found = [item for item in config.registries if host in item.hosts and name in {None, item.name}]
    if len(found) == 1:
        return found[0]
    known = "; ".join(f"{item.name}: {', '.join(item.hosts)}" for item in config.registries)
    problem = f"host {host} is none of the stack's" if host else "the kubelet refuses the reference"
    if found:
        problem = f"host {host} is that of {', '.join(item.name for item in found)}"
    raise BadInputError(f"image {image!r}: {problem}; allowed: an image of one registry ({known})")


def require_namespaces(cluster: KubernetesClient, trial: Trial, namespaces: Collection[str] = ()) -> list[str]:
    """Return the namespaces to pull in: those that were named, or all with the registry's label.

    Raises:
        BadInputError: when one does not carry the label, or none does.
    """
    label = written(trial.registry.selector)
    labelled = selected_namespaces(cluster, trial.registry)
    unlabelled = sorted(set(namespaces) - labelled)
    if unlabelled:
        raise BadInputError(
            f"namespace {unlabelled[0]!r}: found no label {label}; allowed: namespaces that receive "
            f"{trial.registry.name}"
        )
    if not labelled:
        raise BadInputError(f"registry {trial.registry.name!r}: no namespace carries {label}")
    return sorted(namespaces or labelled)


def list_nodes(cluster: KubernetesClient) -> list[Node]:
    """Return the nodes on which Pods of tenants are scheduled: ready, not cordoned and without a taint.

    Raises:
        BadInputError: when there is none.
    """
    found = [
        Node(item["metadata"]["name"], str(item["status"].get("nodeInfo", {}).get("architecture", "unknown")))
        for item in cluster.items("/api/v1/nodes")
        if _takes_pods(item)
    ]
    if not found:
        raise BadInputError("--each-node: no node is ready, schedulable and without a taint (`kubectl get nodes`)")
    return found


def run(
    cluster: KubernetesClient,
    trial: Trial,
    namespaces: Collection[str],
    nodes: Sequence[Node] = (),
    on_pull: OnPull | None = None,
) -> list[Pull]:
    """Pull in each namespace, on each node one after the other, and remove each Pod; interrupted, too.

    Args:
        cluster: the cluster, as a user who may create Pods in these namespaces (`verifier_roles`). Recorded is what
            went well where the caller may also list the Secrets and patch namespaces, as an operator may.
        trial: what is pulled.
        namespaces: where.
        nodes: each of these; none for wherever the scheduler puts the Pod.
        on_pull: called with each pull as it ends.
    """
    stop = threading.Event()

    def pull(namespace: str) -> list[Pull]:
        found: list[Pull] = []
        before = _digest(cluster, trial.registry, namespace)
        for node in nodes or (None,):
            if stop.is_set():
                break
            found.append(_pull(cluster, trial, namespace, node, stop))
            if on_pull:
                on_pull(found[-1])
        whole = before is not None and len(found) == len(nodes or (None,)) and all(item.pulled for item in found)
        recorded = whole and _record(cluster, trial.registry, namespace, before, found[0].at)
        return [replace(item, recorded=recorded) for item in found]

    with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
        futures = [pool.submit(pull, namespace) for namespace in sorted(namespaces)]
        try:
            return [item for future in futures for item in future.result()]
        finally:
            # Leaving the block waits until those that run have removed their Pods.
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


def failures(pulls: Sequence[Pull]) -> dict[str, str]:
    """Return by namespace, and node where there were several, why a pull did not go well."""
    tried = Counter(item.namespace for item in pulls)
    return {
        f"{item.namespace} on {item.node}" if tried[item.namespace] > 1 else item.namespace: item.message
        for item in pulls
        if not item.pulled
    }


def _digest(cluster: KubernetesClient, registry: Registry, namespace: str) -> str | None:
    """Return the digest beside a namespace's Secret; None where there is none, or it may not be seen."""
    found = _secrets(cluster, registry.name, namespace)
    return annotations_of(next(iter(found or ()), None)).get(CONTENT_DIGEST_ANNOTATION)


def _secrets(cluster: KubernetesClient, name: str, namespace: str) -> list[dict[str, Any]] | None:
    """Return a namespace's Secret of a name, or an empty list where there is none; None where it may not be seen."""
    path = f"/api/v1/namespaces/{namespace}/secrets"
    return unless_refused(lambda: list(cluster.items(path, by_name(name), metadata_only=True)), 403)


def _record(cluster: KubernetesClient, registry: Registry, namespace: str, digest: str | None, at: str | None) -> bool:
    """Mark a namespace with the content that was pulled with, unless that has changed meanwhile or it may not be."""
    if _digest(cluster, registry, namespace) != digest:
        return False
    mark = {f"{VERIFIED_PREFIX}{registry.name}": f"{digest} {at}"}
    change = {"metadata": {"annotations": mark}}
    return unless_refused(lambda: cluster.merge_patch(f"/api/v1/namespaces/{namespace}", change), 403) is not None


def _pull(cluster: KubernetesClient, trial: Trial, namespace: str, node: Node | None, stop: threading.Event) -> Pull:
    try:
        made = _create(cluster, trial.pod(namespace, node))
    except KubernetesApiError as error:
        return Pull(namespace, False, redact(f"the Pod was refused: {error.server_message}"), node and node.name)
    try:
        found = _follow(cluster, made, time.monotonic() + trial.timeout, stop)
    finally:
        _delete(cluster, namespace, made["metadata"]["uid"])
    where = node or (Node(found.node, "") if found.node else None)
    return Pull(
        namespace,
        found.pulled,
        redact(found.message),
        where.name if where else None,
        (where.architecture or None) if where else None,
        found.digest,
        found.seconds,
        made["metadata"].get("creationTimestamp"),
    )


def _create(cluster: KubernetesClient, pod: KubernetesObject) -> dict[str, Any]:
    """Make the Pod; one of a run that was killed and that has ended by its deadline is removed first."""
    namespace = pod["metadata"]["namespace"]
    path = f"/api/v1/namespaces/{namespace}/pods"
    try:
        return cluster.request("POST", path, body=pod)
    except KubernetesApiError as error:
        left = cluster.find(f"{path}/{VERIFY_POD_NAME}") if error.status == 409 else None
        if left is None or status_of(left).get("phase") not in {"Failed", "Succeeded"}:
            raise
        _delete(cluster, namespace, left["metadata"]["uid"])
        return cluster.request("POST", path, body=pod)


def _delete(cluster: KubernetesClient, namespace: str, uid: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods/{VERIFY_POD_NAME}"
    body = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
    try:
        cluster.request("DELETE", path, body=body)
    except KubernetesApiError as error:
        # Gone, or another one by now.
        if error.status not in {404, 409}:
            raise


def _follow(cluster: KubernetesClient, made: Mapping[str, Any], deadline: float, stop: threading.Event) -> Pull:
    """Look at the Pod until the kubelet has pulled or will not be able to."""
    namespace = str(made["metadata"]["namespace"])
    path = f"/api/v1/namespaces/{namespace}/pods/{VERIFY_POD_NAME}"
    while True:
        pod = cluster.find(path)
        if pod is None or pod["metadata"]["uid"] != made["metadata"]["uid"]:
            return Pull(namespace, False, "the Pod was deleted by another client before the result was known")
        found = _judged(cluster, pod, last=time.monotonic() >= deadline or stop.is_set())
        if found:
            return found
        stop.wait(POLL_SECONDS)


def _judged(cluster: KubernetesClient, pod: Mapping[str, Any], *, last: bool) -> Pull | None:
    """Say how the pull went, as far as it is decided; at the last look whatever there is."""
    namespace, node = str(pod["metadata"]["namespace"]), pod["spec"].get("nodeName")
    container = next(iter(status_of(pod).get("containerStatuses") or ()), cast("dict[str, Any]", {}))
    state = cast("dict[str, dict[str, str]]", container.get("state") or {})
    waiting = state.get("waiting", {})
    message = waiting.get("message") or waiting.get("reason", "")
    if waiting.get("reason") in PULL_FAILURES:
        told = _events(cluster, pod, "Failed")
        read = [read_pull_failure(text) for text in (f"{waiting['reason']}: {message}", *told)]
        causes = {failure.cause for failure in read if failure} & LASTING
        lasting = bool(causes) and not (causes == {Cause.NO_LOGIN} and _secret_unread(cluster, pod, told))
        message = next((text for text in told if "pull image" in text.lower()), message)
        return Pull(namespace, False, message, node) if lasting or last else None
    created = waiting.get("reason", "").startswith(("Create", "Run")) or "running" in state or "terminated" in state
    if created:
        digest = _DIGEST.search(str(container.get("imageID", "")))
        pulls = _events(cluster, pod, "Pulled")
        if pulls or digest:
            took = _TOOK.search(pulls[0]) if pulls else None
            text = pulls[0] if pulls else f"pulled {container['imageID']}"
            seconds = _seconds(took["took"]) if took else None
            return Pull(namespace, True, text, node, None, digest.group() if digest else None, seconds)
        if last:
            return Pull(namespace, False, "the node reports no pull: is it simulated, without a kubelet?", node)
    return Pull(namespace, False, _pending(pod, message), node) if last else None


def _secret_unread(cluster: KubernetesClient, pod: Mapping[str, Any], told: Sequence[str]) -> bool:
    """Tell whether a pull may have gone without a login only because the kubelet had not read the Secret in time.

    It waits one second for a Secret that no other Pod of its node names (Get of
    pkg/kubelet/util/manager/watch_based_manager.go, Kubernetes 1.36.3), says so in an event before that of the failed
    pull, and pulls without it. The next attempt has it.

    Args:
        cluster: the cluster.
        pod: whose image was not pulled.
        told: the kubelet's events of the failed pull, as far as they have arrived.
    """
    if not told:
        return True
    if not _events(cluster, pod, "FailedToRetrieveImagePullSecret"):
        return False
    (reference,) = pod["spec"]["imagePullSecrets"]
    return _secrets(cluster, reference["name"], pod["metadata"]["namespace"]) != []


def _pending(pod: Mapping[str, Any], message: str) -> str:
    """Say what an undecided Pod waits for."""
    scheduled = condition(pod, "PodScheduled") or {}
    unscheduled = scheduled.get("message", "") if scheduled.get("status") == "False" else ""
    return unscheduled or message or "no kubelet has taken the Pod in time"


def _events(cluster: KubernetesClient, pod: Mapping[str, Any], reason: str) -> list[str]:
    """Return the messages of the kubelet's events about the Pod, newest first; none where they may not be read."""
    metadata = pod["metadata"]
    query = {"fieldSelector": f"involvedObject.uid={metadata['uid']},reason={reason}"}
    path = f"/api/v1/namespaces/{metadata['namespace']}/events"
    found = unless_refused(lambda: list(cluster.items(path, query)), 403) or ()
    return [str(event.get("message", "")) for event in sorted(found, key=last_seen, reverse=True)]


def _takes_pods(node: Mapping[str, Any]) -> bool:
    taints = cast("list[dict[str, str]]", node["spec"].get("taints") or [])
    barred = any(taint["effect"] in {"NoSchedule", "NoExecute"} for taint in taints)
    return holds(node, "Ready") and not barred and not node["spec"].get("unschedulable")


def _seconds(text: str) -> float:
    """Read a Go duration such as `1m2.5s` or `142ms`."""
    return round(sum(float(part["number"]) * _SECONDS[part["unit"]] for part in _PART.finditer(text)), 9)
