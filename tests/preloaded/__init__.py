"""A Python that begins with modules loaded, because loading them is most of what a short command costs.

A server has loaded them and forks for each command. What runs in place of the interpreter is a client: it hands
arguments, environment, folder and standard streams over, passes signals on, and ends as the command does. A command
ends when its client does, and that ends with whoever started it. Without a server the client becomes the interpreter.
"""

import functools
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
OURS = ("pullsecrets.cli.app", "pullsecrets.program", "pullsecrets.components", "pulumi.dynamic", "grpc")
"""What the command line, the program and its dynamic resources load."""


@functools.cache
def environment(*modules: str) -> Path:
    """Return a virtual environment like this process's own whose `python` and `pull-secrets` begin with modules loaded.

    They do so as long as this process lives. Where the system is not Linux, it is that environment itself.
    """
    if sys.platform != "linux":
        return Path(sys.prefix)
    # The path of a socket may not be long, so this is in no folder of a test's own.
    folder = Path(tempfile.mkdtemp(prefix="preloaded-"))
    address = folder / "socket"
    command = [sys.executable, "-P", str(HERE / "server.py"), str(address), *modules]
    # Whether there are colours is found out while modules load, and no command writes to this process's terminal.
    variables = {**os.environ, "TERM": "dumb"}
    server = subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    assert server.stdout.readline() == "ready\n"
    (folder / "lib").symlink_to(Path(sys.prefix) / "lib")
    (folder / "bin").mkdir()
    client = shlex.join([sys.executable, "-I", "-S", str(HERE / "client.py"), sys.executable, str(address)])
    for name, arguments in {"python": "", "pull-secrets": " -m pullsecrets"}.items():
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {client}{arguments} "$@"\n')
        program.chmod(0o755)
    return folder
