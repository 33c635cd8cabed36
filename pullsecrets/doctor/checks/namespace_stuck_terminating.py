"""A tenant's namespace stays in Terminating: ESO's finalizer, another's, or content that does not go holds it.

Since 0.20 ESO puts a finalizer on each namespace that a ClusterExternalSecret selects and takes it off only from
namespaces that are still selected. A namespace that lost its label first waits in Terminating for ever
(https://github.com/external-secrets/external-secrets/issues/6677). The safe fix takes that one finalizer off, only
when the ExternalSecret that it guards is gone and only for a registry of this stack. What others hold is theirs to
release: their finalizer is named, and what the namespace's own conditions say.
"""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any, cast

from pullsecrets.config import Registry
from pullsecrets.doctor.model import Check, Finding, Remedy, Severity
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import (
    Object,
    ago,
    carries,
    finalizers_of,
    fix_command,
    leaving,
    parse_time,
    release_command,
)
from pullsecrets.kube.marks import FINALIZER_PREFIX
from pullsecrets.tenancy.binding import release_finalizers
from pullsecrets.text import listed

NAME = "namespace-stuck-terminating"

PATIENCE = timedelta(minutes=1)
"""How long ESO may take with a namespace that it still selects."""


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield namespaces in deletion that only ESO's finalizer holds."""
    registries = {registry.name: registry for registry in snapshot.config.registries}
    for name, item in snapshot.namespaces.items():
        if not leaving(item) or snapshot.only not in {None, name}:
            continue
        held = [found.removeprefix(FINALIZER_PREFIX) for found in finalizers_of(item) if is_esos(found)]
        for fanout in held:
            yield from _judge(snapshot, item, fanout, registries.get(fanout))
        if not held and any(row.namespace == name for row in snapshot.coverage):
            yield from _held_by_others(snapshot, item)


def is_esos(finalizer: str) -> bool:
    """Tell whether a finalizer is one that ESO puts on the namespaces of a ClusterExternalSecret."""
    return finalizer.startswith(FINALIZER_PREFIX)


def _held_by_others(snapshot: Snapshot, item: Object) -> Iterator[Finding]:
    name, others = item["metadata"]["name"], finalizers_of(item)
    waited = snapshot.now - (parse_time(item["metadata"]["deletionTimestamp"]) or snapshot.now)
    if waited < PATIENCE:
        return
    yield Finding(
        check=NAME,
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
    found = snapshot.once(f"namespace/{name}", partial(snapshot.cluster.find, f"/api/v1/namespaces/{name}")) or {}
    status = cast("dict[str, Any]", found.get("status") or {})
    for condition in cast("list[dict[str, str]]", status.get("conditions") or []):
        if condition["status"] == "True":
            yield f"namespace {name}: {condition['type']}: {condition.get('message', '')}"


def _judge(snapshot: Snapshot, item: Object, fanout: str, registry: Registry | None) -> Iterator[Finding]:
    since = parse_time(item["metadata"]["deletionTimestamp"]) or snapshot.now
    waited = snapshot.now - since
    name = item["metadata"]["name"]
    external_secret = registry is not None and name in snapshot.external_secrets[registry.name]
    selected = registry is None or carries(item, registry)
    if (selected or external_secret) and waited < PATIENCE:
        return
    yield Finding(
        check=NAME,
        severity=Severity.TENANT,
        symptom=f"Namespace {name} stays in Terminating.",
        cause=_cause(registry, selected, external_secret=external_secret),
        evidence=_evidence(item, registry, fanout, ago(waited), external_secret=external_secret),
        fix=_fix(snapshot, item, fanout, registry, external_secret=external_secret),
        prevention=(
            "Remove tenants with `pull-secrets offboard`, which takes the finalizer off after the label; or delete a "
            "namespace while it still carries the label."
        ),
        namespace=name,
        registry=registry.name if registry else None,
        remedy=_remedy(name, registry) if registry and not external_secret else None,
    )


def _cause(registry: Registry | None, selected: bool, *, external_secret: bool) -> str:
    if registry is None:
        return "It holds ESO's finalizer of a ClusterExternalSecret that is not this stack's."
    if external_secret:
        return "ESO has not deleted the ExternalSecret that its finalizer guards: it does not run, or is far behind."
    if selected:
        return "ESO has not taken its finalizer off: it does not run, or is far behind."
    return "It lost the opt-in label before it was deleted, and ESO takes its finalizer off selected namespaces only."


def _evidence(
    item: Object, registry: Registry | None, fanout: str, waited: str, *, external_secret: bool
) -> tuple[str, ...]:
    name = item["metadata"]["name"]
    others = [found for found in finalizers_of(item) if found != f"{FINALIZER_PREFIX}{fanout}"]
    kept = (f"namespace {name}: other finalizers that hold it as well: {', '.join(others)}",) if others else ()
    there = "is still there" if external_secret else "is gone"
    guarded = (f"ExternalSecret {name}/{fanout} {there}",) if registry else ()
    held = f"namespace {name}: in deletion for {waited}, finalizer {FINALIZER_PREFIX}{fanout}"
    return (held, *guarded, *kept)


def _fix(
    snapshot: Snapshot, item: Object, fanout: str, registry: Registry | None, *, external_secret: bool
) -> tuple[str, ...]:
    name = item["metadata"]["name"]
    release = release_command(item, f"{FINALIZER_PREFIX}{fanout}")
    if registry is None:
        return (f"kubectl -n {name} get externalsecrets   # none left? then:", release)
    if external_secret:
        return (f"pull-secrets doctor --stack {snapshot.stack}   # bring ESO up: it deletes the ExternalSecret",)
    return (fix_command(snapshot, name), release)


def _remedy(namespace: str, registry: Registry) -> Remedy:
    return Remedy(
        f"take the finalizer {FINALIZER_PREFIX}{registry.name} off namespace {namespace}, which is being deleted",
        partial(release_finalizers, namespace=namespace, registries=[registry.name]),
    )


CHECK = Check(NAME, "No tenant's namespace hangs in Terminating", find)
