"""What Vault's answers mean to whoever runs a command: what to wait for, and what to fix."""

import json

import pytest

from pullsecrets.credential.vault import VaultClient, VaultDeniedError
from pullsecrets.errors import ExitCode, PullSecretsError, UnreachableError
from tests.unit.answering import answering


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_vault_that_fails_over_or_is_busy_is_not_reachable_now(status: int) -> None:
    with answering() as server:
        server.status, server.body = status, json.dumps({"errors": ["node not active but active node not found"]})
        with pytest.raises(UnreachableError, match=r"Vault at http://127\.0\.0\.1") as raised:
            VaultClient(server.address, token="made-up").read_metadata("kv", "app")
    assert raised.value.exit_code is ExitCode.UNREACHABLE


def test_what_a_policy_forbids_is_a_problem_and_no_matter_of_time() -> None:
    with answering() as server:
        server.status, server.body = 403, json.dumps({"errors": ["permission denied"]})
        with pytest.raises(VaultDeniedError, match="the token lacks the capability") as raised:
            VaultClient(server.address, token="made-up").read_metadata("kv", "app")
    assert isinstance(raised.value, PullSecretsError)
    assert raised.value.exit_code is ExitCode.PROBLEM
