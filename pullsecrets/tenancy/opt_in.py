"""A tenant namespace's labels and annotations: set and removed again, without touching those of others."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, cast

from pullsecrets.data import sequence
from pullsecrets.errors import BadInputError, PullSecretsError
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.editing import patch
from pullsecrets.kube.eso import GROUP
from pullsecrets.kube.marks import STACK_ANNOTATION
from pullsecrets.kube.objects import is_leaving, namespace_path
from pullsecrets.kube.selectors import selects
from pullsecrets.kube.waiting import is_gone
from pullsecrets.manifests import builders
from pullsecrets.tenancy import binding

Marks = Mapping[str, str]
Selectors = Mapping[str, Marks]

DELETION_SECONDS = 300


def read_marks(
    client: KubernetesClient, namespace: str, labels: Iterable[str], annotations: Iterable[str]
) -> tuple[dict[str, str], dict[str, str]] | None:
    """Return the labels and annotations that a namespace holds under some keys; None when it does not exist."""
    found = client.find(namespace_path(namespace))
    if found is None:
        return None
    return _held(found, "labels", labels), _held(found, "annotations", annotations)


def opt_in(
    client: KubernetesClient,
    namespace: str,
    labels: Marks,
    annotations: Marks | None = None,
    registries: Selectors | None = None,
    owner: str | None = None,
) -> None:
    """Put labels and annotations on a namespace and leave everything else on it alone.

    Args:
        registries: the selector of each registry that the labels grant. Where a label gets another value, the live
            ClusterExternalSecrets are told before: a namespace that none selects for a moment loses its Secrets.
        owner: the stack that creates the namespace where it is missing, as `manifests.owner` gives it. Only one that
            is created here says so: what others made is never deleted.

    Raises:
        BadInputError: when the namespace does not exist and is its owner's to make.
        PullSecretsError: when it is being deleted.
    """
    found = client.find(namespace_path(namespace))
    if found is None and owner is None:
        raise BadInputError(
            f"namespace {namespace!r} is to be adopted and does not exist; create it, or drop adopt: true"
        )
    if found is None:
        # With its labels from the first moment, as admission policies may demand them.
        body = builders.namespace(namespace, labels, {**(annotations or {}), STACK_ANNOTATION: str(owner)})
        client.request("POST", "/api/v1/namespaces", body=body)
        return
    if is_leaving(found):
        raise PullSecretsError(
            f"namespace {namespace!r} is being deleted; run the command again once it is gone, or find what holds it: "
            f"pull-secrets doctor {namespace}"
        )
    if any(value != labels[key] for key, value in _held(found, "labels", labels).items()):
        for registry, selector in (registries or {}).items():
            patch(client, f"{GROUP}/clusterexternalsecrets/{registry}", partial(_widening, selector))
    client.merge_patch(
        namespace_path(namespace), {"metadata": {"labels": dict(labels), "annotations": dict(annotations or {})}}
    )


def _widening(selector: Marks, fanout: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the JSON Patch by which a ClusterExternalSecret selects by another selector too; its own are ORed."""
    selectors = sequence(fanout["spec"].get("namespaceSelectors"))
    if not selectors or any(selects(item, selector) for item in selectors):
        return []
    return [
        {"op": "test", "path": "/spec/namespaceSelectors", "value": selectors},
        {"op": "add", "path": "/spec/namespaceSelectors/-", "value": {"matchLabels": dict(selector)}},
    ]


def take_off(client: KubernetesClient, namespace: str, labels: Marks, annotations: Marks | None = None) -> None:
    """Take labels and annotations off a namespace; a namespace that is gone is left gone.

    What somebody gave another value is theirs by now and stays.
    """
    live = read_marks(client, namespace, labels, annotations or {})
    if live is None:
        return
    ours = [
        {key: None for key, value in wanted.items() if held.get(key) == value}
        for wanted, held in zip((labels, annotations or {}), live, strict=True)
    ]
    if any(ours):
        change = {"metadata": {"labels": ours[0], "annotations": ours[1]}}
        client.merge_patch(namespace_path(namespace), change)


def delete_if_owned(client: KubernetesClient, namespace: str, owner: str) -> None:
    """Delete a namespace that says that the stack created it, and wait until it is gone; any other one stays.

    Raises:
        PullSecretsError: when something holds it.
    """
    found = client.find(namespace_path(namespace))
    if found is None or _held(found, "annotations", [STACK_ANNOTATION]).get(STACK_ANNOTATION) != owner:
        return
    uid = found["metadata"]["uid"]
    # Never one of the same name that somebody made since it was looked at.
    client.request("DELETE", namespace_path(namespace), body={"preconditions": {"uid": uid}})
    if not is_gone(client, namespace_path(namespace), DELETION_SECONDS, uid):
        raise PullSecretsError(
            f"namespace {namespace!r} is still there {DELETION_SECONDS} s after it was deleted; what holds it: "
            f"pull-secrets doctor {namespace}"
        )


def leave(
    client: KubernetesClient, namespace: str, labels: Marks, annotations: Marks, registries: Iterable[str]
) -> None:
    """Take labels and annotations off, and ESO's finalizers, so that the namespace can be deleted.

    Raises:
        PullSecretsError: when an ExternalSecret stays although the label is gone.
    """
    take_off(client, namespace, labels, annotations)
    binding.release_abandoned(client, namespace, registries)


def _held(found: Mapping[str, Any], kind: str, keys: Iterable[str]) -> dict[str, str]:
    held = cast("dict[str, str]", found["metadata"].get(kind) or {})
    return {key: held[key] for key in keys if key in held}
