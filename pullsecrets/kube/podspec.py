"""Where each kind keeps the specification of its Pods, and what it contains: containers and their images."""

from collections.abc import Iterable, Iterator, Mapping
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
    """Where the specification of its Pods stands, or what has the list of pull Secrets; `*` is each item of a list."""
    images: tuple[Path, ...] = ()
    """Where images stand that are not those of containers in it, such as of a field of the operator's own."""

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

_RAY: Final = (("headGroupSpec", *_TEMPLATE[1:]), ("workerGroupSpecs", "*", *_TEMPLATE[1:]))
_STEPS: Final[Path] = ("steps", "*", "image")


def _workflow(kind: str, *spec: str) -> PodKind:
    places: tuple[Path, ...] = (
        ("container", "image"),
        ("script", "image"),
        ("initContainers", "*", "image"),
        ("sidecars", "*", "image"),
        ("containerSet", "containers", "*", "image"),
    )
    images = tuple((*spec, "templates", "*", *place) for place in places)
    return PodKind("argoproj.io/v1alpha1", kind, spec, images)


def _strimzi(kind: str, *component: str) -> PodKind:
    holder = ("spec", *component)
    return PodKind("kafka.strimzi.io/v1beta2", kind, (*holder, "template", "pod"), ((*holder, "image"),))


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
    PodKind("argoproj.io/v1alpha1", "Rollout"),
    PodKind("argoproj.io/v1alpha1", "Experiment", ("spec", "templates", "*", "template", "spec")),
    *(
        PodKind("argoproj.io/v1alpha1", kind, ("spec", "metrics", "*", "provider", "job", *_TEMPLATE))
        for kind in ("AnalysisRun", "AnalysisTemplate", "ClusterAnalysisTemplate")
    ),
    *(_workflow(kind, "spec") for kind in ("ClusterWorkflowTemplate", "Workflow", "WorkflowTemplate")),
    _workflow("CronWorkflow", "spec", "workflowSpec"),
    PodKind("serving.knative.dev/v1", "Configuration"),
    PodKind("serving.knative.dev/v1", "Revision", ("spec",)),
    PodKind("serving.knative.dev/v1", "Service"),
    PodKind("keda.sh/v1alpha1", "ScaledJob", ("spec", "jobTargetRef", "template", "spec")),
    *(
        PodKind(
            "serving.kserve.io/v1beta1",
            "InferenceService",
            ("spec", component),
            (("spec", component, "model", "image"), ("spec", component, "custom", "container", "image")),
        )
        for component in ("explainer", "predictor", "transformer")
    ),
    *(PodKind("serving.kserve.io/v1alpha1", kind, ("spec",)) for kind in ("ClusterServingRuntime", "ServingRuntime")),
    PodKind(
        "tekton.dev/v1",
        "PipelineRun",
        ("spec", "taskRunTemplate", "podTemplate"),
        tuple(("spec", "pipelineSpec", part, "*", "taskSpec", *_STEPS) for part in ("tasks", "finally")),
    ),
    PodKind("tekton.dev/v1", "TaskRun", ("spec", "podTemplate"), (("spec", "taskSpec", *_STEPS),)),
    *(_strimzi("Kafka", component) for component in ("kafka", "zookeeper", "kafkaExporter", "cruiseControl")),
    *(_strimzi(kind) for kind in ("KafkaBridge", "KafkaConnect", "KafkaMirrorMaker2", "KafkaNodePool")),
    *(
        PodKind("monitoring.coreos.com/v1", kind, ("spec",), (("spec", "image"),))
        for kind in ("Alertmanager", "Prometheus", "ThanosRuler")
    ),
    *(
        PodKind("kubeflow.org/v1", kind, ("spec", replicas, "*", *_TEMPLATE[1:]))
        for kind, replicas in (
            ("JAXJob", "jaxReplicaSpecs"),
            ("MPIJob", "mpiReplicaSpecs"),
            ("PaddleJob", "paddleReplicaSpecs"),
            ("PyTorchJob", "pytorchReplicaSpecs"),
            ("TFJob", "tfReplicaSpecs"),
            ("XGBoostJob", "xgbReplicaSpecs"),
        )
    ),
    PodKind("kubeflow.org/v1", "Notebook"),
    *(PodKind("ray.io/v1", "RayCluster", ("spec", *path)) for path in _RAY),
    *(PodKind("ray.io/v1", "RayJob", ("spec", "rayClusterSpec", *path)) for path in _RAY),
    PodKind("ray.io/v1", "RayJob", ("spec", "submitterPodTemplate", "spec")),
    *(PodKind("ray.io/v1", "RayService", ("spec", "rayClusterConfig", *path)) for path in _RAY),
)
"""The one list: a kind that is added here is judged, checked and moved like the others.

Fields of built-in kinds are those of the Kubernetes API; of others those of the CRDs of Argo Rollouts, Knative Serving,
KServe, Tekton, the Prometheus operator, Kubeflow's training operator and KubeRay, and of
https://argo-workflows.readthedocs.io/en/latest/fields/, https://keda.sh/docs/latest/reference/scaledjob-spec/ and
https://strimzi.io/docs/operators/latest/configuring.html#type-PodTemplate-reference. Tekton's Tasks and Pipelines, and
what has only names (SparkApplication), have no such list: their ServiceAccount gives the reference.
"""

PodTable = Mapping[tuple[str, str], tuple[PodKind, ...]]


def pod_table(kinds: Iterable[PodKind] = ()) -> PodTable:
    """Return the known kinds and some more by group and kind, in any version."""
    found: dict[tuple[str, str], tuple[PodKind, ...]] = {}
    for known in (*POD_KINDS, *kinds):
        key = (group_of({"apiVersion": known.version}), known.kind)
        found[key] = (*found.get(key, ()), known)
    return found


KNOWN: Final = pod_table()


@dataclass(frozen=True)
class PodSpec:
    """Where an object keeps the specification of some of its Pods."""

    path: Path
    of: PodKind

    def images(self, item: Values) -> Iterator[tuple[Path, str]]:
        """Yield the images that these Pods pull, and where each stands."""
        pod = dig(item, self.path)
        inside = ((self.path, found) for sort in _CONTAINERS for found in dig_all(pod, (sort, "*", "image")))
        beside = (((), found) for place in self.of.images for found in dig_all(item, place))
        for start, (path, image) in (*inside, *beside):
            if isinstance(image, str):
                yield (*start, *path), image


def pod_specs(item: Values, table: PodTable = KNOWN) -> list[PodSpec]:
    """Return where an object of any version keeps the specifications of its Pods; none for what has none."""
    found: list[PodSpec] = []
    for known in table.get((group_of(item), kind_of(item)), ()):
        # What need not be there can be added; of a list only the items that are there count.
        places = [path for path, _ in dig_all(item, known.path)] if "*" in known.path else [known.path]
        found += [PodSpec(path, known) for path in places]
    return found


def containers_of(spec: Values) -> list[Object]:
    """Return the containers of every sort in a Pod's specification."""
    return [item for sort in _CONTAINERS for item in sequence(spec.get(sort))]


def images_of(spec: Values) -> tuple[str, ...]:
    """Return the images that a Pod's specification names."""
    return tuple(item["image"] for item in containers_of(spec) if item.get("image"))


def template_of(item: Object) -> Any:
    """Return the Pod template of a Deployment and its like, whose metadata the Pods get."""
    return mapping(dig(item, _TEMPLATE[:-1]))
