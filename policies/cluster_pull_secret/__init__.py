"""Pack `cluster-pull-secret`: nothing that Pulumi declares writes the cluster pull-secret."""

from policies.cluster_pull_secret.disallow_cluster_pull_secret_writes import (
    policy as disallow_cluster_pull_secret_writes,
)
from policies.cluster_pull_secret.disallow_silent_overwrites import policy as disallow_silent_overwrites
from policies.cluster_pull_secret.disallow_unjudged_writers import policy as disallow_unjudged_writers
from policies.crossguard import Pack
from pullsecrets.policy import cluster_pull_secret

PACK = Pack(
    name="cluster-pull-secret",
    title="Cluster pull-secret",
    description="Keeps the cluster pull-secret out of reach of every Pulumi program that loads the pack.",
    policies=(
        disallow_cluster_pull_secret_writes,
        disallow_silent_overwrites,
        disallow_unjudged_writers,
    ),
    infos=cluster_pull_secret.POLICIES,
)
