"""Where the real node finds the registry of a host, and the faults that stand in its way on request."""

from __future__ import annotations

import datetime as dt
import ssl
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import requests

from local.controlplane.files import write_private
from local.controlplane.layout import PUBLIC_REGISTRY
from local.controlplane.pki import LOOPBACK, SERVER, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.controlplane.layout import Layout
    from local.controlplane.node.registries import Registry

_EXPIRED = -dt.timedelta(minutes=1)


@dataclass(frozen=True)
class Fault:
    """What a node meets in place of a registry.

    Attributes:
        status: of every answer, such as 429 or 503; None passes requests on to the registry.
        delay: seconds before each answer.
        certificate: `valid`, `expired`, or `none` for plain HTTP.
        mirror: whether it is a mirror that has the fault, which a node tries before the registry.
    """

    status: int | None = None
    delay: float = 0
    certificate: str = "valid"
    mirror: bool = False


def write_hosts(layout: Layout, registry: Registry, *, port: int | None = None, mirror: int | None = None) -> None:
    """Tell containerd where the registry of a host is; it reads that again for each pull.

    Args:
        layout: where things stand.
        registry: of the host; `PUBLIC_REGISTRY` is that of every host without one.
        port: on 127.0.0.1 where the host is found, the registry's own by default.
        mirror: port of a mirror that is asked first.
    """
    public = registry.name == PUBLIC_REGISTRY
    # By the host's own name, as messages then have it; the node's /etc/hosts knows it.
    name = "127.0.0.1" if public else registry.name
    authority = f'ca = "{registry.authority.certificate_file}"'
    lines = [f'server = "https://{name}:{port or registry.port}"', authority]
    if mirror:
        lines += [f'[host."https://{name}:{mirror}"]', 'capabilities = ["pull", "resolve"]', authority]
    folder = layout.hosts / ("_default" if public else registry.name)
    write_private(folder / "hosts.toml", "\n".join(lines) + "\n")


@contextmanager
def fault(layout: Layout, registry: Registry, wanted: Fault) -> Iterator[None]:
    """Let the node meet a fault in place of a registry, for the block.

    Args:
        layout: where things stand.
        registry: whose host has the fault.
        wanted: the fault.
    """
    with _server(registry, wanted) as port:
        if wanted.mirror:
            write_hosts(layout, registry, mirror=port)
        else:
            write_hosts(layout, registry, port=port)
        try:
            yield
        finally:
            write_hosts(layout, registry)


@contextmanager
def _server(registry: Registry, wanted: Fault) -> Iterator[int]:
    """Serve the fault from this process on a loopback port, for the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(registry, wanted))
    server.daemon_threads = True
    if wanted.certificate != "none":
        expired = wanted.certificate == "expired"
        stem = f"faults/{registry.name}-{wanted.certificate}"
        life = {"life": _EXPIRED} if expired else {}
        pair = registry.authority.issue(stem, Subject(registry.name), (SERVER,), (*LOOPBACK, registry.name), **life)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def _handler(registry: Registry, wanted: Fault) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # A client that speaks TLS to plain HTTP is answered as by other servers: with a status line.
        default_request_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Answer as the fault has it, or with what the registry says."""
            time.sleep(wanted.delay)
            status, headers, body = wanted.status, {"Content-Length": "0"}, b""
            if status is None:
                url, sent = f"{registry.address}{self.path}", {**self.headers, "Host": registry.name}
                answer = requests.request(
                    self.command, url, headers=sent, verify=str(registry.authority.certificate_file), timeout=60
                )
                status, headers, body = answer.status_code, dict(answer.headers), answer.content
            self.send_response(status)
            for name, value in headers.items():
                if name not in {"Connection", "Transfer-Encoding"}:
                    self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - the base class's name

        def log_message(self, *_: object) -> None:  # type: ignore[override]
            """Keep quiet: the registry's log is the audit."""

    return Handler
