"""The Deployment that appends pull Secrets to ServiceAccounts as they appear: `pull-secrets bind --watch`."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pullsecrets.config.model import StackConfig
from pullsecrets.kube.marks import STANDARD_LABELS
from pullsecrets.kube.objects import KubernetesObject
from pullsecrets.manifests import audit_job
from pullsecrets.manifests.audit_job import AuditJobSpec
from pullsecrets.manifests.command_pod import STACK_FOLDER, CommandPod, template
from pullsecrets.manifests.rbac import ServiceAccount, binder_roles

FILES_ANNOTATION = "apps.platform/stack-files"
"""Digest of the stack's files, so that a change of tenants starts the Pod anew."""


@dataclass(frozen=True)
class BindWatchSpec:
    """What the Deployment is made of; arguments of the `PullSecretMonitoring` component."""

    name: str
    namespace: str
    stack: str
    accounts: Sequence[str]
    """Names of the ServiceAccounts that it may change, in whatever namespace they are."""
    files: Mapping[str, str]
    stack_files: str
    """ConfigMap with these files, which the daily validation reads too."""
    image: str
    image_pull_secret: str | None = None

    @classmethod
    def of(cls, config: StackConfig, stack: str) -> Self:
        """Take the values from a stack's configuration that has `monitoring.bindWatch` on."""
        audit, account = AuditJobSpec.of(config, stack), audit_job.account(config, "bind")
        names = {name for tenant in config.resolve_tenants() for name in tenant.service_accounts}
        return cls(
            name=account.name,
            namespace=account.namespace,
            stack=stack,
            accounts=sorted(names),
            files=audit.files,
            stack_files=audit.stack_files,
            image=audit.image,
            image_pull_secret=audit.image_pull_secret,
        )


def objects(spec: BindWatchSpec) -> list[KubernetesObject]:
    """Return everything that it has in the cluster, in the order in which it is needed."""
    metadata = {"name": spec.name, "namespace": spec.namespace, "labels": dict(STANDARD_LABELS)}
    account: KubernetesObject = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    role, binding = binder_roles(ServiceAccount(spec.namespace, spec.name), spec.accounts, spec.name)
    labelled = [{**item, "metadata": {**item["metadata"], "labels": dict(STANDARD_LABELS)}} for item in (role, binding)]
    return [{**account, "automountServiceAccountToken": False}, *labelled, _deployment(spec, metadata)]


def _deployment(spec: BindWatchSpec, metadata: Mapping[str, Any]) -> KubernetesObject:
    words = ["pull-secrets", "bind", "--stack", spec.stack, "--directory", STACK_FOLDER, "--watch"]
    pod = CommandPod(spec.name, "bind", spec.image, spec.image_pull_secret, words, spec.stack_files, restart="Always")
    made = template(pod)
    digest = hashlib.sha256(json.dumps(dict(spec.files), sort_keys=True).encode()).hexdigest()[:16]
    made["metadata"]["annotations"] = {FILES_ANNOTATION: digest}
    # Each append is one request: there is nothing to finish.
    made["spec"]["terminationGracePeriodSeconds"] = 1
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": dict(metadata),
        "spec": {
            "replicas": 1,
            # Two at a time would do no harm, and no good.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app.kubernetes.io/instance": spec.name}},
            "template": made,
        },
    }
