"""`restrict-opt-in-labels`: judges namespaces and patches of namespaces."""

from policies.crossguard import resource_policy
from pullsecrets.policy import delivery
from pullsecrets.policy.tenant_delivery import OPT_IN

policy = resource_policy(OPT_IN, delivery.judge_opt_in_resource)
