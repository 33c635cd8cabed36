"""Pack `cluster-pull-secret`: nothing that Pulumi declares writes the cluster pull-secret."""

from pullsecrets.packs.crossguard import Pack, resource_policy
from pullsecrets.policy import cluster_pull_secret as rules

PACK = Pack(
    name="cluster-pull-secret",
    title="Cluster pull-secret",
    description="Keeps the cluster pull-secret out of reach of every Pulumi program that loads the pack.",
    policies=(
        resource_policy(rules.WRITES, rules.judge_resource_writes),
        resource_policy(rules.MENTIONS, rules.judge_resource_mentions),
        resource_policy(rules.OVERWRITES, rules.judge_overwrites),
        resource_policy(rules.UNJUDGED, rules.judge_unjudged),
    ),
)
