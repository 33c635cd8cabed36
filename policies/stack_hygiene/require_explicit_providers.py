"""`require-explicit-providers`: judges which provider serves a resource."""

from policies.crossguard import resource_policy
from pullsecrets.policy import hygiene

policy = resource_policy(hygiene.PROVIDERS, hygiene.judge_providers)
