"""Pods cannot pull although the seeded credential is delivered and they refer to it.

Everything that this project looks after is in order, so the registry itself refuses: the login is wrong or may not read
that repository, the image does not exist, or the node does not reach the registry. The kubelet's message tells which.
"""

from collections.abc import Iterator
from typing import NamedTuple

from pullsecrets.coverage.audit import Coverage
from pullsecrets.doctor.events import warnings
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import pod_evidence, pods_in, rows
from pullsecrets.kube.pull_failure import Cause, read_pull_failure
from pullsecrets.workloads.pods import PodPull

NAME = "pod-cannot-pull"


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
        "No login was sent: no credential that the Pod names has a key for the host that the image is pulled from.",
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
        "The registry lets no more pulls through for now: it counts them by login or address.",
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
        "kubectl -n {ns} get pod {pod} -o jsonpath='{{.spec.imagePullSecrets}}'   # look at the ones that are not ours",
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
        "The node's runtime cannot look at its images.", NODE, "Alert on the runtime's errors of each node."
    ),
}
UNTOLD = Advice(
    "The registry or the node refuses for a reason that no event tells; a wrong login is the most frequent one.",
    DESCRIBE,
    SEED_VERIFIED,
)
MIRROR = " A mirror says so: for mirrors the namespace's Secret is not used, only the node's own."


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield namespaces where all is delivered and Pods with the reference fail all the same."""
    for registry in snapshot.config.registries:
        # Unless Vault tells what was seeded, nobody can say that the registry is to blame: then it is not checked.
        snapshot.credential(registry)
    for row in rows(snapshot):
        if not all((row.labelled, row.ready, row.secret, row.typed, row.proved)):
            continue
        hosts = snapshot.config.registry(row.registry).hosts
        pods = [
            pod for pod in pods_in(snapshot, row.namespace) if row.registry in pod.references and pod.fails_on(hosts)
        ]
        if pods:
            yield _finding(snapshot, row, pods)


def _finding(snapshot: Snapshot, row: Coverage, pods: list[PodPull]) -> Finding:
    message = _message(snapshot, pods)
    read = read_pull_failure(f"{pods[0].failure}: {message}")
    advice = ADVICE[read.cause] if read else UNTOLD
    said = (f"event of Pod {row.namespace}: {message}",) if message else ()
    filled = {
        "ns": row.namespace,
        "pod": pods[0].name,
        "name": row.registry,
        "stack": snapshot.stack,
        "host": snapshot.config.registry(row.registry).hosts[0],
    }
    commands = dict.fromkeys((advice.command, DESCRIBE))
    return Finding(
        check=NAME,
        severity=Severity.TENANT,
        symptom=f"Pods in {row.namespace} wait in {pods[0].failure} although they have the delivered credential.",
        cause=advice.cause.format(**filled) + (MIRROR if read and read.mirror else ""),
        evidence=(
            *pod_evidence(pods),
            *said,
            f"audit: {row.namespace}/{row.registry} holds the seeded digest {row.digest}",
        ),
        fix=tuple(command.format(**filled) for command in commands),
        prevention=advice.prevention,
        namespace=row.namespace,
        registry=row.registry,
    )


def _message(snapshot: Snapshot, pods: list[PodPull]) -> str:
    """Return the kubelet's own words: the pull's outcome, and not the back-off that follows it."""
    found = warnings(snapshot, "Pod", "Failed")
    messages = [line for pod in pods for line in found.get((pod.namespace, pod.name), ())]
    pulls = [line for line in messages if not line.startswith("Error:")]
    return next(iter(pulls or messages), "")


CHECK = Check(NAME, "Pods with the delivered credential can pull", find)
