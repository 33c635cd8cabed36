"""Which Pods, workloads and ServiceAccounts name a Secret, for pulling or otherwise, and which images they pull."""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

from pullsecrets.config import Registry
from pullsecrets.image import image_host
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.objects import entries_of
from pullsecrets.kube.ownership import controller_of

Object = dict[str, Any]

_TEMPLATES = {
    "Deployment": "/apis/apps/v1{scope}/deployments",
    "StatefulSet": "/apis/apps/v1{scope}/statefulsets",
    "DaemonSet": "/apis/apps/v1{scope}/daemonsets",
    "ReplicaSet": "/apis/apps/v1{scope}/replicasets",
    "Job": "/apis/batch/v1{scope}/jobs",
    "CronJob": "/apis/batch/v1{scope}/cronjobs",
}
_OF_OPENSHIFT = {
    "DeploymentConfig": "/apis/apps.openshift.io/v1{scope}/deploymentconfigs",
    "BuildConfig": "/apis/build.openshift.io/v1{scope}/buildconfigs",
}
"""Not served elsewhere. Between builds no Pod names what a BuildConfig pulls and pushes with."""
_SECRETS_OF_BUILDS = frozenset({"pushSecret", "pullSecret", "sourceSecret", "secret"})
_FINISHED_PODS = frozenset({"Succeeded", "Failed"})
_FINISHED_JOB = frozenset({"Complete", "Failed"})


@dataclass(frozen=True)
class User:
    """Something that names Secrets or pulls images: a Pod, a workload with a Pod template, or a ServiceAccount."""

    namespace: str
    kind: str
    name: str
    images: tuple[str, ...] = ()
    pulls_with: tuple[str, ...] = ()
    """Names in `imagePullSecrets`."""
    reads: tuple[str, ...] = ()
    """Secrets in volumes and environment, and those that a ServiceAccount lists as its own."""

    def __str__(self) -> str:
        """Return how a person would name it."""
        return f"{self.kind} {self.name}"

    def pulls_from(self, registry: Registry) -> bool:
        """Tell whether one of the images comes from a canonical host of the registry."""
        return any(image_host(image) in registry.hosts for image in self.images)

    def names(self, secret: str) -> bool:
        """Tell whether a Secret would be missed here."""
        return secret in self.pulls_with or secret in self.reads


def list_users(cluster: KubernetesClient, namespace: str | None = None) -> list[User]:
    """Return what names Secrets in one namespace, or in all.

    What has finished, and what only repeats a template that is listed itself, is left out: a Job of a CronJob and a
    Deployment's ReplicaSet, but not their Pods, which keep the references that they were admitted with.
    """
    scope = f"/namespaces/{namespace}" if namespace else ""
    with ThreadPoolExecutor(max_workers=4) as pool:
        pods = pool.submit(lambda: list(_pods(cluster.items(f"/api/v1{scope}/pods"))))
        accounts = pool.submit(lambda: [_account(item) for item in cluster.items(f"/api/v1{scope}/serviceaccounts")])
        templates = [
            pool.submit(_read_templates, cluster, kind, path.format(scope=scope))
            for kind, path in {**_TEMPLATES, **_OF_OPENSHIFT}.items()
        ]
        found = chain(pods.result(), *(future.result() for future in templates), accounts.result())
        return sorted(found, key=lambda user: (user.namespace, user.kind, user.name))


def _pods(items: Iterable[Object]) -> Iterator[User]:
    for item in items:
        status = cast("Object", item.get("status") or {})
        if status.get("phase") not in _FINISHED_PODS and not item["metadata"].get("deletionTimestamp"):
            yield _user("Pod", item["metadata"], item["spec"])


def _read_templates(cluster: KubernetesClient, kind: str, path: str) -> list[User]:
    # Whoever may not list a kind is told 403 also where it is not served; which groups are served anybody may ask.
    if kind in _OF_OPENSHIFT and cluster.find("/".join(path.split("/")[:4])) is None:
        return []
    items = cluster.items(path)
    return [_build(item) for item in items] if kind == "BuildConfig" else list(_templates(kind, items))


def _build(item: Object) -> User:
    """Return what a BuildConfig pulls and which Secrets it names
    (https://docs.openshift.com/container-platform/latest/rest_api/workloads_apis/buildconfig-build-openshift-io-v1.html).
    """
    inside = list(_fields(item["spec"]))
    return User(
        namespace=item["metadata"]["namespace"],
        kind="BuildConfig",
        name=item["metadata"]["name"],
        images=tuple(value["name"] for _, value in inside if value.get("kind") == "DockerImage" and value.get("name")),
        reads=tuple(
            sorted({str(value["name"]) for key, value in inside if key in _SECRETS_OF_BUILDS and "name" in value})
        ),
    )


def _fields(value: Any) -> Iterator[tuple[str, Object]]:
    """Yield each object inside a value and the key that it stands under."""
    if isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _fields(item)
    elif isinstance(value, dict):
        for key, inner in cast("Object", value).items():
            if isinstance(inner, dict):
                yield key, cast("Object", inner)
            yield from _fields(inner)


def _templates(kind: str, items: Iterable[Object]) -> Iterator[User]:
    for item in items:
        owner = controller_of(item["metadata"])
        if owner and owner["kind"] in _TEMPLATES:
            continue
        if kind == "Job" and _finished(item):
            continue
        spec = item["spec"]["jobTemplate"]["spec"] if kind == "CronJob" else item["spec"]
        yield _user(kind, item["metadata"], spec["template"]["spec"])


def _finished(item: Object) -> bool:
    conditions = cast("list[Mapping[str, str]]", cast("Object", item.get("status") or {}).get("conditions") or [])
    return any(condition["type"] in _FINISHED_JOB and condition["status"] == "True" for condition in conditions)


def _account(item: Object) -> User:
    own = cast("list[Mapping[str, str]]", item.get("secrets") or [])
    metadata = item["metadata"]
    reads = tuple(entry.get("name", "") for entry in own)
    return User(metadata["namespace"], "ServiceAccount", metadata["name"], (), tuple(entries_of(item)), reads)


def _user(kind: str, metadata: Object, spec: Object) -> User:
    kinds = ("initContainers", "containers", "ephemeralContainers")
    containers = cast("list[Object]", [item for key in kinds for item in spec.get(key) or ()])
    return User(
        namespace=metadata["namespace"],
        kind=kind,
        name=metadata["name"],
        images=tuple(item["image"] for item in containers if item.get("image")),
        pulls_with=tuple(entry.get("name", "") for entry in spec.get("imagePullSecrets") or ()),
        reads=tuple(sorted({*_in_volumes(spec), *chain(*map(_in_environment, containers))})),
    )


def _in_volumes(spec: Object) -> Iterator[str]:
    for volume in cast("list[Object]", spec.get("volumes") or []):
        if "secret" in volume:
            yield volume["secret"].get("secretName", "")
        for source in cast("list[Object]", volume.get("projected", {}).get("sources") or []):
            if "secret" in source:
                yield source["secret"].get("name", "")


def _in_environment(container: Object) -> Iterator[str]:
    for variable in cast("list[Object]", container.get("env") or []):
        reference = cast("Object | None", variable.get("valueFrom", {}).get("secretKeyRef"))
        if reference:
            yield reference.get("name", "")
    for source in cast("list[Object]", container.get("envFrom") or []):
        if source.get("secretRef"):
            yield source["secretRef"].get("name", "")
