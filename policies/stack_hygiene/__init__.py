"""Pack `stack-hygiene`: habits that keep a stack safe to change."""

from policies.crossguard import Pack
from policies.stack_hygiene.protect_namespaces_and_stores import policy as protect_namespaces_and_stores
from policies.stack_hygiene.require_explicit_providers import policy as require_explicit_providers
from policies.stack_hygiene.require_standard_labels import policy as require_standard_labels
from pullsecrets.policy import hygiene

PACK = Pack(
    name="stack-hygiene",
    title="Stack hygiene",
    description="Reports habits that lose namespaces or write to the wrong cluster.",
    policies=(
        protect_namespaces_and_stores,
        require_explicit_providers,
        require_standard_labels,
    ),
    infos=hygiene.POLICIES,
)
