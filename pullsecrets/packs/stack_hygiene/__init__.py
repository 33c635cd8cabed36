"""Pack `stack-hygiene`: habits that keep a stack safe to change."""

from pullsecrets.packs.crossguard import Pack, ResourcePolicy
from pullsecrets.policy import hygiene
from pullsecrets.policy.model import is_object

PACK = Pack(
    name="stack-hygiene",
    title="Stack hygiene",
    description="Reports habits that lose namespaces or write to the wrong cluster.",
    policies=(
        ResourcePolicy(hygiene.PROTECTION, hygiene.judge_protection, concerns=is_object),
        ResourcePolicy(hygiene.PROVIDERS, hygiene.judge_providers),
        ResourcePolicy(hygiene.LABELS, hygiene.judge_labels_resource, concerns=is_object),
    ),
)
