"""`restrict-opt-in-labels`: judges namespaces and patches of namespaces."""

from policies.crossguard import resource_policy
from pullsecrets.rules import delivery
from pullsecrets.rules.tenant_delivery import OPT_IN

policy = resource_policy(OPT_IN, delivery.judge_opt_in_resource)
