"""Pods cannot pull although the seeded credential is delivered and they refer to it.

Everything that this project looks after is in order, so the registry itself refuses: the login is wrong or may not read
that repository, the image does not exist, or the node does not reach the registry. The kubelet's message tells which.
"""

from collections.abc import Iterator

from pullsecrets.audit import Coverage
from pullsecrets.doctor.events import warnings
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import pod_evidence, pods_in, rows
from pullsecrets.pods import PodPull

NAME = "pod-cannot-pull"

_UNREACHED = (
    "no such host",
    "i/o timeout",
    "connection refused",
    "deadline exceeded",
    "x509",
    "no route to host",
    "server gave http response",
)
_BUSY = ("429 too many requests", "toomanyrequests", "500 internal", "502 bad gateway", "503 service unavailable")
_UNDECODABLE = ("illegal base64", "invalid character", "unexpected end of json")
_REFUSED = ("unauthorized", "forbidden", "denied", "authentication required", "authorization failed")
_ABSENT = ("not found", "manifest unknown", "name unknown")


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
    cause, *fix = _judge(snapshot, row, message, pods[0])
    said = (f"event of Pod {row.namespace}: {message}",) if message else ()
    return Finding(
        check=NAME,
        severity=Severity.TENANT,
        symptom=f"Pods in {row.namespace} wait in {pods[0].failure} although they have the delivered credential.",
        cause=cause,
        evidence=(
            *pod_evidence(pods),
            *said,
            f"audit: {row.namespace}/{row.registry} holds the seeded digest {row.digest}",
        ),
        fix=tuple(fix),
        prevention="Seed with --verify-login, which tries the credential at the registry before it is stored.",
        namespace=row.namespace,
        registry=row.registry,
    )


def _judge(snapshot: Snapshot, row: Coverage, message: str, pod: PodPull) -> tuple[str, ...]:
    """Return the cause, then the commands."""
    lower = message.lower()
    describe = f"kubectl -n {row.namespace} describe pod {pod.name}"
    verify = f"pull-secrets seed {row.registry} --stack {snapshot.stack} --from-file dockerconfig.json --verify-login"
    host = " or ".join(snapshot.config.registry(row.registry).hosts)
    # By the kubelet's words (tests/node/messages.json). Registries answer 401 or "denied" for repositories that do not
    # exist, too, so a refusal comes before an absence.
    for texts, cause, command in (
        (_UNREACHED, f"The node does not reach {host}: name, network or certificate.", describe),
        (_BUSY, f"{host} is overloaded, limits requests or is down: the kubelet tries again by itself.", describe),
        (_UNDECODABLE, "A Secret in the Pod's list cannot be decoded: the kubelet then pulls with none.", describe),
        (
            _REFUSED,
            "The registry refuses the seeded login: it is wrong, locked or expired, or may not read it.",
            verify,
        ),
        (_ABSENT, "The registry does not have the image: repository or tag is wrong, or it was not pushed.", describe),
    ):
        if any(text in lower for text in texts):
            return cause, command
    return (
        "The registry or the node refuses for a reason that no event tells; a wrong login is the most frequent one.",
        describe,
        verify,
    )


def _message(snapshot: Snapshot, pods: list[PodPull]) -> str:
    """Return the kubelet's own words: the pull's outcome, and not the back-off that follows it."""
    found = warnings(snapshot, "Pod", "Failed")
    messages = [line for pod in pods for line in found.get((pod.namespace, pod.name), ())]
    pulls = [line for line in messages if not line.startswith("Error:")]
    return next(iter(pulls or messages), "")


CHECK = Check(NAME, "Pods with the delivered credential can pull", find)
