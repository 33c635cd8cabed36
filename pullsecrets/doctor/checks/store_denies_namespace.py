"""A namespace carries the opt-in label and the store's conditions do not admit it (`denied by spec.condition`).

The stack puts the registry's label into the conditions of its store; one that was edited leaves namespaces out. The
conditions are judged here, without waiting for ESO.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from pullsecrets.config import Registry
from pullsecrets.doctor.events import warnings
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import NOT_SYNCED, again_command, up_command
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import carries, labels_of, staying
from pullsecrets.kube.selectors import selects
from pullsecrets.manifests.builders import PullSecretSpec

NAME = "store-denies-namespace"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the labelled namespaces that the store does not admit."""
    for registry in snapshot.config.registries:
        store = PullSecretSpec.of(snapshot.config, registry).store
        live = snapshot.store(store)
        for name, item in staying(snapshot) if live else ():
            if live and carries(item, registry) and not admits(live, name, labels_of(item)):
                yield _denied(snapshot, registry, name, store)


def admits(store: Mapping[str, Any], namespace: str, labels: Mapping[str, str]) -> bool:
    """Tell whether a store may be used from a namespace: any of its conditions will do, and none admits all."""
    conditions = cast("list[dict[str, Any]]", store["spec"].get("conditions") or [])
    return not conditions or any(_holds(condition, namespace, labels) for condition in conditions)


def _holds(condition: Mapping[str, Any], namespace: str, labels: Mapping[str, str]) -> bool:
    names = cast("list[str]", condition.get("namespaces") or [])
    patterns = cast("list[str]", condition.get("namespaceRegexes") or [])
    return (
        namespace in names
        or any(re.search(pattern, namespace) for pattern in patterns)
        or selects(condition.get("namespaceSelector"), labels)
    )


def _denied(snapshot: Snapshot, registry: Registry, namespace: str, store: str) -> Finding:
    told = warnings(snapshot, "ExternalSecret", "UpdateFailed").get((namespace, registry.name), ())
    return Finding(
        check=NAME,
        severity=Severity.TENANT,
        symptom=f"ExternalSecret {registry.name} in {namespace} fails: denied by spec.condition.",
        cause=f"None of the conditions of ClusterSecretStore {store!r} admits namespace {namespace}.",
        evidence=(
            f"ClusterSecretStore {store}: spec.conditions select none of the labels of namespace {namespace}",
            *(f"event of ExternalSecret {namespace}/{registry.name}: {text}" for text in told[:1]),
        ),
        fix=(up_command(snapshot), again_command(snapshot)),
        prevention="Let only the stack write the store: it derives the conditions from the registries' selectors.",
        namespace=namespace,
        registry=registry.name,
    )


CHECK = Check(
    NAME,
    "The store admits every namespace with an opt-in label",
    find,
    explains=NOT_SYNCED,
)
