"""Which Pods, workloads and ServiceAccounts name a Secret, for pulling or otherwise, and which images they pull."""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

from pullsecrets.config import Registry
from pullsecrets.image import any_from
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.objects import Object, collection, controller_of, entries_of, holds
from pullsecrets.kube.podspec import (
    CRON_JOB,
    DAEMON_SET,
    DEPLOYMENT,
    DEPLOYMENT_CONFIG,
    JOB,
    POD,
    REPLICA_SET,
    STATEFUL_SET,
    PodKind,
    containers_of,
    images_of,
)
from pullsecrets.workloads.pods import live_pods

_MAKERS = (DEPLOYMENT, STATEFUL_SET, DAEMON_SET, REPLICA_SET, JOB, CRON_JOB)
_OF_OPENSHIFT = (DEPLOYMENT_CONFIG, BUILD_CONFIG := PodKind("build.openshift.io/v1", "BuildConfig"))
"""Not served elsewhere. Between builds no Pod names what a BuildConfig pulls and pushes with."""
_SECRETS_OF_BUILDS = frozenset({"pushSecret", "pullSecret", "sourceSecret", "secret"})
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
        return any_from(self.images, registry.hosts)

    def names(self, secret: str) -> bool:
        """Tell whether a Secret would be missed here."""
        return secret in self.pulls_with or secret in self.reads


def list_users(cluster: KubernetesClient, namespace: str | None = None) -> list[User]:
    """Return what names Secrets in one namespace, or in all.

    What has finished, and what only repeats a template that is listed itself, is left out: a Job of a CronJob and a
    Deployment's ReplicaSet, but not their Pods, which keep the references that they were admitted with.
    """
    service_accounts = collection("v1", "ServiceAccount", namespace)
    with ThreadPoolExecutor(max_workers=4) as pool:
        pods = pool.submit(lambda: [_user(POD, item) for item in live_pods(cluster, namespace)])
        accounts = pool.submit(lambda: [_account(item) for item in cluster.items(service_accounts)])
        templates = [pool.submit(_read, cluster, kind, namespace) for kind in (*_MAKERS, *_OF_OPENSHIFT)]
        found = chain(pods.result(), *(future.result() for future in templates), accounts.result())
        return sorted(found, key=lambda user: (user.namespace, user.kind, user.name))


def _read(cluster: KubernetesClient, kind: PodKind, namespace: str | None) -> list[User]:
    # Anyone who may not list a kind is told 403 also where it is not served; which groups are served anybody may ask.
    if kind in _OF_OPENSHIFT and cluster.find(f"/apis/{kind.version}") is None:
        return []
    items = cluster.items(kind.collection(namespace))
    return [_build(item) for item in items] if kind is BUILD_CONFIG else list(_templates(kind, items))


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


def _templates(kind: PodKind, items: Iterable[Object]) -> Iterator[User]:
    repeated = {maker.kind for maker in _MAKERS}
    for item in items:
        finished = kind is JOB and any(holds(item, end) for end in _FINISHED_JOB)
        if (controller_of(item) or {}).get("kind") not in repeated and not finished:
            yield _user(kind, item)


def _account(item: Object) -> User:
    own = cast("list[Mapping[str, str]]", item.get("secrets") or [])
    metadata = item["metadata"]
    reads = tuple(entry.get("name", "") for entry in own)
    return User(metadata["namespace"], "ServiceAccount", metadata["name"], (), tuple(entries_of(item)), reads)


def _user(kind: PodKind, item: Object) -> User:
    metadata, spec = item["metadata"], kind.spec(item)
    return User(
        namespace=metadata["namespace"],
        kind=kind.kind,
        name=metadata["name"],
        images=images_of(spec),
        pulls_with=tuple(entries_of(spec)),
        reads=tuple(sorted({*_in_volumes(spec), *chain(*map(_in_environment, containers_of(spec)))})),
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
