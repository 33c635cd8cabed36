"""Cleanup on the real control plane: what nothing uses goes, everything else stays and is named, and all comes back."""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.stack import OTHERS_ENTRY, Stack, account, namespace, secret
from tests.ops.by_hand import document, environment, free, login, make_namespace, make_secret
from tests.ops.workloads import create, delete, deployment

pytestmark = pytest.mark.controlplane

TENANT = "ops-legacy"
OLD = "canary-" + secrets.token_hex(8)


@pytest.fixture
def legacy(stack: Stack) -> Iterator[Stack]:
    """A tenant that receives ours and still holds what people and tools left there."""
    make_namespace(stack, TENANT, "listed")
    stack.patch(namespace(TENANT), {"metadata": {"labels": {"ops.platform/app": "true"}}})
    for name in ("unused", "listed", "templated"):
        make_secret(stack, TENANT, name, login(OLD))
    make_secret(stack, TENANT, "misspelt", login(OLD, "registry.example.com"))
    make_secret(stack, TENANT, "elsewhere", login(OLD, "other.example.com"))
    make_secret(stack, TENANT, "helm", login(OLD), labels={"app.kubernetes.io/managed-by": "Helm"})
    stack.get(secret(TENANT, "ops-app"))
    yield stack
    free(stack, TENANT)


def run(stack: Stack, *arguments: str) -> tuple[int, str]:
    # With every request logged, so that the logs are searched for the credential too.
    done = stack.command("--verbose", "cleanup", *arguments, environment=environment(stack))
    return done.returncode, done.stdout if "--json" in arguments else done.stdout + done.stderr


def reasons(printed: str) -> dict[str, Any]:
    return {item["name"]: item["stays"] for item in json.loads(printed)["secrets"]}


def test_what_nothing_uses_goes_and_comes_back(legacy: Stack) -> None:
    stack = legacy
    app = deployment(TENANT, "app", "app.registry.example.com/team/app:1", 0, ["templated"])
    create(stack.admin, app)
    code, printed = run(stack, "--yes", "--json")
    assert code == 1, "Secrets that are used are left"
    assert reasons(printed) == {
        "unused": None,
        "misspelt": None,
        "listed": "still named",
        "templated": "still named",
        "elsewhere": "opens none of the stack's registries",
        "helm": "kept by Helm: remove it there",
    }
    users = {item["name"]: item["users"] for item in json.loads(printed)["secrets"]}
    assert users["listed"] == ["ServiceAccount default"]
    assert users["templated"] == ["Deployment app"]
    for name in ("unused", "misspelt"):
        assert stack.find(secret(TENANT, name)) is None
    for name in ("listed", "templated", "elsewhere", "helm", "ops-app"):
        assert stack.find(secret(TENANT, name))

    delete(stack.admin, app)
    stack.patch(account(TENANT), {"imagePullSecrets": [{"name": OTHERS_ENTRY}, {"name": "ops-app"}]})
    code, printed = run(stack, TENANT, "--dry-run")
    assert "dry run: nothing was changed" in printed
    assert stack.find(secret(TENANT, "listed"))
    assert run(stack, TENANT, "--yes")[0] == 1, "Helm's is left"
    assert stack.find(secret(TENANT, "listed")) is None

    code, printed = run(stack, "--restore", TENANT, "--yes")
    assert code == 0, printed
    for name in ("unused", "listed", "templated"):
        assert document(stack.get(secret(TENANT, name))) == {"auths": login(OLD)}
    code, printed = run(stack, "--restore", TENANT, "--secret", "unused", "--yes")
    assert (code, "is there already" in printed) == (0, True)
    stack.patch(secret(TENANT, "unused"), {"data": {".dockerconfigjson": "e30="}})
    code, printed = run(stack, "--restore", TENANT, "--secret", "unused", "--yes")
    assert (code, "there is one with other content" in printed) == (3, True)
    assert any("DEBUG" in text for text in stack.printed), "the logs are there to be searched"
    assert all(OLD not in text for text in stack.printed)
