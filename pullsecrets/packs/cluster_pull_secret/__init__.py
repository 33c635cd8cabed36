"""Pack `cluster-pull-secret`: nothing that Pulumi declares writes the cluster pull-secret."""

from pullsecrets.packs.crossguard import Pack, ResourcePolicy
from pullsecrets.policy import cluster_pull_secret as rules
from pullsecrets.policy.model import is_object

PACK = Pack(
    name="cluster-pull-secret",
    title="Cluster pull-secret",
    description="Keeps the cluster pull-secret out of reach of every Pulumi program that loads the pack.",
    policies=(
        ResourcePolicy(rules.WRITES, rules.judge_resource_writes, concerns=is_object),
        ResourcePolicy(rules.MENTIONS, rules.judge_resource_mentions),
        ResourcePolicy(rules.OVERWRITES, rules.judge_overwrites, concerns=is_object),
        ResourcePolicy(rules.UNJUDGED, rules.judge_unjudged),
    ),
)
