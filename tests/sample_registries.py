"""The registries that policies are tried with: those of the committed stacks, given as settings."""

from pathlib import Path
from typing import Any

from pullsecrets.config import load_stack
from pullsecrets.policy.lint import settings_of

_ROOT = Path(__file__).resolve().parents[1]
_DEV, _PROD = (settings_of(load_stack(stack, _ROOT)) for stack in ("dev", "prod"))


def _merged(policy: str) -> list[dict[str, Any]]:
    """Return the registries of both stacks, each in the namespaces of both."""
    pairs = zip(_DEV[policy]["registries"], _PROD[policy]["registries"], strict=True)
    return [{**here, "namespaces": sorted({*here["namespaces"], *there["namespaces"]})} for here, there in pairs]


BY_POLICY: dict[str, Any] = {
    name: {"registries": _merged(name)} for name, settings in _DEV.items() if "registries" in settings
}
"""Settings of each policy that knows registries, as `--policy-pack-config` takes them."""
SETTINGS: dict[str, Any] = BY_POLICY["restrict-opt-in-labels"]
"""Settings of one such policy."""
