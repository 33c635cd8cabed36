"""A registry's `/v2/` API on loopback, with token or basic authentication, and the ways in which it can misbehave."""

import base64
import json
import secrets
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from local.controlplane.pki import SERVER, Authority, Subject

SERVICE = "test-registry"


@dataclass
class Behaviour:
    """What the registry does; a test changes it before it asks."""

    username: str = "bot"
    password: str = "secret-of-the-bot"
    scheme: str = "bearer"
    """`bearer`, `basic`, `both`, `open` (lets everybody in), `digest` (which no kubelet speaks)."""
    realm: str | None = None
    """URL of the token service; by default the registry itself."""
    status: int | None = None
    """Answer everything with this status."""
    redirect: str | None = None
    """Answer everything with a redirect to this URL."""
    token_answer: bytes | None = None
    """What the token service answers instead of a token."""
    token_valid: bool = True
    scope: str | None = None
    """Named in the challenge; the token service refuses it to everybody."""
    content: bytes = b"{}"
    """What the API answers to whoever it lets in."""
    version: str | None = None
    """The header Docker-Distribution-Api-Version of that answer."""


@dataclass
class Seen:
    """One request: what the registry was told."""

    path: str
    query: dict[str, list[str]]
    authorization: str | None


@dataclass
class TestRegistry:
    """A running registry."""

    __test__ = False

    host: str
    """Host with port, as `auths` and images spell it."""
    ca_file: Path | None
    behaviour: Behaviour
    seen: list[Seen] = field(default_factory=list[Seen])
    tokens: set[str] = field(default_factory=set[str])

    @property
    def was_given_a_login(self) -> bool:
        """Whether any request carried an Authorization header."""
        return any(request.authorization for request in self.seen)

    @property
    def scheme(self) -> str:
        """`https` or `http`."""
        return "https" if self.ca_file else "http"


@contextmanager
def registry(folder: Path, behaviour: Behaviour | None = None, *, tls: bool = True) -> Iterator[TestRegistry]:
    """Run a registry until the block ends.

    Args:
        folder: where its certificate authority lives; shared by registries, so that one CA file fits them all.
        behaviour: what it does.
        tls: speak TLS with a certificate for localhost and 127.0.0.1.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    ca_file = None
    if tls:
        authority = Authority(folder, "test-registry-ca")
        pair = authority.issue("registry", Subject("registry"), (SERVER,), ("localhost", "127.0.0.1"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        # The handshake belongs to the request's thread: a client that refuses the certificate stops no other.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        ca_file = authority.certificate_file
    running = TestRegistry(f"localhost:{server.server_address[1]}", ca_file, behaviour or Behaviour())
    server.running = running  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        try:
            super().handle()
        except (ssl.SSLError, ConnectionError):
            # The client refused our certificate, or hung up.
            self.close_connection = True

    def do_GET(self) -> None:
        running: TestRegistry = self.server.running  # type: ignore[attr-defined]
        behaviour = running.behaviour
        parts = urlsplit(self.path)
        sent = self.headers.get("Authorization")
        running.seen.append(Seen(parts.path, parse_qs(parts.query), sent))
        if behaviour.redirect:
            self._answer(307, {"Location": behaviour.redirect})
        elif behaviour.status:
            self._answer(behaviour.status)
        elif parts.path == "/token":
            self._token(running, sent)
        elif parts.path == "/v2/":
            self._api(running, sent)
        else:
            self._answer(404)

    def _token(self, running: TestRegistry, sent: str | None) -> None:
        if sent != _basic(running.behaviour) or "scope" in running.seen[-1].query:
            self._answer(401)
            return
        if running.behaviour.token_answer is not None:
            self._answer(200, content=running.behaviour.token_answer)
            return
        token = f"token-{secrets.token_hex(16)}"
        if running.behaviour.token_valid:
            running.tokens.add(token)
        self._answer(200, content=json.dumps({"token": token, "expires_in": 60}).encode())

    def _api(self, running: TestRegistry, sent: str | None) -> None:
        behaviour = running.behaviour
        token = (sent or "").removeprefix("Bearer ")
        accepted = {
            "bearer": token in running.tokens,
            "basic": sent == _basic(behaviour),
            "both": token in running.tokens,
            "open": sent in {None, _basic(behaviour)},
            "digest": False,
        }[behaviour.scheme]
        if accepted:
            headers = {"Docker-Distribution-Api-Version": behaviour.version} if behaviour.version else {}
            self._answer(200, headers, behaviour.content)
        else:
            self._answer(401, {"WWW-Authenticate": _challenge(running)})

    def _answer(self, status: int, headers: dict[str, str] | None = None, content: bytes = b"") -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Print nothing: tests look at what was printed."""


def _challenge(running: TestRegistry) -> str:
    behaviour = running.behaviour
    realm = behaviour.realm or f"{running.scheme}://{running.host}/token"
    scope = f',scope="{behaviour.scope}"' if behaviour.scope else ""
    bearer = f'Bearer realm="{realm}",service="{SERVICE}"{scope}'
    basic = 'Basic realm="a, \\"quoted\\" realm"'
    return {
        "bearer": bearer,
        "basic": basic,
        "open": basic,
        "both": f"{basic}, {bearer}",
        "digest": 'Digest realm="x", nonce="y"',
    }[behaviour.scheme]


def _basic(behaviour: Behaviour) -> str:
    return f"Basic {base64.b64encode(f'{behaviour.username}:{behaviour.password}'.encode()).decode()}"
