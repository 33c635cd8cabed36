"""`add-image-pull-secrets`: adds the reference to a tenant's workload, and judges whether it is there."""

from collections.abc import Mapping
from typing import Any

from policies.crossguard import resource_policy
from pullsecrets.policy import workloads
from pullsecrets.policy.model import Resource, Settings, kubernetes_object


def _add(resource: Resource, settings: Settings, props: Mapping[str, Any]) -> bool:
    """Append the missing entries where they belong; what is there, and what is secret, stays as it is."""
    item = kubernetes_object(resource)
    missing = workloads.missing_references(item, settings, resource.namespace) if item else []
    if not item or not missing:
        return False
    pod: Any = props
    for part in workloads.pod_spec_of(item) or ():
        pod = pod[part]
    pod["imagePullSecrets"] = [*(pod.get("imagePullSecrets") or ()), *({"name": name} for name in missing)]
    return True


policy = resource_policy(workloads.REFERENCES, workloads.judge_references_resource, _add)
