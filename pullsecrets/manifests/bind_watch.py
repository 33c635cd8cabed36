"""The Deployment that appends pull Secrets to ServiceAccounts as they appear: `pull-secrets bind --watch`."""

import hashlib
import json

from pullsecrets.kube.marks import STANDARD_LABELS
from pullsecrets.kube.objects import KubernetesObject
from pullsecrets.manifests.command_pod import STACK_FOLDER, CommandPod, account_objects, template
from pullsecrets.manifests.monitoring import MonitoringSpec
from pullsecrets.manifests.rbac import binder_roles

FILES_ANNOTATION = "apps.platform/stack-files"
"""Digest of the stack's files, so that a change of tenants starts the Pod anew."""


def objects(spec: MonitoringSpec) -> list[KubernetesObject]:
    """Return everything that it has in the cluster, in the order in which it is needed."""
    rights = binder_roles(spec.binder, spec.bound_accounts or (), spec.binder.name)
    return [*account_objects(spec.binder, rights), _deployment(spec)]


def _deployment(spec: MonitoringSpec) -> KubernetesObject:
    words = ["pull-secrets", "bind", "--stack", spec.stack, "--directory", STACK_FOLDER, "--watch"]
    pod = CommandPod(
        spec.binder.name, "bind", spec.image, spec.image_pull_secret, words, spec.config_map, restart="Always"
    )
    made = template(pod)
    digest = hashlib.sha256(json.dumps(dict(spec.files), sort_keys=True).encode()).hexdigest()[:16]
    made["metadata"]["annotations"] = {FILES_ANNOTATION: digest}
    # Each append is one request: there is nothing to finish.
    made["spec"]["terminationGracePeriodSeconds"] = 1
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": spec.binder.name, "namespace": spec.namespace, "labels": dict(STANDARD_LABELS)},
        "spec": {
            "replicas": 1,
            # Two at a time would do no harm, and no good.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app.kubernetes.io/instance": spec.binder.name}},
            "template": made,
        },
    }
