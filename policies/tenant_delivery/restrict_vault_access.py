"""`restrict-vault-access`: judges Vault policies and roles."""

from policies.crossguard import resource_policy
from pullsecrets.policy import vault_access
from pullsecrets.policy.tenant_delivery import VAULT_ACCESS

policy = resource_policy(VAULT_ACCESS, vault_access.judge_vault_access)
