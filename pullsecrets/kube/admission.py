"""The API of admission policies, and in which version of it a cluster changes Pods at admission."""

from typing import Final

from pullsecrets.kube.client import KubernetesClient, served_kinds

GROUP: Final = "admissionregistration.k8s.io"

MUTATING_VERSIONS: Final = ("v1", "v1beta1")
"""Versions in which MutatingAdmissionPolicy says the same, the one to prefer first."""

MUTATING_SINCE: Final = (
    "Kubernetes 1.36, or 1.34 and 1.35 with the feature gate MutatingAdmissionPolicy and v1beta1 in the API server's "
    "runtime-config; OpenShift 4.21 and 4.22 with featureSet TechPreviewNoUpgrade, which rules out upgrades"
)
"""v1beta1 is off by default (https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/).
OpenShift enables it in that feature set alone (`FeatureGateMutatingAdmissionPolicy` in features/features.go of
https://github.com/openshift/api, release-4.21 and release-4.22; by default on its main branch); 4.20 has Kubernetes
1.33, which knows v1alpha1 only."""


def mutating_version(cluster: KubernetesClient) -> str | None:
    """Return the version in which a cluster serves MutatingAdmissionPolicy; None when it serves neither."""
    served = (v for v in MUTATING_VERSIONS if "MutatingAdmissionPolicy" in served_kinds(cluster, f"/apis/{GROUP}/{v}"))
    return next(served, None)
