"""The first process of the node, in namespaces of its own: hides the machine from it and looks after its two programs.

Started by the path of this file with nothing but the standard library, so that it stays small. Mount and PID namespaces
are new: whatever is mounted here is seen by no other process, and all of it, with every container, goes when this
process ends, however it ends.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_SOCKET = Path("/run/containerd/containerd.sock")
_SOCKET_SECONDS = 60
# From linux/sched.h; Python's own os.unshare came with 3.12.
_CLONE_NEWCGROUP = 0x02000000
# What the kubelet wants of the kernel and would otherwise set for the whole machine
# (k8s.io/kubernetes, pkg/kubelet/cm/container_manager_linux.go, setupKernelTunables).
_TUNABLES = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}


def main() -> int:
    """Prepare the namespaces, run containerd and the kubelet, and end as soon as one of them does."""
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    # The first process of a PID namespace ignores what it has no handler for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _prepare(settings)
    running = {_start(settings, "containerd"): "containerd"}
    _await_socket()
    running[_start(settings, "kubelet")] = "kubelet"
    while True:
        # Shims and what containers leave become our children.
        pid, status = os.wait()
        if pid in running:
            print(f"{running[pid]} ended with exit code {os.waitstatus_to_exitcode(status)}", flush=True)
            return 1


def _prepare(settings: dict) -> None:
    for folder in settings["hidden"]:
        _mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", folder)
    _mount("--bind", settings["hosts"], "/etc/hosts")
    _enter_cgroups([(Path(cgroup), Path(root)) for cgroup, root in settings["cgroups"]])
    tunables = Path("/run/tunables")
    for name, value in _TUNABLES.items():
        # What it finds as it wants it, it leaves alone.
        file = tunables / name.replace("/", "-")
        tunables.mkdir(exist_ok=True)
        file.write_text(f"{value}\n", encoding="ascii")
        _mount("--bind", str(file), f"/proc/sys/{name}")
    # The network namespace in which the host's ends of the Pods' interfaces are: not that of the machine.
    network = Path(settings["network"])
    network.touch()
    subprocess.run(["unshare", f"--net={network}", "true"], check=True)


def _enter_cgroups(cgroups: list[tuple[Path, Path]]) -> None:
    """Make the node's cgroup in each hierarchy the only one that it and its containers see."""
    for cgroup, root in cgroups:
        cgroup.mkdir(exist_ok=True)
        # In version 1 a new cpuset is empty, and nothing can be put into it.
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if (root / setting).exists():
                (cgroup / setting).write_text((root / setting).read_text(encoding="ascii"), encoding="ascii")
        (cgroup / "cgroup.procs").write_text("0", encoding="ascii")
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWCGROUP):
        sys.exit(f"no cgroup namespace: {os.strerror(ctypes.get_errno())}")
    for cgroup, root in cgroups:
        _mount("--bind", str(cgroup), str(root))
        if (root / "cgroup.controllers").exists():
            # In version 2 a cgroup has processes or children with controllers, not both.
            (root / "node").mkdir(exist_ok=True)
            (root / "node" / "cgroup.procs").write_text("0", encoding="ascii")


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _start(settings: dict, name: str) -> int:
    with Path(settings["logs"][name]).open("wb") as log:
        return subprocess.Popen(settings["commands"][name], stdin=subprocess.DEVNULL, stdout=log, stderr=log).pid


def _await_socket() -> None:
    end = time.monotonic() + _SOCKET_SECONDS
    while not _SOCKET.exists():
        if time.monotonic() > end:
            sys.exit(f"containerd made no {_SOCKET} within {_SOCKET_SECONDS} s; see its log")
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main())
