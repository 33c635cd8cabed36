"""What ESO makes in namespaces, as ESO 0.20.4 leaves it: an ExternalSecret with its status, and its Secret."""

from collections.abc import Mapping
from typing import Any

from pullsecrets.kube.eso import external_secret_path
from pullsecrets.kube.marks import CONTENT_DIGEST_ANNOTATION, MANAGED_LABEL
from pullsecrets.kube.objects import secret_path
from pullsecrets.kube.ownership import field_manager
from tests.unit.cluster import FakeCluster

Object = dict[str, Any]
UID = "3f2b8c1e-0000-4000-8000-000000000001"
WRITTEN, REFRESHED, LATER = "2026-01-01T10:00:00Z", "2026-01-01T10:00:00Z", "2026-01-01T11:00:00Z"


def owner(kind: str, name: str, uid: str = UID) -> Object:
    """An owner reference as ESO writes it."""
    return {"apiVersion": "external-secrets.io/v1", "kind": kind, "name": name, "uid": uid, "controller": True}


def external_secret(
    namespace: str, name: str = "app", status: str = "True", message: str = "secret synced", refreshed: str = REFRESHED
) -> Object:
    """The ExternalSecret that a ClusterExternalSecret made."""
    return {
        "metadata": {
            "namespace": namespace,
            "name": name,
            "uid": UID,
            "ownerReferences": [owner("ClusterExternalSecret", name)],
        },
        "status": {
            "conditions": [{"type": "Ready", "status": status, "message": message}],
            "refreshTime": refreshed,
        },
    }


def written(manager: str, time: str = WRITTEN, *, digest: bool = False, **fields: Object) -> Object:
    """An entry of managedFields: who wrote which fields last."""
    annotations = {"f:metadata": {"f:annotations": {f"f:{CONTENT_DIGEST_ANNOTATION}": {}}}} if digest else {}
    named = {f"f:{field}": content for field, content in fields.items()}
    return {"manager": manager, "operation": "Update", "time": time, "fieldsV1": {**named, **annotations}}


DATA: Object = {".": {}, "f:.dockerconfigjson": {}}


def secret(namespace: str, digest: str | None, name: str = "app", *others: Object) -> Object:
    """The metadata of the Secret that ESO wrote, and what others wrote into it since."""
    return {
        "metadata": {
            "namespace": namespace,
            "name": name,
            "uid": f"secret-{namespace}",
            "resourceVersion": "8",
            "creationTimestamp": WRITTEN,
            "labels": {MANAGED_LABEL: "true"},
            "annotations": {CONTENT_DIGEST_ANNOTATION: digest} if digest else {},
            "ownerReferences": [owner("ExternalSecret", name)],
            "managedFields": [written(field_manager(name), digest=True, data=DATA), *others],
        },
        "type": "kubernetes.io/dockerconfigjson",
    }


def namespace(name: str, **metadata: str) -> Object:
    """A namespace that receives the registry's Secret."""
    return {"metadata": {"name": name, "labels": {"apps.platform/tenant": "true"}, **metadata}}


def cluster(digests: Mapping[str, str | None], **statuses: str) -> FakeCluster:
    """A cluster of opted-in namespaces with the ExternalSecret in each, and the Secret where its digest is given.

    Args:
        digests: by namespace.
        statuses: by namespace, whether the ExternalSecret is Ready where it is not.
    """
    found = FakeCluster()
    for name, digest in digests.items():
        found.objects[f"/api/v1/namespaces/{name}"] = namespace(name)
        found.objects[external_secret_path(name, "app")] = external_secret(name, status=statuses.get(name, "True"))
        if digest is not None:
            found.objects[secret_path(name, "app")] = secret(name, digest)
    return found
