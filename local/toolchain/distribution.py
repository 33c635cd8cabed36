"""runc for the real node: the machine's own, or Debian's package unpacked into the cache, installed nowhere.

It is not built: a profile of seccomp needs the C library libseccomp, which Debian's runc is linked with and which each
machine with apt has, because apt needs it too.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Final

from local import paths
from local.toolchain import golang, store
from local.toolchain.errors import BuildFailed, ToolMissing

_PACKAGE: Final = "runc"
_SECONDS: Final = 300
_ROUTES: Final = "`apt-get install runc` or your distribution's package of it"


def runc() -> Path:
    """Return runc as `ensure_runc` finds or makes it.

    Raises ToolMissing, with the commands to run, where there is none.
    """
    for path in _candidates():
        if path.is_file():
            return path
    raise ToolMissing(f"runc is not on PATH and not in the cache: run {_ROUTES}, or `make build` on Debian or Ubuntu.")


def ensure_runc() -> None:
    """Unpack Debian's runc into the cache unless there is one; nothing outside the cache is changed.

    Raises BuildFailed when apt cannot get it.
    """
    if any(path.is_file() for path in _candidates()):
        return
    with store.lock(_PACKAGE):
        if _unpacked().is_file():
            return
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise BuildFailed(f"runc is missing, and this machine has no apt to get it with: run {_ROUTES}.")
        store.sweep(_folder().parent)
        staging = store.staging(_folder().parent)
        try:
            _unpack(staging)
            store.publish(staging, _folder())
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def has_seccomp(executable: Path) -> bool:
    """Whether a runc can give a container a seccomp profile, which restricted Pod security asks for."""
    asked = subprocess.run([executable, "features"], capture_output=True, text=True, timeout=20, check=False)
    try:
        return bool(json.loads(asked.stdout)["linux"]["seccomp"]["enabled"])
    except (ValueError, KeyError, TypeError):
        return False


def _candidates() -> list[Path]:
    on_path = shutil.which(_PACKAGE)
    return [*([Path(on_path)] if on_path else []), _unpacked()]


def _folder() -> Path:
    return paths.cache_home() / _PACKAGE / "-".join(golang.target())


def _unpacked() -> Path:
    return _folder() / "usr" / "sbin" / "runc"


def _unpack(staging: Path) -> None:
    """Fetch the package with lists of its own, so that the machine's stay as they are; apt checks its signature."""
    work = staging / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    # As root, apt would hand the download to a user who may not enter the cache.
    apt = ["apt-get", "-qq", "-o", f"Dir::State::lists={work}/lists", "-o", f"Dir::Cache={work}/cache"]
    apt += ["-o", "APT::Sandbox::User=root"]
    for command in ([*apt, "update"], [*apt, "download", _PACKAGE]):
        _run(command, work)
    package = next(work.glob("*.deb"))
    _run(["dpkg-deb", "-x", str(package), str(staging)], work)
    shutil.rmtree(work)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=_SECONDS, check=False
    )
    if done.returncode != 0:
        raise BuildFailed(f"runc cannot be had: `{command[0]} {command[-1]}` failed:\n{done.stderr.strip()}")
