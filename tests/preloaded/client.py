"""Has the server at a socket run a command, and ends as it does: `client.py INTERPRETER SOCKET ARGUMENT...`."""

import contextlib
import json
import os
import select
import signal
import socket
import sys


def main(interpreter: str, address: str, arguments: list[str]) -> int:
    """Return the command's exit code."""
    parent = os.pidfd_open(os.getppid())
    with socket.socket(socket.AF_UNIX) as server:
        if not is_served(arguments) or server.connect_ex(address):
            os.execv(interpreter, [interpreter, *arguments])  # noqa: S606 - what a test asked for
        request = {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}  # noqa: PTH109
        socket.send_fds(server, [b"\n"], range(3))
        server.sendall(f"{json.dumps(request)}\n".encode())
        with server.makefile("r") as answers:
            process = int(answers.readline())

            def pass_on(number: int, _frame: object) -> None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, number)

            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, pass_on)
            if server not in select.select([server, parent], [], [])[0]:
                return 1
            code = int(answers.readline())
    if code < 0:
        # As the command ended, so does what stands for it.
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def is_served(arguments: list[str]) -> bool:
    """Whether a module or a script is to be run, with no other options than those two."""
    rest = [argument for argument in arguments if argument not in {"-u", "-P"}]
    return bool(rest) and (rest[0] == "-m" or not rest[0].startswith("-"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
