"""Opt-in labels on namespaces that others own: set, taken off again, and ESO's leftovers released."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from pullsecrets.binding import release_finalizers
from pullsecrets.errors import BadInputError
from pullsecrets.kube import FIELD_MANAGER, MERGE_PATCH, KubernetesApiError, KubernetesClient


def read_labels(client: KubernetesClient, namespace: str, keys: Iterable[str]) -> dict[str, str] | None:
    """Return what a namespace holds under some label keys; None when it does not exist."""
    found = client.find(_path(namespace))
    if found is None:
        return None
    labels = cast("dict[str, str]", found["metadata"].get("labels") or {})
    return {key: labels[key] for key in keys if key in labels}


def opt_in(client: KubernetesClient, namespace: str, labels: Mapping[str, str]) -> None:
    """Put the labels on an existing namespace and leave everything else on it alone.

    Raises:
        BadInputError: when the namespace does not exist; it is its owner's to make.
    """
    if not _patch(client, namespace, labels):
        raise BadInputError(
            f"namespace {namespace!r} is to be adopted and does not exist; create it, or drop adopt: true"
        )


def opt_out(client: KubernetesClient, namespace: str, labels: Mapping[str, str], registries: Iterable[str]) -> None:
    """Take our labels off a namespace and release ESO's finalizers; a namespace that is gone is left gone.

    A label whose value somebody changed is theirs by now and stays.
    """
    live = read_labels(client, namespace, labels)
    ours = {key: None for key, value in labels.items() if (live or {}).get(key) == value}
    if live is None or (ours and not _patch(client, namespace, ours)):
        return
    release_finalizers(client, namespace, registries)


def _patch(client: KubernetesClient, namespace: str, labels: Mapping[str, str | None]) -> bool:
    body: dict[str, Any] = {"metadata": {"labels": dict(labels)}}
    query = {"fieldManager": FIELD_MANAGER}
    try:
        client.request("PATCH", _path(namespace), query, body=body, content_type=MERGE_PATCH)
    except KubernetesApiError as error:
        if error.status == 404:
            return False
        raise
    return True


def _path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}"
