"""Pack `pull-secrets`: every policy of the other packs in one process, which reads each resource once."""

from pullsecrets.packs.catalog import PACKS
from pullsecrets.packs.crossguard import Pack

PACK = Pack(
    name="pull-secrets",
    title="Pull Secrets",
    description=f"Every policy of the packs {', '.join(f'`{pack.name}`' for pack in PACKS)}.",
    policies=tuple(policy for pack in PACKS for policy in pack.policies),
)
