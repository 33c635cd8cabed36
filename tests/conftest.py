"""Loads the whole Pulumi SDK first, and keeps tests that share a control plane in one process."""

from pathlib import Path

import pulumi
import pytest

# The local plugins would otherwise put their lighter stand-in of it in its place.
assert pulumi.Output

TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each control plane's tests a worker of their own, when there are several (`--dist loadgroup`)."""
    for item in items:
        if item.get_closest_marker("controlplane"):
            item.add_marker(pytest.mark.xdist_group(_control_plane(item.path)))


def _control_plane(file: Path) -> str:
    # Each file in local/ brings up its own or is content with any; the others share one by folder.
    folder = file.relative_to(TESTS).parts[0]
    return str(file) if folder == "local" else folder
