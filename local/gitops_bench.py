"""`make bench`: `pull-secrets gitops check` of many overlays, beside `kubectl kustomize` of the same folders alone."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from local import sample_gitops, toolchain
from pullsecrets.text import counted

COPIES = 12
"""Of the sample repository, which has 47 overlays, side by side in one."""


class GitOpsBenchmark:
    """A large repository, checked for the first time and again with nothing changed."""

    def __init__(self, folder: Path, console: Console, copies: int = COPIES) -> None:
        """Write the repository below a folder and print to this console."""
        self._folder = folder
        self._console = console
        self._copies = copies

    def run(self) -> None:
        """Time each once, plain kubectl first and last: the first reads files that nothing has read yet."""
        root = self._folder / "gitops"
        for folder in (root, self._folder / "cache"):
            shutil.rmtree(folder, ignore_errors=True)
        for number in range(self._copies):
            sample_gitops.build(root / f"region-{number}")
        overlays = sorted(file.parent for file in root.glob("*/apps/*/overlays/*/kustomization.y*ml"))
        table = Table("what", "seconds", title=f"{counted(len(overlays), 'overlay')}, whole processes")
        for what, run in (
            ("kubectl kustomize of each", lambda: _build(overlays)),
            ("gitops check, first run", lambda: self._check(root)),
            ("gitops check, nothing changed", lambda: self._check(root)),
            ("kubectl kustomize of each", lambda: _build(overlays)),
        ):
            table.add_row(what, f"{_seconds(run):.1f}")
        self._console.print(table)

    def _check(self, root: Path) -> None:
        command = [sys.executable, "-m", "pullsecrets", "gitops", "check", str(root), "--stack", "dev"]
        environment = {**os.environ, "XDG_CACHE_HOME": str(self._folder / "cache")}
        # Some of the sample's workloads lack the reference: exit code 1.
        subprocess.run(command, env=environment, capture_output=True, check=False)


def _build(folders: list[Path]) -> None:
    kubectl = toolchain.binary("kubectl")

    def build(folder: Path) -> None:
        subprocess.run([kubectl, "kustomize", folder], stdout=subprocess.DEVNULL, check=True)

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        list(pool.map(build, folders))


def _seconds(run: Callable[[], None]) -> float:
    began = time.monotonic()
    run()
    return time.monotonic() - began
