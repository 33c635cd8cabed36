"""Where the real node finds the registry of a host, and the faults that are injected on request."""

from __future__ import annotations

import datetime as dt
import json
import secrets
import socket
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
    from collections.abc import Iterator, Mapping

    from local.controlplane.layout import Layout
    from local.controlplane.node.registries import Registry

_EXPIRED = -dt.timedelta(minutes=1)
# Of a connection, and of the server that sends it.
_OWN_HEADERS = frozenset({"Connection", "Date", "Transfer-Encoding"})


@dataclass(frozen=True)
class Fault:
    """What a node meets in place of a registry.

    Attributes:
        status: of every answer, such as 429 or 503; None passes requests on to the registry.
        delay: seconds before each answer.
        certificate: `valid`, `expired`, or `none` for plain HTTP.
        mirror: whether it is a mirror that has the fault, which a node tries before the registry.
        unreachable: whether nothing listens where the registry should be, so that a mirror alone can serve.
        tokens: whether it lets a login in by a token alone, which it gives for a user and password that the registry
            accepts (https://distribution.github.io/distribution/spec/auth/token/).
    """

    status: int | None = None
    delay: float = 0
    certificate: str = "valid"
    mirror: bool = False
    unreachable: bool = False
    tokens: bool = False


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
def fault(layout: Layout, registry: Registry, wanted: Fault) -> Iterator[str]:
    """Let the node meet a fault in place of a registry, for the block; give where that is, as `127.0.0.1:port`.

    Args:
        layout: where things stand.
        registry: whose host has the fault.
        wanted: the fault.
    """
    with _server(registry, wanted) as port, _unused_port() as unused:
        own = unused if wanted.unreachable else None
        write_hosts(layout, registry, port=own if wanted.mirror else port, mirror=port if wanted.mirror else None)
        try:
            yield f"127.0.0.1:{port}"
        finally:
            write_hosts(layout, registry)


@contextmanager
def _unused_port() -> Iterator[int]:
    """Hold a loopback port on which nothing listens, for the block."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


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


class _Tokens:
    """Tokens of a registry, each given for a login that it accepts."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._logins: dict[str, str] = {}

    def give(self, login: str) -> str | None:
        """Return a token for the value of an `Authorization` header; None where the registry refuses it."""
        if not _ask(self._registry, "GET", "/v2/", {"Authorization": login}).ok:
            return None
        token = secrets.token_urlsafe(24)
        self._logins[token] = login
        return token

    def login(self, header: str) -> str | None:
        """Return the login that an `Authorization` header with a token stands for; None where it has none of ours."""
        return self._logins.get(header.removeprefix("Bearer "))


def _ask(registry: Registry, method: str, path: str, headers: Mapping[str, str]) -> requests.Response:
    verified = str(registry.authority.certificate_file)
    return requests.request(method, f"{registry.address}{path}", headers=headers, verify=verified, timeout=60)


def _handler(registry: Registry, wanted: Fault) -> type[BaseHTTPRequestHandler]:
    tokens = _Tokens(registry)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # A client that speaks TLS to plain HTTP is answered as by other servers: with a status line.
        default_request_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Answer as the fault has it, or with what the registry says."""
            time.sleep(wanted.delay)
            if wanted.status is not None:
                self._answer(wanted.status)
            elif not wanted.tokens:
                self._pass_on(self.headers.get("Authorization"))
            elif self.path.startswith("/token"):
                token = tokens.give(self.headers.get("Authorization", ""))
                self._answer(200 if token else 401, {}, json.dumps({"token": token} if token else {}).encode())
            elif login := tokens.login(self.headers.get("Authorization", "")):
                self._pass_on(login)
            else:
                realm = f'Bearer realm="https://{self.headers["Host"]}/token",service="{registry.name}"'
                self._answer(401, {"WWW-Authenticate": realm})

        do_HEAD = do_GET  # noqa: N815 - the base class's name

        def do_POST(self) -> None:
            """Refuse OAuth's way to a token, as most registries do; clients then ask with GET."""
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(405)

        def _pass_on(self, login: str | None) -> None:
            sent = {**self.headers, "Host": registry.name, **({"Authorization": login} if login else {})}
            answer = _ask(registry, self.command, self.path, sent)
            kept = {name: value for name, value in answer.headers.items() if name not in _OWN_HEADERS}
            self._answer(answer.status_code, kept, answer.content)

        def _answer(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:  # type: ignore[override]
            """Keep quiet: the registry's log is the audit."""

    return Handler
