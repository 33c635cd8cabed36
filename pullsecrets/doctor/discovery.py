"""Which versions of ESO's kinds the API server serves."""

from typing import Any, cast

from pullsecrets.doctor.snapshot import Snapshot

ESO_GROUP = "external-secrets.io"


def served_versions(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the served versions of ESO's API group, preferred first; empty when it is not installed."""

    def read() -> tuple[str, ...]:
        found = snapshot.cluster.find(f"/apis/{ESO_GROUP}")
        versions = cast("list[dict[str, Any]]", (found or {}).get("versions") or [])
        return tuple(str(item["version"]) for item in versions)

    return snapshot.once("eso/served", read)
