"""SealedSecrets as the checks look at them."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from pullsecrets.config import Registry
from pullsecrets.credential.sealed import sealed_secret_path
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.kube.client import condition


def sealed_secret(snapshot: Snapshot, registry: Registry) -> Mapping[str, Any] | None:
    """Return the SealedSecret of a registry as it is in the cluster; None when there is none."""
    path = sealed_secret_path(snapshot.config, registry)
    return snapshot.once(f"sealed/{registry.name}", partial(snapshot.cluster.find, path))


def opening(item: Mapping[str, Any]) -> tuple[str, str]:
    """Return status and message of a SealedSecret's condition Synced; `Unknown` while no controller looked at it."""
    synced = condition(item, "Synced")
    return (synced["status"], synced.get("message", "")) if synced else ("Unknown", "no controller looked at it")
