"""Argo CD through the Kubernetes API: asks Applications for a sync and waits until they are synced and healthy."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pullsecrets.data import mapping, sequence
from pullsecrets.errors import BadInputError
from pullsecrets.kube.client import FIELD_MANAGER, KubernetesClient
from pullsecrets.kube.objects import annotations_of, status_of

GROUP = "/apis/argoproj.io/v1alpha1"
REFRESH_ANNOTATION = "argocd.argoproj.io/refresh"
"""Makes the controller compare with git anew before anything else
(https://argo-cd.readthedocs.io/en/stable/user-guide/annotations-and-labels/)."""

SYNCED_FOR_ANNOTATION = "apps.platform/synced-for"
"""On the Application: what this project synced it for last, so that only a wave that was begun is taken back."""

SYNCED_FROM_ANNOTATION = "apps.platform/synced-from"
"""On the Application: the revision that ran before the first sync for that; empty when there was none, or several.

The history alone does not tell: Argo CD adds an entry for each sync that succeeded, also of the same revision, and none
for one that failed (https://github.com/argoproj/argo-cd, controller/sync.go)."""

POLL_SECONDS = 1.0
_ENDED = frozenset({"Succeeded", "Failed", "Error"})


@dataclass(frozen=True)
class Unfinished:
    """What an Application still waits for, or why it will not get there."""

    reason: str
    failed: bool = False


class ArgoCd:
    """The Applications of one Argo CD, as a user who may patch them."""

    def __init__(self, cluster: KubernetesClient, namespace: str) -> None:
        """Use the Applications of a namespace."""
        self._cluster = cluster
        self._namespace = namespace

    def sync(self, applications: Collection[str], reason: str, timeout: float) -> dict[str, str]:
        """Sync Applications side by side and wait until each is synced and healthy.

        The revision that runs before is kept on each, unless an earlier run kept one for the same reason.

        Args:
            reason: what they are synced for; the same for each run that shall finish the same rollout.
            timeout: seconds until all are.

        Returns:
            Those that are not, and why.

        Raises:
            BadInputError: when an Application does not exist.
        """
        found = {name: self._get(name) for name in applications}
        for name, item in found.items():
            # In one request with the sync: whatever ends this process, none is begun without what ran before.
            kept = {} if _synced_for(item) == reason else _kept(reason, _running(item))
            self._cluster.merge_patch(self._path(name), _operation(annotations=kept))
        return self._wait({name: _finished_at(item) for name, item in found.items()}, timeout, synced=True)

    def begun(self, applications: Collection[str], reason: str) -> list[str]:
        """Return the Applications that were synced for a reason and not rolled back since.

        Raises:
            BadInputError: when an Application does not exist.
        """
        return [name for name in applications if _synced_for(self._get(name)) == reason]

    def roll_back(self, applications: Collection[str], reason: str, timeout: float) -> dict[str, str]:
        """Sync Applications to the revision that ran before they were synced for a reason, and wait.

        Those that were not synced for it are left alone. One that syncs by itself is refused: Argo CD would sync it
        forward again.

        Args:
            reason: what they were synced for.
            timeout: seconds until all are synced and healthy.

        Returns:
            Those that were not rolled back, and why.

        Raises:
            BadInputError: when an Application does not exist.
        """
        found = {name: item for name in applications if _synced_for(item := self._get(name)) == reason}
        refused = {name: why for name, item in found.items() if (why := _fixed(item))}
        before = {name: _finished_at(item) for name, item in found.items() if name not in refused}
        for name in before:
            self._cluster.merge_patch(self._path(name), _operation(_synced_from(found[name])))
        problems = self._wait(before, timeout, synced=False)
        for name in before.keys() - problems.keys():
            # The next sync for this reason may find another revision running.
            self._cluster.merge_patch(self._path(name), {"metadata": {"annotations": _kept(None, None)}})
        return {**refused, **problems}

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
    status = status_of(application)
    operation = mapping(status.get("operationState"))
    phase = str(operation.get("phase") or "")
    if application.get("operation") or _finished_at(application) == finished_before:
        return Unfinished("Argo CD has not begun; does its application controller run?")
    if phase not in _ENDED:
        return Unfinished(f"syncs ({phase or 'no phase yet'})")
    if phase != "Succeeded":
        return Unfinished(f"sync {phase.lower()}: {operation.get('message', '')}", failed=True)
    found, health = (str(mapping(status.get(key)).get("status", "Unknown")) for key in ("sync", "health"))
    if synced and found != "Synced":
        return Unfinished(f"is {found}")
    if health == "Degraded":
        return Unfinished("is Degraded", failed=True)
    return None if health == "Healthy" else Unfinished(f"is {health}")


def _operation(revision: str | None = None, annotations: Mapping[str, str | None] | None = None) -> dict[str, Any]:
    sync: dict[str, Any] = {} if revision is None else {"revision": revision}
    return {
        "metadata": {"annotations": {REFRESH_ANNOTATION: "normal", **(annotations or {})}},
        "operation": {"initiatedBy": {"username": FIELD_MANAGER}, "sync": sync},
    }


def _fixed(application: Mapping[str, Any]) -> str | None:
    """Tell why an Application cannot be rolled back."""
    spec = mapping(application.get("spec"))
    automated = mapping(spec.get("syncPolicy")).get("automated")
    # An empty object turns it on (https://argo-cd.readthedocs.io/en/stable/user-guide/auto_sync/).
    if automated is not None and automated.get("enabled") is not False:
        return "syncs by itself; revert the commit in its repository instead"
    if spec.get("sources"):
        return "has several sources and no revision of its own; revert the commits in their repositories instead"
    return None if _synced_from(application) else "has no earlier revision"


def _running(application: Mapping[str, Any]) -> str:
    """Return the revision that was synced last with success; empty when there is none, or one for each source."""
    history = sequence(status_of(application).get("history"))
    return str(history[-1].get("revision") or "") if history else ""


def _kept(reason: str | None, revision: str | None) -> dict[str, str | None]:
    return {SYNCED_FOR_ANNOTATION: reason, SYNCED_FROM_ANNOTATION: revision}


def _synced_for(application: Mapping[str, Any]) -> str | None:
    return annotations_of(application).get(SYNCED_FOR_ANNOTATION)


def _synced_from(application: Mapping[str, Any]) -> str:
    return annotations_of(application).get(SYNCED_FROM_ANNOTATION) or ""


def _finished_at(application: Mapping[str, Any]) -> str:
    return str(mapping(status_of(application).get("operationState")).get("finishedAt") or "")
