"""Before Vault's policies and roles are written, those of others are found: neither bears a mark of who made it."""

import json
from typing import Any, cast

import pytest

from pullsecrets.credential.vault import VaultDeniedError
from pullsecrets.errors import ConflictError
from pullsecrets.manifests.builders import vault_read_policy
from pullsecrets.tenancy import preflight
from tests.unit.manifests.test_audit_job import monitored

ROLE = "external-secrets-registries"
AUDIT = "pull-secrets-audit"
POLICY = "pull-secrets-dev-app-registry-pull"
OURS = vault_read_policy("secret", "ocp/dev/registries/app-registry-pull")


class Vault:
    """Policies by name, and the policies of roles by name."""

    def __init__(self, policies: dict[str, str], roles: dict[str, list[str]], *, denies: bool = False) -> None:
        self.policies = policies
        self.roles = roles
        self.denies = denies

    def read_policy(self, name: str) -> str | None:
        if self.denies:
            raise VaultDeniedError("permission denied")
        return self.policies.get(name)

    def read_role(self, mount: str, name: str) -> dict[str, Any] | None:
        assert mount == "kubernetes"
        found = self.roles.get(name)
        return None if found is None else {"token_policies": found}


def judge(policies: dict[str, str] | None = None, roles: dict[str, list[str]] | None = None, **options: bool) -> None:
    preflight.require_own_access(monitored(), cast("Any", Vault(policies or {}, roles or {}, **options)))


def test_what_a_run_of_ours_left_is_ours() -> None:
    judge()
    roles = {ROLE: [POLICY], f"{ROLE}-registry-api-tanhdev": [], AUDIT: ["pull-secrets-audit.dev"]}
    # The role of a stack that gave every registry the same store.
    judge({POLICY: OURS}, {**roles, ROLE: [POLICY, "pull-secrets-dev-registry-api-tanhdev"]})


@pytest.mark.parametrize(
    "policy",
    [
        'path "secret/*" { capabilities = ["read"] }',
        json.dumps({"path": {"secret/data/a": {"capabilities": ["read", "update"]}}}),
        json.dumps({"path": {"secret/data/a": {"capabilities": ["read"], "policy": "write"}}}),
        json.dumps([]),
    ],
)
def test_a_policy_of_others_is_not_taken_over(policy: str) -> None:
    with pytest.raises(ConflictError, match=f"Vault policy '{POLICY}' exists and is not as this program writes it"):
        judge({POLICY: policy})


@pytest.mark.parametrize("role", [ROLE, f"{ROLE}-registry-api-tanhdev", AUDIT])
@pytest.mark.parametrize("policies", [["default"], [POLICY, "pull-secrets-prod-app-registry-pull"]])
def test_a_role_of_others_is_not_taken_over(role: str, policies: list[str]) -> None:
    with pytest.raises(ConflictError, match=f"Vault role '{role}' .* hands out policies of others \\({policies[-1]}"):
        judge(roles={role: policies})


def test_who_may_not_read_policies_is_not_kept_from_writing_them() -> None:
    judge({POLICY: "path {}"}, denies=True)
