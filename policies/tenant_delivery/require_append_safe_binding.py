"""`require-append-safe-binding`: judges ServiceAccounts and patches of them."""

from policies.crossguard import resource_policy
from pullsecrets.policy import delivery
from pullsecrets.policy.tenant_delivery import BINDING

policy = resource_policy(BINDING, delivery.judge_binding_resource)
