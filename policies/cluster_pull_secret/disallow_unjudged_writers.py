"""`disallow-unjudged-writers`: judges Helm releases, commands and whatever else hides what it writes."""

from policies.crossguard import resource_policy
from pullsecrets.policy import cluster_pull_secret

policy = resource_policy(cluster_pull_secret.UNJUDGED, cluster_pull_secret.judge_unjudged)
