"""`disallow-cluster-pull-secret-writes`: judges every Kubernetes resource, whatever its kind."""

from policies.crossguard import resource_policy
from pullsecrets.policy import cluster_pull_secret

policy = resource_policy(cluster_pull_secret.WRITES, cluster_pull_secret.judge_resource_writes)
