"""Whether this machine can run a real node, and the cgroups that one leaves behind there."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from local import paths, toolchain
from local.controlplane.waiting import NotYet, until

if TYPE_CHECKING:
    from local.controlplane.layout import Layout

HIDDEN = ("/run", "/var/lib", "/var/log")
"""Folders of the machine in whose place the node has empty ones of its own, in memory."""
FILE_SYSTEMS = Path("/proc/filesystems")
"""Those of the kernel."""
CGROUPS = Path("/sys/fs/cgroup")
"""Where cgroups are mounted."""
_COMMANDS = ("unshare", "nsenter", "mount")
_NAMESPACES = ("unshare", "--mount", "--pid", "--net", "--fork", "--mount-proc")
TRIAL = (*_NAMESPACES, "mount", "-t", "tmpfs", "tmpfs", HIDDEN[0])
"""A command that does what the node's first process does before all else; what it mounts goes with it."""
_EMPTY_SECONDS = 10


class NodeUnsupported(Exception):  # noqa: N818 - says what it is
    """This machine cannot run a real node; the message is the cause, and what would help."""


def require_supported(layout: Layout) -> None:
    """Raise `NodeUnsupported` unless a real node can run here with this state folder; fetches runc where it can."""
    if not toolchain.runs_nodes():
        raise NodeUnsupported("a real node needs Linux and root")
    missing = [name for name in _COMMANDS if shutil.which(name) is None]
    if missing:
        raise NodeUnsupported(f"{', '.join(missing)} not found: install util-linux")
    if "overlay" not in FILE_SYSTEMS.read_text(encoding="utf-8").split():
        raise NodeUnsupported("the kernel offers no overlay file system: `modprobe overlay` may bring it")
    if not controllers():
        raise NodeUnsupported(f"no cgroup controllers that can be written below {CGROUPS}")
    tried = subprocess.run(TRIAL, capture_output=True, text=True, check=False)
    if tried.returncode:
        raise NodeUnsupported(
            "root may not make namespaces and mounts here, as in a container that is not privileged: "
            + tried.stderr.strip()
        )
    for path in (layout.state, paths.cache_home(), paths.repository(), Path(sys.prefix)):
        for hidden in HIDDEN:
            if path.resolve().is_relative_to(hidden):
                raise NodeUnsupported(f"{path} is below {hidden}, which the node hides from itself: move it")
    _require_runc()


def _require_runc() -> None:
    try:
        toolchain.ensure_runc()
        runc = toolchain.runc()
    except toolchain.ToolchainError as error:
        raise NodeUnsupported(str(error)) from error
    if not toolchain.has_seccomp(runc):
        raise NodeUnsupported(f"{runc} is built without seccomp, which restricted Pod security needs: install another")


def controllers(root: Path = CGROUPS) -> list[Path]:
    """Return the roots of the cgroup hierarchies below `root` that can be written: one of version 2, or version 1's.

    Containers often have them read-only.
    """
    found = [root] if (root / "cgroup.controllers").exists() else sorted(root.glob("*"))
    return [path for path in found if (path / "cgroup.procs").exists() and not path.is_symlink() and _writable(path)]


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK)


def cgroup_name(layout: Layout) -> str:
    """Return the name of the one cgroup, at the root of each hierarchy, below which the containers of a node are."""
    return f"pull-secrets-{hashlib.sha256(str(layout.state).encode()).hexdigest()[:12]}"


def cgroups(layout: Layout) -> list[tuple[str, str]]:
    """Return for each hierarchy the node's cgroup, and where the node shall see it as the root."""
    return [(str(root / cgroup_name(layout)), str(root)) for root in controllers()]


def remove_cgroups(layout: Layout) -> None:
    """Remove the node's cgroups and those of its containers, whose processes have ended or are about to."""
    until(lambda: _remove(layout), _EMPTY_SECONDS, f"cgroups {cgroup_name(layout)} removed")


def _remove(layout: Layout) -> None:
    for root in controllers():
        top = root / cgroup_name(layout)
        for path in sorted((path for path in [top, *top.rglob("*")] if path.is_dir()), reverse=True):
            try:
                path.rmdir()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise NotYet(f"{path}: {error.strerror}") from error
