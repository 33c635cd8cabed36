"""Plain Kubernetes objects: where the API server keeps them, and what stands in their fields."""

from typing import Any, cast

KubernetesObject = dict[str, Any]


def path_of(item: KubernetesObject) -> str:
    """Return where the API server keeps an object."""
    version, metadata = item["apiVersion"], item["metadata"]
    root = f"/api/{version}" if version == "v1" else f"/apis/{version}"
    within = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{root}{within}/{_resource(item['kind'])}/{metadata['name']}"


def _resource(kind: str) -> str:
    return f"{kind[:-1]}ies".lower() if kind.endswith("y") else f"{kind}s".lower()


def secret_path(namespace: str, name: str) -> str:
    """Return the path of a Secret."""
    return f"/api/v1/namespaces/{namespace}/secrets/{name}"


def entries_of(account: dict[str, Any]) -> list[str]:
    """Return the names that a ServiceAccount's `imagePullSecrets` lists, in order."""
    return [str(entry.get("name", "")) for entry in cast("list[dict[str, Any]]", account.get("imagePullSecrets") or [])]
