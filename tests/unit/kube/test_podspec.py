"""Each kind's Pods are found where its CRD has them, with every image that they pull."""

from typing import Any

import pytest
import yaml

from pullsecrets.data import shown
from pullsecrets.kube.podspec import PodKind, pod_specs, pod_table

POD = "{containers: [{image: a}], initContainers: [{image: b}]}"


def found(kind: str, spec: str, *extra: PodKind) -> dict[str, list[str]]:
    item: dict[str, Any] = {"apiVersion": kind.rpartition("/")[0], "kind": kind.rpartition("/")[2]}
    item["spec"] = yaml.safe_load(spec)
    return {
        shown(pod.path): sorted(image for _, image in pod.images(item))
        for pod in pod_specs(item, pod_table(extra))
        if list(pod.images(item))
    }


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        ("v1/Pod", POD, {"spec": ["a", "b"]}),
        ("apps/v1/Deployment", f"{{template: {{spec: {POD}}}}}", {"spec.template.spec": ["a", "b"]}),
        ("apps/v1beta2/Deployment", f"{{template: {{spec: {POD}}}}}", {"spec.template.spec": ["a", "b"]}),
        ("batch/v1/CronJob", f"{{jobTemplate: {{spec: {{template: {{spec: {POD}}}}}}}}}",
         {"spec.jobTemplate.spec.template.spec": ["a", "b"]}),
        ("argoproj.io/v1alpha1/Rollout", f"{{template: {{spec: {POD}}}}}", {"spec.template.spec": ["a", "b"]}),
        ("argoproj.io/v1alpha1/Rollout", "{workloadRef: {name: shop}}", {}),
        ("apps.openshift.io/v1/DeploymentConfig", f"{{template: {{spec: {POD}}}}}", {"spec.template.spec": ["a", "b"]}),
        ("serving.knative.dev/v1/Service", f"{{template: {{spec: {POD}}}}}", {"spec.template.spec": ["a", "b"]}),
        ("v1/Service", f"{{template: {{spec: {POD}}}}}", {}),
        ("keda.sh/v1alpha1/ScaledJob", f"{{jobTargetRef: {{template: {{spec: {POD}}}}}}}",
         {"spec.jobTargetRef.template.spec": ["a", "b"]}),
        ("argoproj.io/v1alpha1/WorkflowTemplate",
         "{templates: [{container: {image: a}, sidecars: [{image: b}]}, {script: {image: c}}, {dag: {}}]}",
         {"spec": ["a", "b", "c"]}),
        ("argoproj.io/v1alpha1/CronWorkflow",
         "{workflowSpec: {templates: [{containerSet: {containers: [{image: a}]}}]}}",
         {"spec.workflowSpec": ["a"]}),
        ("tekton.dev/v1/PipelineRun", "{pipelineSpec: {tasks: [{taskSpec: {steps: [{image: a}]}}]}}",
         {"spec.taskRunTemplate.podTemplate": ["a"]}),
        ("tekton.dev/v1/TaskRun", "{taskSpec: {steps: [{image: a}, {image: b}]}}", {"spec.podTemplate": ["a", "b"]}),
        ("serving.kserve.io/v1beta1/InferenceService",
         "{predictor: {model: {image: a}}, transformer: {containers: [{image: b}]}}",
         {"spec.predictor": ["a"], "spec.transformer": ["b"]}),
        ("kafka.strimzi.io/v1beta2/Kafka", "{kafka: {image: a}, zookeeper: {}}", {"spec.kafka.template.pod": ["a"]}),
        ("kafka.strimzi.io/v1beta2/KafkaConnect", "{image: a}", {"spec.template.pod": ["a"]}),
        ("monitoring.coreos.com/v1/Prometheus", "{image: a, containers: [{image: b}]}", {"spec": ["a", "b"]}),
        ("kubeflow.org/v1/PyTorchJob", f"{{pytorchReplicaSpecs: {{Worker: {{template: {{spec: {POD}}}}}}}}}",
         {"spec.pytorchReplicaSpecs.Worker.template.spec": ["a", "b"]}),
        ("ray.io/v1/RayCluster",
         f"{{headGroupSpec: {{template: {{spec: {POD}}}}}, workerGroupSpecs: [{{template: {{spec: {POD}}}}}]}}",
         {"spec.headGroupSpec.template.spec": ["a", "b"], "spec.workerGroupSpecs[0].template.spec": ["a", "b"]}),
    ],
)  # fmt: skip
def test_the_pods_of_a_kind(kind: str, spec: str, expected: dict[str, list[str]]) -> None:
    assert found(kind, spec) == expected


def test_a_kind_of_ones_own() -> None:
    own = PodKind("example.com/any", "Widget", ("spec", "pods", "*"), (("spec", "image"),))
    assert found("example.com/v1/Widget", f"{{image: c, pods: [{POD}]}}", own) == {"spec.pods[0]": ["a", "b", "c"]}
    assert found("example.com/v1/Widget", f"{{image: c, pods: [{POD}]}}") == {}
