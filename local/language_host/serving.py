"""Serves a plugin to the engine: a free loopback port, its number on standard output, a quiet end."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc

from local.language_host.guard import end_with_parent

# Resources of a large stack carry their whole state in one message: the engine's own limit is 400 MiB.
_MESSAGE_LIMIT = 400 * 1024 * 1024
# The engine kills a plugin 5 s after it asked for the end; this leaves time for the processes it started.
_GRACE_SECONDS = 2.0


def serve(
    register: Callable[[grpc.Server], None],
    threads: int,
    stopping: Callable[[], None] = lambda: None,
    stopped: Callable[[], None] = lambda: None,
) -> None:
    """Serves until the engine asks for the end, by SIGINT or SIGTERM, or is gone.

    Args:
        register: adds the plugin's servicers to the server.
        threads: how many requests are answered at the same time.
        stopping: is called, in a signal handler, as soon as the engine asks for the end.
        stopped: is called once no request is served any more, to end what the plugin itself has started.
    """
    end = threading.Event()

    def begin_end(_number: int, _frame: object) -> None:
        stopping()
        end.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, begin_end)
    end_with_parent()
    server = grpc.server(
        ThreadPoolExecutor(max_workers=threads),
        options=[("grpc.max_receive_message_length", _MESSAGE_LIMIT), ("grpc.max_send_message_length", _MESSAGE_LIMIT)],
    )
    register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    end.wait()
    server.stop(grace=None).wait(_GRACE_SECONDS)
    stopped()
    # Threads of requests that were cut off must not hold the process.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
