"""Pack `workload-pull-secrets`: workloads of tenants refer to the pull Secret that they need."""

from policies.crossguard import Pack
from policies.workload_pull_secrets.add_image_pull_secrets import policy as add_image_pull_secrets
from policies.workload_pull_secrets.disallow_noncanonical_image_hosts import policy as disallow_noncanonical_image_hosts
from pullsecrets.policy import workloads

PACK = Pack(
    name="workload-pull-secrets",
    title="Workload pull Secrets",
    description="Adds the registry's pull Secret to workloads in tenant namespaces.",
    policies=(
        add_image_pull_secrets,
        disallow_noncanonical_image_hosts,
    ),
    infos=workloads.POLICIES,
)
