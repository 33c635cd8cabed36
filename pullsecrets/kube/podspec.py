"""Where each kind keeps the specification of its Pods, and what stands in one: containers and their images."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pullsecrets.data import Path, Values, dig, dig_all, mapping, sequence
from pullsecrets.kube.objects import Object, collection, group_of, kind_of

_TEMPLATE: Final[Path] = ("spec", "template", "spec")
_CONTAINERS: Final = ("initContainers", "containers", "ephemeralContainers")


@dataclass(frozen=True)
class PodKind:
    """A kind that is a Pod, or from which Pods are made."""

    version: str
    """Its `apiVersion`."""
    kind: str
    path: Path = _TEMPLATE
    """Where the specification of its Pods stands."""

    def collection(self, namespace: str | None = None) -> str:
        """Return where the API server lists its objects, of one namespace or of all."""
        return collection(self.version, self.kind, namespace)

    def spec(self, item: Object) -> Values:
        """Return the specification in an object that was read; a ReplicationController may have none."""
        return mapping(dig(item, self.path))


POD: Final = PodKind("v1", "Pod", ("spec",))
DEPLOYMENT: Final = PodKind("apps/v1", "Deployment")
STATEFUL_SET: Final = PodKind("apps/v1", "StatefulSet")
DAEMON_SET: Final = PodKind("apps/v1", "DaemonSet")
REPLICA_SET: Final = PodKind("apps/v1", "ReplicaSet")
JOB: Final = PodKind("batch/v1", "Job")
CRON_JOB: Final = PodKind("batch/v1", "CronJob", ("spec", "jobTemplate", *_TEMPLATE))
REPLICATION_CONTROLLER: Final = PodKind("v1", "ReplicationController")
DEPLOYMENT_CONFIG: Final = PodKind("apps.openshift.io/v1", "DeploymentConfig")

POD_KINDS: Final = (
    POD,
    DEPLOYMENT,
    STATEFUL_SET,
    DAEMON_SET,
    REPLICA_SET,
    JOB,
    CRON_JOB,
    REPLICATION_CONTROLLER,
    DEPLOYMENT_CONFIG,
)
"""The one list: a kind that is added here is judged, checked and moved like the others."""

_PATHS: Final[Mapping[tuple[str, str], Path]] = {
    (group_of({"apiVersion": known.version}), known.kind): known.path for known in POD_KINDS
}


def pod_path(item: Values) -> Path | None:
    """Return where an object of any version keeps the specification of its Pods, None for what has none."""
    return _PATHS.get((group_of(item), kind_of(item)))


def containers_of(spec: Values) -> list[Object]:
    """Return the containers of every sort in a Pod's specification."""
    return [item for sort in _CONTAINERS for item in sequence(spec.get(sort))]


def images_of(spec: Values) -> tuple[str, ...]:
    """Return the images that a Pod's specification names."""
    return tuple(item["image"] for item in containers_of(spec) if item.get("image"))


def images_at(item: Values, pod: Path) -> Iterator[tuple[Path, str]]:
    """Yield the images of an object's containers of every sort, and where each stands."""
    for sort in _CONTAINERS:
        for path, image in dig_all(item, (*pod, sort, "*", "image")):
            if isinstance(image, str):
                yield path, image


def template_of(item: Object) -> Any:
    """Return the Pod template of a Deployment and its like, whose metadata the Pods get."""
    return mapping(dig(item, _TEMPLATE[:-1]))
