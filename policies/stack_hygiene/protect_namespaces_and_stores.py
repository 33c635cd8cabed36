"""`protect-namespaces-and-stores`: judges namespaces and stores."""

from policies.crossguard import resource_policy
from pullsecrets.policy import hygiene

policy = resource_policy(hygiene.PROTECTION, hygiene.judge_protection)
