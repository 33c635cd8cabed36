"""Pack `tenant-delivery`: pull Secrets reach all tenants and no one else."""

from pullsecrets.packs.crossguard import Pack, ResourcePolicy, StackPolicy
from pullsecrets.policy import complete_delivery, credentials, delivery, vault_access
from pullsecrets.policy.model import is_object, of_every_object

PACK = Pack(
    name="tenant-delivery",
    title="Tenant delivery",
    description="Restricts the delivery of pull Secrets to tenants to the safe way.",
    policies=(
        ResourcePolicy(delivery.DELIVERY, delivery.judge_delivery_resource),
        ResourcePolicy(credentials.CREDENTIALS, credentials.judge_credentials_resource),
        ResourcePolicy(credentials.SECRETS, of_every_object(credentials.judge_secrets), concerns=is_object),
        ResourcePolicy(delivery.BINDING, delivery.judge_binding_resource, concerns=is_object),
        StackPolicy(complete_delivery.COMPLETE, complete_delivery.judge_stack),
        ResourcePolicy(delivery.OPT_IN, of_every_object(delivery.judge_opt_in), concerns=is_object),
        ResourcePolicy(vault_access.VAULT_ACCESS, vault_access.judge_vault_access, concerns=vault_access.is_access),
    ),
)
