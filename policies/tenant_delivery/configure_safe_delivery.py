"""`configure-safe-delivery`: judges stores, ClusterExternalSecrets and the metadata in Vault."""

from policies.crossguard import resource_policy
from pullsecrets.rules import delivery
from pullsecrets.rules.tenant_delivery import DELIVERY

policy = resource_policy(DELIVERY, delivery.judge_delivery_resource)
