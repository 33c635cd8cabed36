"""A credential is proved by logging in, and goes nowhere but to the registry and its token service over TLS."""

import base64
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets import redaction
from pullsecrets.credential import registry_login
from pullsecrets.credential.registry_login import LoginProof, LoginRefusedError, challenges_of
from pullsecrets.credential.sources import from_login
from pullsecrets.errors import BadInputError, UnreachableError
from tests.registry import SERVICE, Behaviour, TestRegistry, registry

CANARY = "canary-of-the-login-8f3a"
GOOD = Behaviour(password=CANARY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry-ca")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[TestRegistry]:
    with registry(folder) as running:
        yield running


@pytest.fixture
def good(server: TestRegistry) -> TestRegistry:
    server.behaviour = replace(GOOD)
    server.seen.clear()
    return server


class Proxy(ThreadingHTTPServer):
    """Lets through who gives its login, to the host that is asked for."""

    login: str | None = None
    """`user:password`; None lets everybody through."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Tunnel)
        self.asked: list[str] = []

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class Tunnel(BaseHTTPRequestHandler):
    def do_CONNECT(self) -> None:
        proxy: Proxy = self.server  # type: ignore[assignment]
        proxy.asked.append(self.path)
        login = proxy.login
        wanted = login and f"Basic {base64.b64encode(login.encode()).decode()}"
        host, _, port = self.path.rpartition(":")
        if wanted and self.headers["Proxy-Authorization"] != wanted:
            self.send_error(407)
        elif host != "localhost":
            self.send_error(502)
        else:
            with socket.create_connection((host, int(port))) as target:
                self.send_response(200)
                self.end_headers()
                with suppress(ConnectionError):
                    self._relay({self.connection: target, target: self.connection})

    def _relay(self, other: dict[socket.socket, socket.socket]) -> None:
        while True:
            for end in select.select(list(other), [], [])[0]:
                content = end.recv(1 << 16)
                if not content:
                    return
                other[end].sendall(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy, and an environment without any; registries on this machine are asked through it too."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(registry_login, "_is_loopback", lambda _: False)
    server = Proxy()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def log_in(server: TestRegistry, password: str = CANARY, username: str = "bot") -> LoginProof:
    (proof,) = registry_login.verify(from_login(username, password, [server.host]), server.ca_file)
    return proof


@pytest.mark.parametrize("scheme", ["bearer", "basic", "both"])
def test_the_right_login_is_accepted(good: TestRegistry, scheme: str) -> None:
    good.behaviour.scheme = scheme
    assert log_in(good) == LoginProof(good.host, tested=True, realm_host=None)
    assert good.seen[0].authorization is None, "the credential was sent before anybody asked for it"


@pytest.mark.parametrize("scheme", ["bearer", "basic", "both", "open"])
def test_a_wrong_password_is_refused_without_being_shown(good: TestRegistry, scheme: str) -> None:
    good.behaviour.scheme = scheme
    with pytest.raises(LoginRefusedError, match=r"the login was refused .*401.*check user and password") as raised:
        log_in(good, f"{CANARY}-wrong")
    assert CANARY not in str(raised.value)


def test_a_user_and_password_beyond_ascii_are_sent_as_utf8(good: TestRegistry) -> None:
    good.behaviour = Behaviour("bötchen", f"{CANARY}-süß-秘密", "basic")
    assert log_in(good, good.behaviour.password, good.behaviour.username).tested


def test_the_token_service_is_told_service_and_account_and_no_scope(good: TestRegistry) -> None:
    good.behaviour.scope = "repository:app:pull"
    good.behaviour.realm = f"https://{good.host}/token?tenant=a"
    log_in(good)
    # An account need not be allowed what the challenge names: docker and podman log in without it too.
    expected = {"tenant": ["a"], "service": [SERVICE], "account": ["bot"]}
    assert [request.query for request in good.seen if request.path == "/token"] == [expected]


def test_a_registry_that_lets_everybody_in_proves_nothing(good: TestRegistry) -> None:
    good.behaviour.scheme = "open"
    assert log_in(good) == LoginProof(good.host, tested=False, realm_host=None)


@pytest.mark.parametrize("scheme", ["open", "basic", "bearer"])
def test_a_page_is_no_registry(good: TestRegistry, scheme: str) -> None:
    good.behaviour.scheme = scheme
    good.behaviour.content = b"<html><body>Sign in</body></html>"
    with pytest.raises(LoginRefusedError, match="answers with a page, not as a registry's API"):
        log_in(good)


@pytest.mark.parametrize(("content", "version"), [(b"", None), (b"true\n", None), (b"<html></html>", "registry/2.0")])
def test_a_registry_is_known_by_json_or_by_its_header(good: TestRegistry, content: bytes, version: str | None) -> None:
    good.behaviour.content, good.behaviour.version = content, version
    assert log_in(good).tested


def test_another_host_of_the_token_service_is_told(good: TestRegistry, folder: Path) -> None:
    with registry(folder, good.behaviour) as tokens:
        tokens.tokens = good.tokens
        good.behaviour.realm = f"https://{tokens.host}/token"
        assert log_in(good).realm_host == tokens.host
        assert tokens.was_given_a_login


def test_a_token_service_without_tls_gets_nothing(good: TestRegistry) -> None:
    good.behaviour.realm = "http://auth.example.com/token"
    with pytest.raises(LoginRefusedError, match=r"auth\.example\.com without TLS; nothing was sent there"):
        log_in(good)
    assert not good.was_given_a_login


@pytest.mark.parametrize(
    "realm",
    [
        "https://bot@auth.example.com/",
        "ftp://auth.example.com/",
        "https://[",
        "https://a:99999/",
        "/token",
        "https:///x",
    ],
)
def test_a_token_service_that_is_none_gets_nothing(good: TestRegistry, realm: str) -> None:
    good.behaviour.realm = realm
    with pytest.raises(LoginRefusedError, match=f"registry {good.host}: names (no usable|the) token service"):
        log_in(good)
    assert not good.was_given_a_login


@pytest.mark.parametrize("where", ["registry", "token service"])
def test_no_redirect_is_followed(good: TestRegistry, folder: Path, where: str) -> None:
    with registry(folder) as elsewhere, registry(folder) as redirecting:
        redirecting.behaviour.redirect = f"https://{elsewhere.host}/token?secret-of-the-redirect"
        if where == "registry":
            good.behaviour.redirect = redirecting.behaviour.redirect
        else:
            good.behaviour.realm = f"https://{redirecting.host}/token"
        with pytest.raises(LoginRefusedError, match="redirects to localhost, where no credential is sent") as raised:
            log_in(good)
        assert "secret-of-the-redirect" not in str(raised.value)
        assert not elsewhere.seen


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b"{}", b'{"token": 7}', b'{"token": "a\\r\\nX: y"}', b"[" * 100_000, b'{"token": "\\u00e9"}']
)
def test_a_token_service_without_a_token_is_refused(good: TestRegistry, answer: bytes) -> None:
    good.behaviour.token_answer = answer
    with pytest.raises(LoginRefusedError, match="answered without a token"):
        log_in(good)


def test_a_token_that_the_registry_does_not_take_is_refused(good: TestRegistry) -> None:
    good.behaviour.token_valid = False
    with pytest.raises(LoginRefusedError, match="refused by its API"):
        log_in(good)


def test_an_unknown_way_to_log_in_is_refused(good: TestRegistry) -> None:
    good.behaviour.scheme = "digest"
    with pytest.raises(LoginRefusedError, match="asks for a login by digest; allowed: Bearer or Basic"):
        log_in(good)
    assert not good.was_given_a_login


@pytest.mark.parametrize(
    ("status", "error"), [(404, LoginRefusedError), (503, UnreachableError), (429, UnreachableError)]
)
def test_an_answer_that_is_no_registrys_is_told(good: TestRegistry, status: int, error: type[Exception]) -> None:
    good.behaviour.status = status
    with pytest.raises(error, match=f"answers {status}"):
        log_in(good)


def test_an_untrusted_certificate_stops_the_login(good: TestRegistry) -> None:
    with pytest.raises(UnreachableError, match=r"not trusted \(certificate verify failed.*--registry-ca"):
        registry_login.verify(from_login("bot", CANARY, [good.host]))
    assert not good.seen


def test_a_registry_that_is_not_there_is_unreachable(folder: Path) -> None:
    with registry(folder) as gone:
        pass
    with pytest.raises(UnreachableError, match=f"{gone.host} does not answer"):
        log_in(gone)


def test_plain_http_is_spoken_to_this_machine_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with registry(folder, replace(GOOD), tls=False) as plain:
        assert log_in(plain).tested
        plain.seen.clear()
        # The same registry under a name that is not this machine's.
        monkeypatch.setattr(registry_login, "_is_loopback", lambda _: False)
        with pytest.raises(UnreachableError, match="does not speak TLS"):
            log_in(plain)
        assert not plain.was_given_a_login


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_proxy_is_given_the_login_in_its_url(
    good: TestRegistry, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    password = f"{CANARY}-of the/proxy:süß@"
    proxy.login = f"corp:{password}"
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}corp:{quote(password, safe='')}@{proxy.host}")
    assert log_in(good).tested
    assert set(proxy.asked) == {good.host}
    assert CANARY not in redaction.redact(f"tunnel refused for {password}")


def test_a_proxy_without_a_scheme_or_a_login_is_used(
    good: TestRegistry, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.host)
    assert log_in(good).tested
    assert set(proxy.asked) == {good.host}


@pytest.mark.parametrize(
    "address", ["http://corp:{password}@{host}", "http://[corp:{password}@{host}", "corp:{password}@"]
)
def test_a_proxy_that_lets_nobody_through_is_not_shown_with_its_login(
    good: TestRegistry, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    proxy.login = "corp:something-else"
    monkeypatch.setenv("HTTPS_PROXY", address.format(password=CANARY, host=proxy.host))
    with pytest.raises(UnreachableError, match=f"registry {good.host}: {good.host} does not answer") as raised:
        log_in(good, "password-of-the-registry")
    assert CANARY not in str(raised.value)


def test_docker_hub_is_asked_where_its_api_is(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.host}")
    with pytest.raises(UnreachableError, match=r"registry docker\.io: registry-1\.docker\.io does not answer"):
        registry_login.verify(from_login("bot", CANARY, ["docker.io"]))
    assert proxy.asked == ["registry-1.docker.io:443"]


def test_a_registry_whose_api_is_elsewhere_is_proved_by_its_own_name(
    good: TestRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry_login._API_HOSTS, "hub.example.com", good.host)
    credential = from_login("bot", CANARY, ["hub.example.com"])
    assert registry_login.verify(credential, good.ca_file) == (
        LoginProof("hub.example.com", tested=True, realm_host=None),
    )
    with pytest.raises(LoginRefusedError, match=r"registry hub\.example\.com: the login was refused"):
        registry_login.verify(from_login("bot", f"{CANARY}-wrong", ["hub.example.com"]), good.ca_file)


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    for file, cause in ((tmp_path / "absent", "No such file"), (tmp_path / "empty", "no PEM certificates")):
        if cause.startswith("no"):
            file.write_text("x")
        with pytest.raises(BadInputError, match=f"--registry-ca {file}: {cause}"):
            registry_login.verify(from_login("bot", CANARY, ["localhost:1"]), file)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Bearer realm="https://a/t?x=1,2",service="s"', [("bearer", {"realm": "https://a/t?x=1,2", "service": "s"})]),
        ('Basic realm="a", Bearer realm="b"', [("basic", {"realm": "a"}), ("bearer", {"realm": "b"})]),
        ("Negotiate, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('bearer Realm = "a \\"b\\""', [("bearer", {"realm": 'a "b"'})]),
        ('Bearer realm="first",realm="second"', [("bearer", {"realm": "first"})]),
        ("", []),
    ],
)
def test_challenges_are_read_as_http_writes_them(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert [(item.scheme, dict(item.parameters)) for item in challenges_of([header])] == expected


@given(st.lists(st.text()))
def test_any_header_is_read_or_passed_over(headers: list[str]) -> None:
    assert all(item.scheme == item.scheme.lower() for item in challenges_of(headers))
