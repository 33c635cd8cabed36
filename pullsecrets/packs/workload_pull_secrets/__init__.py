"""Pack `workload-pull-secrets`: workloads of tenants refer to the pull Secret that they need."""

from pullsecrets.packs.crossguard import Pack, resource_policy
from pullsecrets.policy import workloads
from pullsecrets.policy.model import of_every_object

PACK = Pack(
    name="workload-pull-secrets",
    title="Workload pull Secrets",
    description="Adds the registry's pull Secret to workloads in tenant namespaces.",
    policies=(
        resource_policy(workloads.REFERENCES, workloads.judge_references_resource, workloads.add_references),
        resource_policy(workloads.HOSTS, of_every_object(workloads.judge_hosts)),
        resource_policy(workloads.SIMILAR_HOSTS, of_every_object(workloads.judge_similar_hosts)),
    ),
)
