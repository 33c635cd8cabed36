"""`disallow-silent-overwrites`: judges resources of guarded kinds and their provider."""

from policies.crossguard import resource_policy
from pullsecrets.policy import cluster_pull_secret

policy = resource_policy(cluster_pull_secret.OVERWRITES, cluster_pull_secret.judge_overwrites)
