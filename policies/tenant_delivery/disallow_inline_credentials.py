"""`disallow-inline-credentials`: judges every resource."""

from policies.crossguard import resource_policy
from pullsecrets.policy import credentials
from pullsecrets.policy.tenant_delivery import CREDENTIALS

policy = resource_policy(CREDENTIALS, credentials.judge_credentials_resource)
