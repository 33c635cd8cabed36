"""`require-append-safe-binding`: judges ServiceAccounts and patches of them."""

from policies.crossguard import resource_policy
from pullsecrets.rules import delivery
from pullsecrets.rules.tenant_delivery import BINDING

policy = resource_policy(BINDING, delivery.judge_binding_resource)
