"""Logging in to Vault as a Pod's ServiceAccount: when, with what, and that the token goes back."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pullsecrets import redaction
from pullsecrets.config import parse
from pullsecrets.credential import vault_token
from pullsecrets.errors import BadInputError, UnreachableError
from tests.unit.config.test_config import GOOD

JWT, TOKEN = "canary-jwt-of-a-pod", "canary-token-of-vault"


class FakeVault(ThreadingHTTPServer):
    """Knows one role; remembers what it was asked, with which token."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str | None, dict[str, Any]]] = []
        self.stranger: bytes | None = None
        """What something else says that stands at Vault's address."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeVault  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or b"{}")
        self.server.asked.append((self.path, self.headers["X-Vault-Token"], body))
        if self.server.stranger is not None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.server.stranger)
            return
        known = body == {"role": "reader", "jwt": JWT} or self.path.endswith("revoke-self")
        answer: dict[str, Any] = {"auth": {"client_token": TOKEN}} if known else {"errors": ["invalid role name"]}
        self.send_response(200 if known else 400)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Print nothing."""


@pytest.fixture
def vault() -> Iterator[FakeVault]:
    server = FakeVault()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def at_exit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """What is to be done when the process ends; and a Pod's environment."""
    kept: list[Any] = []
    monkeypatch.setattr(vault_token, "at_exit", lambda *call: kept.append(call))
    file = tmp_path / "token"
    file.write_text(f"{JWT}\n", encoding="utf-8")
    for name in ("VAULT_TOKEN", "VAULT_CACERT", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VAULT_KUBERNETES_ROLE", "reader")
    monkeypatch.setenv("VAULT_KUBERNETES_TOKEN_FILE", str(file))
    return kept


def test_a_role_in_the_environment_logs_in_and_gives_the_token_back_at_the_end(
    vault: FakeVault, at_exit: list[Any]
) -> None:
    assert vault_token.token_of_environment(vault.url, None, "kubernetes-dev") == TOKEN
    ((function, *arguments),) = at_exit
    function(*arguments)
    assert vault.asked == [
        ("/v1/auth/kubernetes-dev/login", None, {"role": "reader", "jwt": JWT}),
        ("/v1/auth/token/revoke-self", TOKEN, {}),
    ]
    assert redaction.redact(f"{JWT} {TOKEN}") == "[redacted] [redacted]"


def test_a_token_of_the_environment_comes_first(vault: FakeVault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "given")
    assert vault_token.token_of_environment(vault.url, None, "kubernetes") is None
    monkeypatch.delenv("VAULT_TOKEN")
    monkeypatch.delenv("VAULT_KUBERNETES_ROLE")
    assert vault_token.token_of_environment(vault.url, None, "kubernetes") is None
    assert vault.asked == []


def test_the_commands_log_in_at_the_stacks_own_mount(vault: FakeVault) -> None:
    config = parse(GOOD, "test")
    here = config.vault.model_copy(update={"address": vault.url})
    vault_token.open_vault(config.model_copy(update={"vault_section": here}))
    assert [path for path, *_ in vault.asked] == ["/v1/auth/kubernetes/login"]


def test_a_refusal_says_which_role_of_which_mount(vault: FakeVault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_KUBERNETES_ROLE", "nobody")
    with pytest.raises(UnreachableError, match=r"login to role 'nobody' .* of mount 'kubernetes': invalid role name"):
        vault_token.token_of_environment(vault.url, None, "kubernetes")


@pytest.mark.parametrize("answer", [b"<html>Sign in</html>", b"{}", b'{"auth": null}', b'{"auth": {}}'])
def test_an_address_where_something_else_answers_is_named(vault: FakeVault, answer: bytes) -> None:
    vault.stranger = answer
    with pytest.raises(UnreachableError, match=rf"^{vault.url}: .*no Vault, .*; check vault\.address"):
        vault_token.token_of_environment(vault.url, None, "kubernetes")


def test_a_missing_token_file_is_named_with_what_to_set(vault: FakeVault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_KUBERNETES_TOKEN_FILE", "/nowhere/token")
    with pytest.raises(BadInputError, match=r"/nowhere/token: .*VAULT_KUBERNETES_TOKEN_FILE"):
        vault_token.token_of_environment(vault.url, None, "kubernetes")


def test_a_vault_that_does_not_answer_is_named(vault: FakeVault) -> None:
    url = vault.url
    vault.server_close()
    with pytest.raises(UnreachableError, match="does not answer the Kubernetes login"):
        vault_token.token_of_environment(url, None, "kubernetes")
