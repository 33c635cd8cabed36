"""Loads the whole Pulumi SDK first, and keeps tests that share a control plane in one process."""

from pathlib import PurePosixPath
from typing import Any

import pulumi
import pytest
from xdist.scheduler import LoadScopeScheduling

# The language host would otherwise register its packages unloaded: see local/language_host/protocol.py.
assert pulumi.Output


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the files of tests/golden be written anew."""
    parser.addoption("--update-golden", action="store_true", help="write tests/golden anew instead of comparing")


class ControlPlaneScheduling(LoadScopeScheduling):
    """Gives the tests that share a stack to one worker."""

    def _split_scope(self, nodeid: str) -> str:
        # Each file in local/ brings up its own or is content with any, and each in beside/ brings a stack of its own to
        # the one that is up; the others share control plane and stack by folder.
        file = PurePosixPath(nodeid.partition("::")[0])
        return str(file if file.parent.name in {"local", "beside"} else file.parent)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """Schedule by control plane with `--dist loadscope`; xdist's own ways otherwise."""
    return ControlPlaneScheduling(config, log) if config.getvalue("dist") == "loadscope" else None
