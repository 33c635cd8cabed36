"""Argo CD through the Kubernetes API: asks Applications for a sync and waits until they are synced and healthy."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pullsecrets.errors import BadInputError
from pullsecrets.kube import FIELD_MANAGER, KubernetesClient

GROUP = "/apis/argoproj.io/v1alpha1"
REFRESH_ANNOTATION = "argocd.argoproj.io/refresh"
"""Makes the controller compare with git anew before anything else
(https://argo-cd.readthedocs.io/en/stable/user-guide/annotations-and-labels/)."""

POLL_SECONDS = 1.0
_ENDED = frozenset({"Succeeded", "Failed", "Error"})


@dataclass(frozen=True)
class Unfinished:
    """What an Application still waits for, or why it will not get there."""

    reason: str
    failed: bool = False


class ArgoCd:
    """The Applications of one Argo CD, as somebody who may patch them."""

    def __init__(self, cluster: KubernetesClient, namespace: str) -> None:
        """Use the Applications of a namespace."""
        self._cluster = cluster
        self._namespace = namespace

    def sync(self, applications: Collection[str], timeout: float) -> dict[str, str]:
        """Sync Applications side by side and wait until each is synced and healthy.

        Returns:
            Those that are not, and why.

        Raises:
            BadInputError: when an Application does not exist.
        """
        before = {name: _finished_at(self._get(name)) for name in applications}
        for name in applications:
            self._cluster.merge_patch(self._path(name), _operation())
        return self._wait(before, timeout, synced=True)

    def roll_back(self, applications: Collection[str], timeout: float) -> dict[str, str]:
        """Sync Applications to the revision that each had before its last one, and wait.

        One that syncs by itself is refused: Argo CD would sync it forward again.

        Returns:
            Those that were not rolled back, and why.

        Raises:
            BadInputError: when an Application does not exist.
        """
        found = {name: self._get(name) for name in applications}
        refused = {name: reason for name, item in found.items() if (reason := _fixed(item))}
        before = {name: _finished_at(item) for name, item in found.items() if name not in refused}
        for name in before:
            self._cluster.merge_patch(self._path(name), _operation(str(_history(found[name])[-2]["revision"])))
        return {**refused, **self._wait(before, timeout, synced=False)}

    def _wait(self, before: Mapping[str, str], timeout: float, *, synced: bool) -> dict[str, str]:
        deadline = time.monotonic() + timeout
        problems: dict[str, str] = {}
        left = list(before)
        while True:
            states = {name: unfinished(self._get(name), before[name], synced=synced) for name in left}
            problems |= {name: state.reason for name, state in states.items() if state and state.failed}
            waiting = {name: state.reason for name, state in states.items() if state and not state.failed}
            if not waiting:
                return problems
            if time.monotonic() >= deadline:
                return {**problems, **{name: f"not in {timeout:g} s: {reason}" for name, reason in waiting.items()}}
            left = list(waiting)
            time.sleep(POLL_SECONDS)

    def _get(self, name: str) -> dict[str, Any]:
        found = self._cluster.find(self._path(name))
        if found is None:
            raise BadInputError(
                f"Application {name!r}: not found in namespace {self._namespace!r}; write it with "
                "`pull-secrets gitops render`, or name Argo CD's namespace with --argocd-namespace"
            )
        return found

    def _path(self, name: str) -> str:
        return f"{GROUP}/namespaces/{self._namespace}/applications/{name}"


def unfinished(application: Mapping[str, Any], finished_before: str, *, synced: bool) -> Unfinished | None:
    """Tell what an Application waits for since a sync was asked of it; None when it is through.

    Args:
        application: the object.
        finished_before: when its last operation had ended before the sync was asked for.
        synced: whether it must be at the revision that its source names.
    """
    status = _part(application, "status")
    operation = _part(status, "operationState")
    phase = str(operation.get("phase") or "")
    if application.get("operation") or _finished_at(application) == finished_before:
        return Unfinished("Argo CD has not begun; does its application controller run?")
    if phase not in _ENDED:
        return Unfinished(f"syncs ({phase or 'no phase yet'})")
    if phase != "Succeeded":
        return Unfinished(f"sync {phase.lower()}: {operation.get('message', '')}", failed=True)
    found, health = (str(_part(status, key).get("status", "Unknown")) for key in ("sync", "health"))
    if synced and found != "Synced":
        return Unfinished(f"is {found}")
    if health == "Degraded":
        return Unfinished("is Degraded", failed=True)
    return None if health == "Healthy" else Unfinished(f"is {health}")


def _operation(revision: str | None = None) -> dict[str, Any]:
    sync: dict[str, Any] = {} if revision is None else {"revision": revision}
    return {
        "metadata": {"annotations": {REFRESH_ANNOTATION: "normal"}},
        "operation": {"initiatedBy": {"username": FIELD_MANAGER}, "sync": sync},
    }


def _fixed(application: Mapping[str, Any]) -> str | None:
    """Tell why an Application cannot be rolled back."""
    if _part(application["spec"], "syncPolicy").get("automated"):
        return "syncs by itself; revert the commit in its repository instead"
    return "has no earlier revision" if len(_history(application)) < 2 else None


def _history(application: Mapping[str, Any]) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", _part(application, "status").get("history") or [])


def _finished_at(application: Mapping[str, Any]) -> str:
    return str(_part(_part(application, "status"), "operationState").get("finishedAt") or "")


def _part(item: Mapping[str, Any], key: str) -> dict[str, Any]:
    return cast("dict[str, Any]", item.get(key) or {})
