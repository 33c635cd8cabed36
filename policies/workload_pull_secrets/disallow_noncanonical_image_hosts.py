"""`disallow-noncanonical-image-hosts`: judges the images of workloads."""

from policies.crossguard import resource_policy
from pullsecrets.policy import workloads

policy = resource_policy(workloads.HOSTS, workloads.judge_hosts_resource)
