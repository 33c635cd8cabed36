"""`require-complete-delivery`: judges the stack as a whole."""

from policies.crossguard import stack_policy
from pullsecrets.policy import complete_delivery
from pullsecrets.policy.tenant_delivery import COMPLETE

policy = stack_policy(COMPLETE, complete_delivery.judge_stack)
