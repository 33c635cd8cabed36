"""`configure-safe-delivery`: judges stores, ClusterExternalSecrets and the metadata in Vault."""

from policies.crossguard import resource_policy
from pullsecrets.policy import delivery
from pullsecrets.policy.tenant_delivery import DELIVERY

policy = resource_policy(DELIVERY, delivery.judge_delivery_resource)
