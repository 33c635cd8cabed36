"""Runs a plugin that ends with the engine: `guard.py module NAME ARGS...` or `guard.py program PATH ARGS...`.

The engine starts its plugins in process groups of their own and ends them itself when it can. An engine that is killed
cannot, so each plugin watches the process that started it. This file imports nothing of the project, because
it also runs under the Python of other programs.
"""

import ctypes
import os
import runpy
import select
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 1.0


def end_with_parent() -> None:
    """Ends this process and its process group as soon as the process that started it is gone."""
    watch = threading.Thread(target=_end_after, args=(os.getppid(),), name="parent-watch", daemon=True)
    watch.start()


def _end_after(parent: int) -> None:
    try:
        descriptor = os.pidfd_open(parent)
    except (AttributeError, OSError):  # no Linux, or the parent is gone already
        while os.getppid() == parent:
            time.sleep(_POLL_SECONDS)
    else:
        if os.getppid() == parent:
            select.select([descriptor], [], [])
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def _run_module(name: str, arguments: list[str]) -> None:
    """Runs a module the way `python -m` does: with the working directory importable."""
    end_with_parent()
    sys.path.insert(0, str(os.getcwd()))  # noqa: PTH109
    sys.argv = [name, *arguments]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def _run_program(path: str, arguments: list[str]) -> None:
    """Replaces this process by a program, which Linux ends with its parent; elsewhere it sees to that itself."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(1)
    os.execv(path, [path, *arguments])  # noqa: S606


def main() -> None:
    """Runs what the arguments name."""
    kind, target, *arguments = sys.argv[1:]
    {"module": _run_module, "program": _run_program}[kind](target, arguments)


if __name__ == "__main__":
    main()
