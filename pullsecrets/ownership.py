"""Which objects are our fan-out's, by the owners that ESO writes into their metadata."""

from collections.abc import Mapping
from typing import Any, cast


def owned_by(metadata: Mapping[str, Any], kind: str, name: str) -> bool:
    """Tell whether one of ESO's objects of a kind and name owns an object."""
    owners = cast("list[dict[str, Any]]", metadata.get("ownerReferences") or [])
    return any(
        owner["kind"] == kind and owner["name"] == name and str(owner["apiVersion"]).startswith("external-secrets.io/")
        for owner in owners
    )


def fanned_out(metadata: Mapping[str, Any], registry: str) -> bool:
    """Tell whether an ExternalSecret is the one that a registry's ClusterExternalSecret made.

    ESO leaves an ExternalSecret of that name alone that somebody else made, and never removes it.
    """
    return owned_by(metadata, "ClusterExternalSecret", registry)
