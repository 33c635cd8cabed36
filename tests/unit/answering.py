"""A server on loopback that gives each request the answer that a test wants."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Server:
    """Answers each request with a status, a body and headers."""

    address: str
    status: int = 200
    body: str = "{}"
    location: str | None = None
    asked: list[str] = field(default_factory=list[str])
    """Paths of the requests."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Headers of the last one."""


@contextmanager
def answering() -> Iterator[Server]:
    """Serve while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers.asked.append(self.path)
            answers.headers = dict(self.headers)
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            content = answers.body.encode()
            self.send_response(answers.status)
            if answers.location:
                self.send_header("Location", answers.location)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PATCH = do_GET  # noqa: N815 - names of the base class

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
            """Keep the tests' output readable."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    answers = Server(f"http://127.0.0.1:{listener.server_port}")
    threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield answers
    listener.shutdown()
    listener.server_close()
