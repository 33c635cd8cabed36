"""What Argo CD would call OutOfSync: it compares as pkg/diff/diff.go of argoproj/gitops-engine does."""

import json
from typing import Any

from local.controlplane.api import KubernetesApi
from pullsecrets.kube.objects import KubernetesObject, path_of

MANAGER = "argocd-controller"
TRACKING_LABEL = "app.kubernetes.io/instance"
TRACKING_ANNOTATION = "argocd.argoproj.io/tracking-id"


def apply(api: KubernetesApi, item: KubernetesObject, *, dry_run: bool = False) -> dict[str, Any]:
    """Apply an object server-side, strictly, as Argo CD does with `ServerSideApply=true`; return it as stored."""
    query = f"fieldManager={MANAGER}&force=true&fieldValidation=Strict{'&dryRun=All' if dry_run else ''}"
    return api.call("PATCH", f"{path_of(item)}?{query}", json.dumps(item).encode(), "application/apply-patch+yaml")


def release(api: KubernetesApi, item: KubernetesObject) -> None:
    """Let go of an object that another owned before: its fields are not Argo CD's any more, and its marks go."""
    fields = api.call("GET", path_of(item))["metadata"]["managedFields"]
    metadata = {
        "managedFields": [entry for entry in fields if entry["manager"] != MANAGER],
        "labels": {TRACKING_LABEL: None},
        "annotations": {TRACKING_ANNOTATION: None},
    }
    api.call("PATCH", path_of(item), {"metadata": metadata}, "application/merge-patch+json")


def tracked(item: KubernetesObject) -> KubernetesObject:
    """Return an object with both marks by which Argo CD knows its own."""
    metadata = item["metadata"]
    labels = {**metadata.get("labels", {}), TRACKING_LABEL: "pull-secrets"}
    where = f"{item['apiVersion'].rpartition('/')[0]}/{item['kind']}:{metadata.get('namespace', '')}/{metadata['name']}"
    annotations = {**metadata.get("annotations", {}), TRACKING_ANNOTATION: f"pull-secrets:{where}"}
    return {**item, "metadata": {**metadata, "labels": labels, "annotations": annotations}}


def differences(api: KubernetesApi, item: KubernetesObject) -> list[str]:
    """Return where an object in the cluster is not what is desired, for each way in which Argo CD compares."""
    live = _normalized(api.call("GET", path_of(item)))
    found = [f"server-side diff: {place}" for place in _unequal(_normalized(apply(api, item, dry_run=True)), live)]
    if "." in item["apiVersion"] and not item["apiVersion"].partition("/")[0].endswith(".k8s.io"):
        # Of kinds that it does not know, the JSON merge patch that leads from what is live to what is desired.
        found += [f"three-way diff: {place}" for place in _unequal(_merged(live, item), live)]
    return found


def _normalized(item: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in item["metadata"].items() if key != "managedFields"}
    return {**item, "metadata": metadata}


def _merged(live: Any, desired: Any) -> Any:
    """Apply a JSON merge patch: maps are merged, lists are replaced."""
    if not (isinstance(live, dict) and isinstance(desired, dict)):
        return desired
    return {**live, **{key: _merged(live.get(key), value) for key, value in desired.items()}}


def _unequal(left: Any, right: Any, place: str = "") -> list[str]:
    if isinstance(left, dict) and isinstance(right, dict):
        keys = sorted({*left, *right})
        return [line for key in keys for line in _unequal(left.get(key), right.get(key), f"{place}.{key}")]
    return [] if left == right else [f"{place}: {left!r} and not {right!r}"]
