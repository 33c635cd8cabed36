"""The cache on disk: a folder per tool and key, locks between processes, and nothing half-written in its place."""

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from local import paths
from local.toolchain.recipes import Recipe

_STAGING: Final = ".building-"
_UNUSED_SECONDS: Final = 30 * 24 * 3600


@functools.cache
def key(recipe: Recipe, go_version: str, system: str, machine: str, flags: tuple[str, ...]) -> str:
    """Return what distinguishes one build of a recipe from every other one, with its version in front.

    It covers the recipe itself, every file of its module, the Go version, the build flags and the machine.
    """
    digest = hashlib.sha256(repr((recipe, go_version, system, machine, flags)).encode())
    for file in sorted(path for path in recipe.module.rglob("*") if path.is_file()):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(recipe.module).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return f"{recipe.version}-{digest.hexdigest()[:16]}"


def log_file(name: str) -> Path:
    """Return where the build of a tool writes its log."""
    return paths.cache_home() / "logs" / f"{name}.log"


def try_lock(name: str) -> IO[str] | None:
    """Return the lock of a tool, held until the file is closed, or None while another process holds it."""
    file = _lock_file(name)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


@contextlib.contextmanager
def lock(name: str, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a tool for the block; waits while another process holds it, or wants it for itself alone."""
    with _lock_file(name) as file:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def _lock_file(name: str) -> IO[str]:
    folder = paths.cache_home() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / name).open("w", encoding="utf-8")


def staging(parent: Path) -> Path:
    """Return a new empty folder in `parent` for something that is not complete yet."""
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=_STAGING, dir=parent))


def sweep(parent: Path) -> None:
    """Remove what an interrupted build left in `parent`. The caller holds the lock, so nobody is using it."""
    for left in parent.glob(f"{_STAGING}*"):
        shutil.rmtree(left)


def publish(complete: Path, folder: Path) -> None:
    """Give a complete staging folder its final name in one step."""
    # mkdtemp makes it private; the cache is as readable as the user's umask wants the rest of it.
    complete.chmod(0o777 & ~_umask())
    complete.rename(folder)


def note_use(folder: Path) -> None:
    """Note that a tool was asked for now: what nobody asks for any more is removed some day."""
    with contextlib.suppress(OSError):
        os.utime(folder)


def remove_unused(name: str, keep: Path) -> int:
    """Remove the builds of a tool that no clone has asked for in a month; return how many bytes that were.

    Args:
        name: of the tool, whose lock is taken; while another process holds it, nothing is removed.
        keep: the build that stays in any case.
    """
    held = try_lock(name)
    if held is None:
        return 0
    removed = 0
    with held:
        for folder in keep.parent.iterdir():
            unused = folder.stat().st_mtime < time.time() - _UNUSED_SECONDS
            if unused and folder != keep and not folder.name.startswith(_STAGING):
                removed += size(folder)
                # Out of its place at once, so that a part of it is never taken for the whole.
                folder.rename(staging(keep.parent) / folder.name)
        sweep(keep.parent)
    return removed


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current


def size(folder: Path) -> int:
    """Return how many bytes the files in a folder hold, while others may write and rename in it."""
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            found = file.lstat()
            total += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return total


def copy(source: Path, destination: Path, *, executable: bool) -> None:
    """Copy a file, or a folder with everything in it, out of the read-only module cache as ordinary files."""
    if source.is_file():
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, destination)
        if executable:
            destination.chmod(0o755)
        return
    for file in source.rglob("*"):
        if file.is_file():
            copy(file, destination / file.relative_to(source), executable=executable)
