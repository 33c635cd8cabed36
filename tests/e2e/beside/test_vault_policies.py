"""Vault policies as the pack reads them, compared with what the real server lets a token do."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hvac.exceptions import InvalidRequest

from local.controlplane import ControlPlane
from pullsecrets.policy.model import Resource
from pullsecrets.policy.vault_access import judge_vault_access

pytestmark = pytest.mark.controlplane

SHARED = Path(__file__).parents[2] / "policies" / "cases" / "vault-policies.json"
POLICIES = {case["name"]: case["policy"] for case in json.loads(SHARED.read_text())["cases"]} | {
    "reads one": 'path "secret/data/registry/api" { capabilities = ["read"] }',
    "reads one, in the old words": 'path "/secret/data/registry/api" { policy = "read" }',
    "reads below the prefix": '# a\npath "secret/metadata/registry/*" { "capabilities" = ["read", "list"] }',
    "denies beside a write": 'path "secret/data/registry/api" { capabilities = ["update", "deny"] }',
    "the first of two": 'path "secret/data/registry/api" { capabilities = ["update"] capabilities = ["read"] }',
    "two stanzas": 'path "secret/data/registry/api" { capabilities = ["read"] } '
    'path "secret/data/registry/api" { capabilities = ["patch"] }',
    "a quoted keyword": '"path" "secret/data/registry/api" { capabilities = ["create"] }',
    "a list in JSON": '{"path": [{"secret/data/registry/api": {"capabilities": ["delete"]}}]}',
    "a heredoc": 'path "secret/data/registry/api" { capabilities = [<<END\nupdate\nEND\n] }',
    "a comment that looks like an end": 'path "secret/data/registry/api" { # }\n capabilities = ["update"] }',
    "other secrets": 'path "secret/data/shop/*" { capabilities = ["create", "update", "read"] }',
    "a part of a name": 'path "secret/data/reg" { capabilities = ["update"] }',
    "a prefix of a name": 'path "secret/data/reg*" { capabilities = ["update"] }',
    "one segment": 'path "secret/+/registry/api" { capabilities = ["delete"] }',
}
KV = ("data", "metadata", "delete", "undelete", "destroy", "subkeys")
OURS = [
    f"secret/{part}/{path}" for part in KV for path in ("registry/api", "registry/api-tanhdev", "ocp/dev/registries/a")
]
CONTROLS = [
    "sys/policies/acl/a",
    "sys/policy/a",
    "auth/kubernetes/role/a",
    "sys/mounts/a",
    "identity/entity",
    "sys/auth/a",
]
STORAGE = ["sys/raw/core/keyring", "sys/raw/a"]
OTHERS = ["other/data/registry/api", "secret/data/shop/a", "database/creds/a"]
READING = {"read", "list", "scan", "deny"}


@pytest.fixture(scope="module")
def vault(plane: ControlPlane) -> Iterator[Any]:
    client = plane.vault("root")
    yield client
    client.sys.delete_policy("e2e-read-by-the-pack")


def capabilities(vault: Any, policy: str) -> dict[str, set[str]] | None:
    """What a token with a policy may do at each path; None where the server does not take the policy."""
    try:
        vault.sys.create_or_update_policy("e2e-read-by-the-pack", policy)
    except InvalidRequest:
        return None
    token = vault.auth.token.create(policies=["e2e-read-by-the-pack"], no_default_policy=True, ttl="5m")
    body = {"token": token["auth"]["client_token"], "paths": [*OURS, *CONTROLS, *STORAGE, *OTHERS]}
    answer = vault.adapter.post("/v1/sys/capabilities", json=body)
    data = answer["data"] if isinstance(answer, dict) else answer.json()["data"]
    return {path: set(given) for path, given in data.items() if path in body["paths"]}


@pytest.mark.parametrize("name", POLICIES)
def test_the_pack_finds_what_the_server_would_permit(name: str, vault: Any) -> None:
    resource = Resource("vault:index/policy:Policy", name, "urn", {"policy": POLICIES[name]})
    found = list(judge_vault_access(resource, {}))
    given = capabilities(vault, POLICIES[name])
    if given is None:
        assert found, "what the server refuses is not read as harmless"
        return
    ours = any(not given[path] <= READING for path in OURS)
    controls = any(not given[path] <= READING for path in CONTROLS)
    storage = any(given[path] != {"deny"} for path in STORAGE)
    # A wildcard that takes in the registries and somebody else's secrets is more than one registry needs.
    beyond = any(given[path] != {"deny"} for path in OURS) and any(given[path] != {"deny"} for path in OTHERS)
    assert bool(found) is (ours or controls or storage or beyond), given
