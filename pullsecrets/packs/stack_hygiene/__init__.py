"""Pack `stack-hygiene`: habits that keep a stack safe to change."""

from pullsecrets.packs.crossguard import Pack, resource_policy
from pullsecrets.policy import hygiene

PACK = Pack(
    name="stack-hygiene",
    title="Stack hygiene",
    description="Reports habits that lose namespaces or write to the wrong cluster.",
    policies=(
        resource_policy(hygiene.PROTECTION, hygiene.judge_protection),
        resource_policy(hygiene.PROVIDERS, hygiene.judge_providers),
        resource_policy(hygiene.LABELS, hygiene.judge_labels_resource),
    ),
)
