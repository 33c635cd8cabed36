"""Where the embedded control plane keeps what it builds, shared by every clone, and what it runs, one per clone."""

import os
from pathlib import Path


def repository() -> Path:
    """Return the root folder of this clone."""
    return Path(__file__).resolve().parent.parent


def cache_home() -> Path:
    """Return the per-user folder of built tools, under $XDG_CACHE_HOME or ~/.cache; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification wants a relative value ignored.
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "pull-secrets-local"


def state_home() -> Path:
    """Return the folder of what this clone runs, $LOCAL_STATE or else .local in the clone; it may not exist."""
    override = os.environ.get("LOCAL_STATE", "")
    return Path(override).resolve() if override else repository() / ".local"
