"""What Vault's answers mean to whoever runs a command, and what a request tells Vault."""

import json
from collections.abc import Callable

import pytest
import requests

from pullsecrets.credential.vault import VaultClient, VaultDeniedError
from pullsecrets.credential.vault_transport import Endpoint, connection_reason, tls_reason
from pullsecrets.errors import ConflictError, ExitCode, PullSecretsError, UnreachableError
from tests.unit.answering import answering

TOKEN = "made-up"  # a name, no credential


def read(vault: VaultClient) -> object:
    return vault.read_metadata("kv", "app")


def write(vault: VaultClient) -> object:
    return vault.write_with_cas("kv", "app", {"key": "value"}, 3)


@pytest.mark.parametrize(
    ("status", "error", "ask", "kind", "told"),
    [
        *(
            (
                status,
                "node not active but active node not found",
                read,
                UnreachableError,
                "look at `vault status`",
            )
            for status in (429, 500, 502)
        ),
        (503, "Vault is sealed", read, UnreachableError, "is sealed or on standby"),
        (403, "permission denied", read, VaultDeniedError, "the token lacks the capability"),
        (404, "no handler for route", write, PullSecretsError, "is the mount there"),
        (400, "check-and-set parameter did not match the current version", write, ConflictError, "after version 3"),
        (400, "no data provided", write, PullSecretsError, "POST kv/data/app: no data provided"),
        (405, "unsupported operation", read, PullSecretsError, "GET kv/metadata/app: unsupported operation"),
    ],
)
def test_a_refusal_is_an_error_that_tells_what_to_do(
    status: int, error: str, ask: Callable[[VaultClient], object], kind: type[PullSecretsError], told: str
) -> None:
    with answering() as server:
        server.status, server.body = status, json.dumps({"errors": [error]})
        with pytest.raises(PullSecretsError, match=told) as raised:
            ask(VaultClient(server.address, token=TOKEN))
    assert type(raised.value) is kind


def test_a_path_that_was_never_written_has_no_metadata() -> None:
    with answering() as server:
        server.status = 404
        assert read(VaultClient(server.address, token=TOKEN)) is None


def test_a_server_that_is_gone_is_unreachable() -> None:
    with answering() as server:
        vault = VaultClient(server.address, token=TOKEN)
    with pytest.raises(UnreachableError, match=r"does not answer .*; check vault\.address") as raised:
        read(vault)
    assert raised.value.exit_code is ExitCode.UNREACHABLE


def test_a_request_names_its_path_as_it_is_and_carries_what_vault_wants() -> None:
    with answering() as server:
        Endpoint(server.address).request("PATCH", "kv/metadata/a b", {"a": None}, TOKEN, {"list": "true"})
    assert server.asked == ["/v1/kv/metadata/a%20b?list=true"]
    assert {name: server.headers.get(name) for name in ("X-Vault-Token", "X-Vault-Request", "Content-Type")} == {
        "X-Vault-Token": TOKEN,
        "X-Vault-Request": "true",
        "Content-Type": "application/merge-patch+json",
    }


def test_reasons_are_told_in_words_of_our_own() -> None:
    refused = requests.exceptions.ConnectionError("HTTPSConnectionPool(0x7f): [Errno 111] Connection refused")
    assert connection_reason(refused) == "connection refused"
    untrusted = Exception("SSLError(1, '[SSL] certificate verify failed: self-signed certificate (_ssl.c:1006)')")
    assert tls_reason(untrusted) == "certificate verify failed: self-signed certificate"
