"""The state files next to the policies, told apart by stack so that many are judged in one run."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.policies.engine import POLICIES

_STACK = "urn:pulumi:fixture::"


@dataclass(frozen=True)
class Fixture:
    """One state file, good or bad by one policy."""

    file: Path

    @property
    def pack(self) -> str:
        """Folder of the pack."""
        return self.file.relative_to(POLICIES).parts[0]

    @property
    def policy(self) -> str:
        """Name of the policy."""
        return self.file.parent.parent.name.replace("_", "-")

    @property
    def good(self) -> bool:
        """Whether the policy has nothing against it."""
        return self.file.parent.name == "good"

    @property
    def stack(self) -> str:
        """Name under which it is judged."""
        return f"{self.policy}.{self.file.parent.name}.{self.file.stem}"

    def resources(self) -> list[dict[str, Any]]:
        """Its resources, in a stack of their own."""
        text = self.file.read_text(encoding="utf-8").replace(_STACK, f"urn:pulumi:{self.stack}::")
        return json.loads(text)["deployment"]["resources"]


def fixtures(pack: str) -> list[Fixture]:
    """Every fixture of a pack."""
    return [Fixture(file) for file in sorted((POLICIES / pack / "fixtures").glob("*/*/*.json"))]


def state(resources: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """A state file of resources, as `pulumi stack export` writes it."""
    manifest = {"time": "2026-01-01T00:00:00Z", "magic": "", "version": "v3.258.0"}
    return {"version": 3, "deployment": {"manifest": manifest, "resources": list(resources)}}


def write_state(file: Path, resources: Iterable[dict[str, Any]]) -> Path:
    """Write a state file."""
    file.write_text(json.dumps(state(resources)), encoding="utf-8")
    return file
