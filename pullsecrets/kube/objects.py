"""Plain Kubernetes objects: where the API server keeps them, and what stands in the fields that all kinds share.

The readers take an object as it was read, also one that was not found: what is not there is empty.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pullsecrets.data import mapping, sequence

KubernetesObject = dict[str, Any]
Object = Mapping[str, Any]


def path_of(item: KubernetesObject) -> str:
    """Return where the API server keeps an object."""
    metadata = item["metadata"]
    return f"{collection(item['apiVersion'], item['kind'], metadata.get('namespace'))}/{metadata['name']}"


def collection(version: str, kind: str, namespace: str | None = None) -> str:
    """Return where the API server lists the objects of a kind, of one namespace or of all."""
    root = f"/api/{version}" if version == "v1" else f"/apis/{version}"
    within = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{within}/{_resource(kind)}"


def _resource(kind: str) -> str:
    return f"{kind[:-1]}ies".lower() if kind.endswith("y") else f"{kind}s".lower()


def namespace_path(name: str) -> str:
    """Return the path of a Namespace."""
    return f"/api/v1/namespaces/{name}"


def secret_path(namespace: str, name: str) -> str:
    """Return the path of a Secret."""
    return f"/api/v1/namespaces/{namespace}/secrets/{name}"


def group_of(item: Object) -> str:
    """Return an object's API group; the core group is the empty text."""
    version = item.get("apiVersion")
    return version.rpartition("/")[0] if isinstance(version, str) else ""


def kind_of(item: Object) -> str:
    """Return an object's kind, or the empty text when it has none."""
    kind = item.get("kind")
    return kind if isinstance(kind, str) else ""


def metadata_of(item: Object | None) -> Object:
    """Return an object's metadata."""
    return mapping((item or {}).get("metadata"))


def labels_of(item: Object | None) -> Mapping[str, str]:
    """Return an object's labels."""
    return mapping(metadata_of(item).get("labels"))


def annotations_of(item: Object | None) -> Mapping[str, str]:
    """Return an object's annotations."""
    return mapping(metadata_of(item).get("annotations"))


def finalizers_of(item: Object | None) -> Sequence[str]:
    """Return an object's finalizers."""
    return sequence(metadata_of(item).get("finalizers"))


def owners_of(item: Object | None) -> Sequence[Object]:
    """Return an object's owner references."""
    return sequence(metadata_of(item).get("ownerReferences"))


def controller_of(item: Object | None) -> Object | None:
    """Return the owner reference of the controller that an object names; None without one."""
    return next((owner for owner in owners_of(item) if owner.get("controller")), None)


def managed_fields(item: Object | None) -> Sequence[Object]:
    """Return who wrote which fields of an object and when
    (https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management).
    """
    return sequence(metadata_of(item).get("managedFields"))


def is_leaving(item: Object | None) -> bool:
    """Tell whether an object is being deleted."""
    return bool(metadata_of(item).get("deletionTimestamp"))


def status_of(item: Object | None) -> Object:
    """Return what an object's controller tells of it."""
    return mapping((item or {}).get("status"))


def conditions_of(item: Object | None) -> Sequence[Mapping[str, str]]:
    """Return the conditions of an object's status."""
    return sequence(status_of(item).get("conditions"))


def condition(item: Object | None, kind: str) -> Mapping[str, str] | None:
    """Return an object's status condition of a type, such as `Ready`; None when it has none yet."""
    return next((found for found in conditions_of(item) if found.get("type") == kind), None)


def holds(item: Object | None, kind: str) -> bool:
    """Tell whether an object's status condition of a type is True."""
    return (condition(item, kind) or {}).get("status") == "True"


def entries_of(item: Object) -> list[str]:
    """Return the names that `imagePullSecrets` of a ServiceAccount or a Pod's specification lists, in order."""
    return [str(entry.get("name", "")) for entry in cast("Sequence[Object]", sequence(item.get("imagePullSecrets")))]
