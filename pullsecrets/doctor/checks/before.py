"""What keeps the first `pulumi up` from succeeding, found before anything is written."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from pullsecrets.doctor.model import Finding, Phase, Severity, check
from pullsecrets.doctor.platform import PROJECT
from pullsecrets.doctor.snapshot import Object, Snapshot
from pullsecrets.errors import BadInputError, ConflictError
from pullsecrets.kube.admission import MUTATING_VERSIONS, mutating_version
from pullsecrets.kube.client import APPLY, FIELD_MANAGER, KubernetesApiError, may
from pullsecrets.kube.objects import path_of
from pullsecrets.kube.refusal import Refuser
from pullsecrets.manifests import builders
from pullsecrets.manifests.guard import ADMISSION
from pullsecrets.manifests.roles import Groups, Right, deployment_roles, rights_of
from pullsecrets.manifests.stack import stack_objects
from pullsecrets.tenancy import preflight
from pullsecrets.text import counted, listed

PARALLEL = 8
SHOWN = 10
REFUSES = "`pulumi up` refuses to begin."


@check("The cluster serves what the stack declares", explains=("object-refused",), phase=Phase.BEFORE)
def cluster_unsuitable(snapshot: Snapshot) -> Iterator[Finding]:
    """The cluster does not serve kinds that the stack asks for, or has no place for its monitoring.

    Admission policies of the guard need Kubernetes 1.30 or OpenShift 4.17, binding by admission a MutatingAdmissionPolicy;
    a sealed registry needs the Sealed Secrets controller, `monitoring.enabled` the Prometheus Operator. Judged by what the
    API server serves, and not by its version.
    """
    cluster, config = snapshot.cluster, snapshot.config
    version = snapshot.once("cluster/version", lambda: str(cluster.get("/version")["gitVersion"]))
    for require in (preflight.require_admission, preflight.require_monitoring, preflight.require_sealed_secrets):
        yield from _refusals(snapshot, f"GET /version: {version}", partial(require, cluster, config))


@check("The guard permits opt-in labels by this identity", phase=Phase.BEFORE)
def labeler_unlisted(snapshot: Snapshot) -> Iterator[Finding]:
    """The guard denies opt-in labels to all but its labelers, and the current identity is not one of them.

    The `pulumi up` that creates the guard would be denied its own labels.
    """
    require = partial(preflight.require_labeler, snapshot.cluster, snapshot.config)
    yield from _refusals(snapshot, "POST selfsubjectreviews: who the API server takes this identity for", require)


@check("No other owner has objects of the stack's names", explains=("object-refused",), phase=Phase.BEFORE)
def name_taken(snapshot: Snapshot) -> Iterator[Finding]:
    """An object, namespace, Vault policy, Vault role or auth mount of the stack's names exists and belongs to others, or
    what the stack adopts does not exist.

    Objects of the stack carry an annotation with their owner; Vault's policies and roles are recognized by what they
    grant. Namespaces of others are adopted with `adopt: true`.
    """
    config, stack = snapshot.config, snapshot.stack
    owner = builders.owner(PROJECT, stack)
    ownership = partial(preflight.require_ownership, snapshot.cluster, config, stack, owner, ())
    yield from _refusals(snapshot, "read by name in the cluster", ownership)
    if config.has_vault:
        vault = snapshot.vault
        of_vault = (
            partial(preflight.own_mount, config, vault, owner),
            partial(preflight.require_kv, config, vault),
            partial(preflight.require_own_access, config, vault),
        )
        for require in of_vault:
            yield from _refusals(snapshot, "read by name in Vault", require)


def _refusals(snapshot: Snapshot, evidence: str, require: Callable[[], object]) -> Iterator[Finding]:
    """Yield what the preflight of `pulumi up` would refuse, each line a finding of its own."""
    try:
        require()
    except (BadInputError, ConflictError) as error:
        for line in str(error).splitlines():
            yield Finding(
                severity=Severity.CLUSTER,
                symptom=REFUSES,
                cause=line,
                evidence=(evidence,),
                fix=(f"{again(snapshot)}   # once that is done",),
                prevention="Run `pull-secrets doctor --pre` before the first `pulumi up` in each cluster.",
            )


def again(snapshot: Snapshot) -> str:
    """Return the command that shows whether it helped."""
    return f"pull-secrets doctor --pre --stack {snapshot.stack}"


@check("This identity may do what `pulumi up` does", explains=("object-refused",), phase=Phase.BEFORE)
def right_missing(snapshot: Snapshot) -> Iterator[Finding]:
    """The current identity lacks rights that the first `pulumi up` of the stack needs.

    Each right of the deployer's and the administrator's role, as `pull-secrets roles` prints them, is asked for by a
    SelfSubjectAccessReview. With `--as` it is another identity's, such as the pipeline's.
    """
    rights = tuple(rights_of(deployment_roles(snapshot.config, Groups())))
    with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
        allowed = tuple(pool.map(partial(_is_allowed, snapshot), rights))
    missing: dict[str, list[Right]] = {}
    for right, is_allowed in zip(rights, allowed, strict=True):
        if not is_allowed:
            missing.setdefault(right.role, []).append(right)
    for role, lacking in missing.items():
        yield Finding(
            severity=Severity.CLUSTER,
            symptom="`pulumi up` fails with 403 half way through.",
            cause=f"This identity lacks {counted(len(lacking), 'right')} of role {role}.",
            evidence=(f"POST selfsubjectaccessreviews: may not {listed(map(str, lacking), SHOWN)}",),
            fix=(
                f"pull-secrets roles --stack {snapshot.stack} > roles.yaml   # name your groups; an administrator applies it",
                "kubectl auth whoami   # as whom the API server takes this identity, with its groups",
                again(snapshot),
            ),
            prevention="Apply the roles when a cluster is added, before its first `pulumi up`.",
        )


def _is_allowed(snapshot: Snapshot, right: Right) -> bool:
    resource, _, subresource = right.resource.partition("/")
    where = {"group": right.group, "subresource": subresource, "name": right.name, "namespace": right.namespace}
    return may(snapshot.cluster, right.verb, resource, **where)


class _Refused(NamedTuple):
    item: Object
    error: KubernetesApiError


@check("Admission lets through what the stack declares", phase=Phase.BEFORE)
def object_refused(snapshot: Snapshot) -> Iterator[Finding]:
    """The API server, an admission policy or a webhook refuses an object that the stack declares.

    Each object is sent as it would be applied, with `dryRun=All` and strict field validation: nothing is stored, and all
    admission takes place. What only lacks a right, a kind or a namespace is left to the checks on those.
    """
    served = mutating_version(snapshot.cluster) if snapshot.config.binding == ADMISSION else None
    objects = stack_objects(snapshot.config, snapshot.stack, served or MUTATING_VERSIONS[0])
    with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
        answers = tuple(pool.map(partial(_dry_run, snapshot), objects))
    for item, error in filter(None, answers):
        namespace = item["metadata"]["name"] if item["kind"] == "Namespace" else None
        untried = "does not support dry run" in error.server_message
        yield Finding(
            severity=Severity.WARNING if untried else Severity.TENANT if namespace else Severity.CLUSTER,
            symptom=(
                "Whether `pulumi up` will succeed cannot be checked in advance."
                if untried
                else f"`pulumi up` fails at {item['kind']} {item['metadata']['name']}."
            ),
            cause=f"{error.refusal or 'The API server'} answers {error.status}: {error.server_message}",
            evidence=(f"PATCH {path_of(item)}?dryRun=All: {error.status} {error.reason}",),
            fix=(
                f"pull-secrets render --stack {snapshot.stack} --out rendered   # the object, as it is applied",
                again(snapshot),
            ),
            prevention="Have the owners of admission policies and webhooks permit the platform's objects.",
            namespace=namespace,
        )


def _dry_run(snapshot: Snapshot, item: Object) -> _Refused | None:
    query = {"fieldManager": FIELD_MANAGER, "force": "true", "dryRun": "All", "fieldValidation": "Strict"}
    try:
        snapshot.cluster.request("PATCH", path_of(item), query, body=item, content_type=APPLY)
    except KubernetesApiError as error:
        lacks_right = error.status == 403 and error.refusal is not None and error.refusal.refuser is Refuser.RIGHTS
        return None if lacks_right or error.status == 404 else _Refused(item, error)
    return None
