"""Loads modules, then forks for each command that a client asks for: `server.py SOCKET MODULE...`.

In the end it takes the folder of the socket away.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import sys
import threading
from pathlib import Path


def main(address: str, modules: list[str]) -> None:
    """Serve until standard input ends, which whoever started this holds open."""
    for module in modules:
        importlib.import_module(module)
    threads = len(list(Path("/proc/self/task").iterdir()))
    assert threads == 1, f"a fork would lose {threads - 1} threads that the modules have started"
    gc.freeze()
    # Nobody asks how those who attend have ended.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        while sys.stdin not in (readable := select.select([listener, sys.stdin], [], [])[0]):
            assert listener in readable
            connection, _ = listener.accept()
            if os.fork() == 0:
                break
            connection.close()
        else:
            shutil.rmtree(Path(address).parent)
            return
    attend(connection)


def attend(connection: socket.socket) -> None:
    """Run a command, end it when its client is gone, and tell the client how it has ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("r") as asked:
        request = json.loads(asked.readline())
    process = os.fork()
    if process == 0:
        connection.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        run(**request)
        return
    for stream in (0, 1, 2, *streams):
        os.close(stream)
    threading.Thread(target=end_with_client, args=(connection, process), daemon=True).start()
    # The one who is told may be gone, and then nobody is.
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(f"{process}\n".encode())
    _, status = os.waitpid(process, 0)
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def end_with_client(connection: socket.socket, process: int) -> None:
    """Kill a command when its client has ended before it."""
    with contextlib.suppress(OSError):
        connection.recv(1)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def run(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """Do in this process what the interpreter does with these arguments."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    flags = {argument for argument in arguments[:2] if argument in {"-u", "-P"}}
    first, *rest = arguments[len(flags) :]
    if "-u" in flags:
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(write_through=True)  # type: ignore[union-attr]
    own = folder if first == "-m" else str(Path(first).resolve().parent)
    given = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[:0] = given if "-P" in flags else [own, *given]
    if first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
