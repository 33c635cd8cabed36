"""Pack `tenant-delivery`: pull Secrets reach all tenants and no one else."""

from pullsecrets.packs.crossguard import Pack, resource_policy, stack_policy
from pullsecrets.policy import complete_delivery, credentials, delivery, vault_access
from pullsecrets.policy.model import of_every_object

PACK = Pack(
    name="tenant-delivery",
    title="Tenant delivery",
    description="Restricts the delivery of pull Secrets to tenants to the safe way.",
    policies=(
        resource_policy(delivery.DELIVERY, delivery.judge_delivery_resource),
        resource_policy(credentials.CREDENTIALS, credentials.judge_credentials_resource),
        resource_policy(credentials.SECRETS, of_every_object(credentials.judge_secrets)),
        resource_policy(delivery.BINDING, delivery.judge_binding_resource),
        stack_policy(complete_delivery.COMPLETE, complete_delivery.judge_stack),
        resource_policy(delivery.OPT_IN, of_every_object(delivery.judge_opt_in)),
        resource_policy(vault_access.VAULT_ACCESS, vault_access.judge_vault_access),
    ),
)
