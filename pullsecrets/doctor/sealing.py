"""SealedSecrets as the checks look at them."""

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from pullsecrets.config import Registry
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.preflight import SEALED_GROUP_VERSION


def sealed_secret(snapshot: Snapshot, registry: Registry) -> Mapping[str, Any] | None:
    """Return the SealedSecret of a registry as it is in the cluster; None when there is none."""
    path = f"{SEALED_GROUP_VERSION}/namespaces/{snapshot.config.eso.namespace}/sealedsecrets/{registry.name}"
    return snapshot.once(f"sealed/{registry.name}", partial(snapshot.cluster.find, path))


def opening(item: Mapping[str, Any]) -> tuple[str, str]:
    """Return status and message of a SealedSecret's condition Synced; `Unknown` while no controller looked at it."""
    status = cast("dict[str, Any]", item.get("status") or {})
    conditions = cast("list[dict[str, str]]", status.get("conditions") or [])
    synced = next((found for found in conditions if found.get("type") == "Synced"), None)
    return (synced["status"], synced.get("message", "")) if synced else ("Unknown", "no controller looked at it")
