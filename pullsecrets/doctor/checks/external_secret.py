"""The ExternalSecrets of namespaces and relays: are they there, and do they sync?"""

import shlex
from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple, cast

from pullsecrets.config import Registry
from pullsecrets.coverage.rows import Coverage
from pullsecrets.doctor.model import Finding, Severity, check
from pullsecrets.doctor.platform import again_command, readiness, up_command, warnings
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import Object, ago, failing_on, force_sync, owner_of, parse_time, rows
from pullsecrets.kube.objects import conditions_of, status_of
from pullsecrets.kube.refusal import Refuser, read_refusal
from pullsecrets.manifests.builders import PullSecretSpec


@check("Labelled namespaces have the fan-out's ExternalSecret", explains=("secret-foreign",))
def external_secret_missing(snapshot: Snapshot) -> Iterator[Finding]:
    """A namespace carries the opt-in label and has no ExternalSecret from the stack's ClusterExternalSecret.

    ESO watches namespaces, so a new label acts within seconds unless ESO does not run, its queue is long, or it cannot
    write there: then the ClusterExternalSecret says why in `.status.failedNamespaces`. Another ExternalSecret of the same
    name, made by hand, counts as missing: ESO leaves it alone.
    """
    for row in rows(snapshot):
        if not row.labelled:
            continue
        found = snapshot.external_secrets[row.registry].get(row.namespace)
        if found is None:
            yield _absent(snapshot, row)
        elif owner_of(found) != ("ClusterExternalSecret", row.registry):
            yield _foreign(snapshot, row)


def _absent(snapshot: Snapshot, row: Coverage) -> Finding:
    fanout = snapshot.fanouts[row.registry]
    failure = _failure(snapshot, row)
    waiting = [other for other in snapshot.coverage if other.registry == row.registry and other.labelled]
    without = [other for other in waiting if other.namespace not in snapshot.external_secrets[row.registry]]
    if fanout is None:
        cause, fix = "The stack's ClusterExternalSecret is not in the cluster.", up_command(snapshot)
    elif failure:
        cause, fix = f"ESO could not write there: {failure}", f"kubectl describe clusterexternalsecret {row.registry}"
    else:
        cause = "ESO has not come to this namespace yet: it does not run, or its queue is long."
        fix = again_command(snapshot)
    return Finding(
        severity=Severity.TENANT,
        symptom=f"Namespace {row.namespace} carries the label and receives no Secret {row.registry}.",
        cause=cause,
        evidence=(
            f"ExternalSecret {row.namespace}/{row.registry}: not found",
            f"ClusterExternalSecret {row.registry}: {failure or 'no failure of that namespace'}",
            f"{len(without)} of {len(waiting)} labelled namespaces have no ExternalSecret of {row.registry}",
        ),
        fix=(fix,),
        prevention="Give ESO the flags that doctor recommends for so many namespaces; alert on its Deployment.",
        namespace=row.namespace,
        registry=row.registry,
    )


def _foreign(snapshot: Snapshot, row: Coverage) -> Finding:
    target = f"-n {row.namespace} externalsecret {row.registry}"
    return Finding(
        severity=Severity.TENANT,
        symptom=f"Namespace {row.namespace} carries the label, and rotation passes its Secret {row.registry} by.",
        cause="Somebody made an ExternalSecret of that name, and the ClusterExternalSecret leaves it alone.",
        evidence=(
            f"ExternalSecret {row.namespace}/{row.registry}: not owned by ClusterExternalSecret {row.registry}",
            f"ClusterExternalSecret {row.registry}: {_failure(snapshot, row) or 'no failure of that namespace'}",
        ),
        fix=(f"kubectl describe {target}", f"kubectl delete {target}   # ESO makes the fan-out's within seconds"),
        prevention=f"Leave the name {row.registry} to the stack in tenant namespaces.",
        namespace=row.namespace,
        registry=row.registry,
    )


def _failure(snapshot: Snapshot, row: Coverage) -> str | None:
    """Return why ESO could not write to the namespace, in its own words."""
    failed = cast("list[dict[str, str]]", status_of(snapshot.fanouts[row.registry]).get("failedNamespaces") or [])
    return next((item.get("reason") or "no reason" for item in failed if item["namespace"] == row.namespace), None)


PREVENTION = "Alert on ExternalSecrets that are not Ready, never on the ClusterExternalSecret alone."

PATIENCE = timedelta(minutes=1)
"""How long ESO may take with a new ExternalSecret before it counts as not looked at."""


class Known(NamedTuple):
    """A message of ESO and what it means. In the command `{ns}`, `{name}`, `{stack}` and `{store}` are filled in."""

    texts: tuple[str, ...]
    cause: str
    command: str
    passes: bool = False
    """Whether it may be over by now: ESO tries again at growing intervals, up to a quarter of an hour."""


DOCTOR = "pull-secrets doctor --stack {stack}"
SEED = "pull-secrets seed {name} --stack {stack} --from-file dockerconfig.json"
UP = "pulumi up --stack {stack} --refresh"

MESSAGES = (
    Known(
        ("denied by spec.condition",),
        "The store does not admit the namespace: its conditions are not the opt-in label of the registry.",
        f"{UP}   # kubectl get clustersecretstore {{store}} -o yaml",
    ),
    Known(
        ("already owned by another", "owned by another ExternalSecret"),
        "Another controller owns the Secret of that name.",
        "kubectl -n {ns} get secret {name} -o jsonpath='{{.metadata.ownerReferences}}'",
    ),
    Known(
        ("field is immutable", "target is immutable"),
        "The Secret of that name has another type or is marked immutable.",
        "kubectl -n {ns} describe secret {name}",
    ),
    Known(
        ("cannot find secret data for key",),
        "The Vault path holds no such property: it was not written by `pull-secrets seed`.",
        SEED,
        passes=True,
    ),
    Known(
        ("Secret does not exist",), "The Vault path is empty, or its current version was deleted.", SEED, passes=True
    ),
    Known(("Vault is sealed",), "Vault is sealed.", "vault operator unseal", passes=True),
    Known(
        ("permission denied", "Code: 403"),
        "Vault refuses ESO's login or the path: role, policy or token reviewer is not the stack's.",
        DOCTOR,
        passes=True,
    ),
    Known(("x509:", "tls:"), "ESO does not trust Vault's certificate.", DOCTOR, passes=True),
    Known(
        ("connection refused", "i/o timeout", "deadline exceeded", "no such host", "no route to host"),
        "ESO does not reach Vault: it is down, or the network does not let ESO out.",
        DOCTOR,
        passes=True,
    ),
    Known(("is not ready",), "The store is not ready.", DOCTOR, passes=True),
    Known(
        ("could not apply template", "could not execute template"),
        "The live ClusterExternalSecret has a template that does not fit what Vault holds.",
        UP,
    ),
)
"""Most telling first: one message may hold several of the texts."""

WEBHOOKS = "kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations -o yaml | grep -n {who}"
REFUSED = {
    Refuser.QUOTA: "kubectl -n {ns} describe resourcequota {who}   # raise it, or delete what counts and is not used",
    Refuser.POLICY: "kubectl get validatingadmissionpolicies {who} -o yaml   # have its owners admit Secret {name}",
    Refuser.WEBHOOK: f"{WEBHOOKS}   # have its owners admit Secret {{name}}",
    Refuser.BROKEN_WEBHOOK: f"{WEBHOOKS}   # restore its service",
    Refuser.TERMINATION: "kubectl get namespace {ns} -o jsonpath='{{.status.conditions}}'",
    Refuser.RIGHTS: "kubectl auth can-i create secrets -n {ns} --as {who}   # ESO's ClusterRole is not the chart's",
}
"""The command by who refuses, with `{who}` for its name."""

UNKNOWN = Known((), "ESO fails for an unknown reason.", "kubectl -n {ns} describe externalsecret {name}")
PENDING = Known((), "ESO has not reconciled it yet: it does not run, or its queue is long.", DOCTOR)


@check(
    "ExternalSecrets are Ready, whatever the ClusterExternalSecret says",
    explains=("secret-missing", "content-stale", "content-unproved"),
)
def external_secret_failing(snapshot: Snapshot) -> Iterator[Finding]:
    """ExternalSecrets are not Ready, most often while their ClusterExternalSecret says that it is.

    `Ready` of a ClusterExternalSecret says that ExternalSecrets were made, not that they sync. Their own condition says
    little more; the cause is in the event that ESO writes. Known messages are distinguished, and the rest is shown as it
    is. Pods keep pulling with what was delivered before, until that is revoked.
    """
    for row in rows(snapshot):
        found = snapshot.external_secrets[row.registry].get(row.namespace)
        if found is None or row.ready or not row.labelled:
            continue
        if owner_of(found) == ("ClusterExternalSecret", row.registry) and not _is_new(snapshot, found):
            yield _failing(snapshot, row, found)
    for registry in snapshot.config.registries:
        found = snapshot.external_secrets[registry.name].get(snapshot.config.eso.namespace)
        if registry.relayed and found is not None and readiness(found)[0] != "True" and not _is_new(snapshot, found):
            yield _relay(snapshot, registry, found)


def _failing(snapshot: Snapshot, row: Coverage, found: Object) -> Finding:
    registry = snapshot.config.registry(row.registry)
    store = PullSecretSpec.of(snapshot.config, registry).read_by
    means, fix, told = _judged(snapshot, row.registry, row.namespace, store, found)
    failed = failing_on(snapshot, row.namespace, registry.hosts)
    fanout, _ = readiness(snapshot.fanouts[row.registry])
    return Finding(
        severity=Severity.WARNING if row.proved and not failed else Severity.TENANT,
        symptom=f"Namespace {row.namespace} does not receive the credential of {row.registry}.",
        cause=means.cause,
        evidence=(
            *told,
            f"Secret {row.namespace}/{row.registry}: {_delivered(row)}",
            f"ClusterExternalSecret {row.registry}: Ready={fanout}, which does not reflect sync status",
        ),
        fix=fix,
        prevention=PREVENTION,
        namespace=row.namespace,
        registry=row.registry,
        remedy=force_sync(registry, snapshot.external_secrets[row.registry]) if means.passes else None,
    )


def _relay(snapshot: Snapshot, registry: Registry, found: Object) -> Finding:
    config = snapshot.config
    means, fix, told = _judged(snapshot, registry.name, config.eso.namespace, config.store_of(registry), found)
    return Finding(
        severity=Severity.CLUSTER,
        symptom=f"No namespace receives a changed credential of {registry.name}: the Secret that they all read is old.",
        cause=means.cause,
        evidence=told,
        fix=fix,
        prevention=PREVENTION,
        registry=registry.name,
    )


def _judged(
    snapshot: Snapshot, registry: str, namespace: str, store: str, found: Object
) -> tuple[Known, tuple[str, ...], tuple[str, ...]]:
    """Return what an ExternalSecret's state means, the command for it, and the evidence."""
    events = warnings(snapshot, "ExternalSecret", "UpdateFailed").get((namespace, registry), ())
    _, message = readiness(found)
    means = classify(" ".join((message, *events[:1]))) if conditions_of(found) else PENDING
    command = means.command.format(ns=namespace, name=registry, stack=snapshot.stack, store=store)
    told = f"ExternalSecret {namespace}/{registry}: {message or 'no condition'}{_since(snapshot, found)}"
    return means, (command,), (told, *(f"its event: {text}" for text in events[:1]))


def classify(message: str) -> Known:
    """Return what a message of ESO means."""
    refusal = read_refusal(message)
    if refusal:
        cause = f"{refusal} refuses what ESO writes: {refusal.message or 'it does not say why'}."
        return Known((), cause, REFUSED[refusal.refuser].replace("{who}", shlex.quote(refusal.name)), passes=True)
    lower = message.lower()
    return next((known for known in MESSAGES if any(text.lower() in lower for text in known.texts)), UNKNOWN)


def _is_new(snapshot: Snapshot, external_secret: Object) -> bool:
    """Tell whether ESO has not looked at it yet and may take its time."""
    made = parse_time(external_secret["metadata"].get("creationTimestamp"))
    return not conditions_of(external_secret) and made is not None and snapshot.now - made < PATIENCE


def _since(snapshot: Snapshot, found: Object) -> str:
    times = [parse_time(item.get("lastTransitionTime")) for item in conditions_of(found) if item["type"] == "Ready"]
    return f", for {ago(snapshot.now - times[0])}" if times and times[0] else ""


def _delivered(row: Coverage) -> str:
    if not row.secret:
        return "not there"
    return "there, with the seeded content" if row.proved else "there, with older or unknown content"
