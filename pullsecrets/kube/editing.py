"""Changing an object that others change too: read, change, write, and retry on conflict."""

from collections.abc import Callable
from typing import Any

from pullsecrets.errors import ConflictError
from pullsecrets.kube.client import FIELD_MANAGER, KubernetesApiError, KubernetesClient
from pullsecrets.kube.objects import KubernetesObject

EDIT_ATTEMPTS = 10

_WRITTEN_BETWEEN = frozenset({404, 409, 422})
"""What the API server answers when an object changed after it was read: it is gone, the write's resourceVersion is
old, or the `test` of a JSON Patch failed. An admission webhook may answer the same."""


def edit(
    cluster: KubernetesClient,
    path: str,
    write: Callable[[dict[str, Any]], object],
    first: dict[str, Any] | None = None,
) -> None:
    """Read an object and write it, again while others write in between; one that does not exist is left alone.

    Others wrote in between only when the resourceVersion moved. Any other refusal comes as it is: a policy that says
    no with the status of a conflict would say no forever.

    Args:
        write: changes the object that was read, guarded by its resourceVersion, or sends nothing.
        first: the object where it was read already, such as by a list.

    Raises:
        ConflictError: when others wrote in between each time.
        KubernetesApiError: the server's refusal.
    """
    found = first or cluster.find(path)
    last = ""
    for _ in range(EDIT_ATTEMPTS):
        if found is None:
            return
        version = found["metadata"]["resourceVersion"]
        try:
            write(found)
        except KubernetesApiError as error:
            if error.status not in _WRITTEN_BETWEEN or error.refusal:
                raise
            found = cluster.find(path)
            if found and found["metadata"]["resourceVersion"] == version:
                raise
            last = error.server_message
        else:
            return
    raise ConflictError(
        f"{path}: others changed it {EDIT_ATTEMPTS} times in a row (the last answer: {last}); run the command again"
    )


def patch(
    cluster: KubernetesClient,
    path: str,
    operations_for: Callable[[KubernetesObject], list[dict[str, Any]]],
    first: KubernetesObject | None = None,
) -> None:
    """Compute a JSON Patch from the object as it is and send it, as `edit` does; nothing for no operations."""

    def write(found: KubernetesObject) -> None:
        if operations := operations_for(found):
            cluster.json_patch(path, operations)

    edit(cluster, path, write, first)


def update(cluster: KubernetesClient, path: str, change: Callable[[KubernetesObject], bool]) -> None:
    """Change the object as it is in place and put it back whole, as `edit` does; nothing where `change` says False."""

    def write(found: KubernetesObject) -> None:
        if change(found):
            cluster.request("PUT", path, {"fieldManager": FIELD_MANAGER}, body=found)

    edit(cluster, path, write)
