"""Pack `tenant-delivery`: pull Secrets reach tenants, all of them and nobody else."""

from policies.crossguard import Pack
from policies.tenant_delivery.configure_safe_delivery import policy as configure_safe_delivery
from policies.tenant_delivery.disallow_inline_credentials import policy as disallow_inline_credentials
from policies.tenant_delivery.require_append_safe_binding import policy as require_append_safe_binding
from policies.tenant_delivery.require_complete_delivery import policy as require_complete_delivery
from policies.tenant_delivery.restrict_opt_in_labels import policy as restrict_opt_in_labels
from policies.tenant_delivery.restrict_vault_access import policy as restrict_vault_access
from pullsecrets.policy import tenant_delivery

PACK = Pack(
    name="tenant-delivery",
    title="Tenant delivery",
    description="Holds the delivery of pull Secrets to tenants to the one safe way.",
    policies=(
        configure_safe_delivery,
        disallow_inline_credentials,
        require_append_safe_binding,
        require_complete_delivery,
        restrict_opt_in_labels,
        restrict_vault_access,
    ),
    infos=tenant_delivery.POLICIES,
)
