"""Serves a pack; called only from a pack's `__main__.py`, because it does not return."""

from pulumi_policy import EnforcementLevel, PolicyPack

from pullsecrets.packs.crossguard import Pack


def serve(pack: Pack) -> None:
    """Answer the engine until it is done."""
    PolicyPack(
        name=pack.name,
        policies=list(pack.policies),
        # Each policy states its own level; one that forgot to would be the strictest.
        enforcement_level=EnforcementLevel.MANDATORY,
        display_name=pack.title,
        description=pack.description,
        tags=["kubernetes", "pull-secret"],
    )
