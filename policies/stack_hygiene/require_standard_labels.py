"""`require-standard-labels`: judges the labels of created objects."""

from policies.crossguard import resource_policy
from pullsecrets.policy import hygiene

policy = resource_policy(hygiene.LABELS, hygiene.judge_labels_resource)
