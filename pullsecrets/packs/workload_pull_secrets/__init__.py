"""Pack `workload-pull-secrets`: workloads of tenants refer to the pull Secret that they need."""

from pullsecrets.packs.crossguard import Pack, ResourcePolicy
from pullsecrets.policy import workloads
from pullsecrets.policy.model import is_object, of_every_object

PACK = Pack(
    name="workload-pull-secrets",
    title="Workload pull Secrets",
    description="Adds the registry's pull Secret to workloads in tenant namespaces.",
    policies=(
        ResourcePolicy(
            workloads.REFERENCES, workloads.judge_references_resource, workloads.add_references, concerns=is_object
        ),
        ResourcePolicy(workloads.HOSTS, of_every_object(workloads.judge_hosts), concerns=is_object),
        ResourcePolicy(workloads.SIMILAR_HOSTS, of_every_object(workloads.judge_similar_hosts), concerns=is_object),
    ),
)
