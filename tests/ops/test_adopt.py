"""Adoption on the real control plane: hand-made Secrets are taken over, Pods go on pulling, and there is a way back."""

import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pullsecrets.adoption import adopt, undo
from pullsecrets.adoption.adopt import Migration
from pullsecrets.credential.vault import VaultClient
from pullsecrets.kube.marks import FINALIZER_PREFIX, LAST_APPLIED, OLD_PULL_SECRET_TYPE, PULL_SECRET_TYPE
from tests.e2e.stack import OTHERS_ENTRY, Stack, namespace, secret
from tests.ops.by_hand import (
    deletions,
    document,
    environment,
    free,
    login,
    make_namespace,
    make_secret,
    migrator,
)

pytestmark = pytest.mark.controlplane

SAME, NAMED, OPAQUE, WRONG, HELM = (
    "ops-hand-same",
    "ops-hand-named",
    "ops-hand-opaque",
    "ops-hand-wrong",
    "ops-hand-helm",
)
OLD = "canary-" + secrets.token_hex(8)


@pytest.fixture(scope="module", autouse=True)
def in_vault(stack: Stack) -> None:
    """Vault holds what the hand-made Secrets are made of, whatever was rotated before."""
    stack.seed_all()


@pytest.fixture
def by_hand(stack: Stack) -> Iterator[Stack]:
    """One namespace for each way in which people have made pull Secrets."""
    current = login(stack.passwords["ops-app"])
    for name in (SAME, NAMED, OPAQUE, WRONG, HELM):
        make_namespace(stack, name, "old-regcred" if name == NAMED else "ops-app")
    make_secret(stack, SAME, "ops-app", current, applied=True)
    make_secret(stack, NAMED, "old-regcred", current)
    make_secret(stack, OPAQUE, "ops-app", current, kind="Opaque")
    make_secret(stack, WRONG, "ops-app", login(OLD))
    make_secret(stack, HELM, "ops-app", current, labels={"app.kubernetes.io/managed-by": "Helm"})
    yield stack
    free(stack, SAME, NAMED, OPAQUE, WRONG, HELM)


def run(stack: Stack, *arguments: str) -> tuple[int, str]:
    # With every request logged, so that the logs are searched for the credential too.
    done = stack.command("--verbose", "adopt", "--registry", "ops-app", *arguments, environment=environment(stack))
    if "--json" in arguments:
        assert done.stdout, done.stderr
        return done.returncode, done.stdout
    return done.returncode, done.stdout + done.stderr


def version(stack: Stack, where: str) -> str:
    return stack.get(secret(where, "ops-app"))["metadata"]["resourceVersion"]


def owners(found: dict[str, Any]) -> list[str]:
    return [owner["kind"] for owner in found["metadata"].get("ownerReferences", [])]


def test_hand_made_secrets_are_taken_over_and_brought_back(by_hand: Stack) -> None:
    stack = by_hand
    denied = stack.command(
        "adopt", "--registry", "ops-app", "--dry-run", environment=environment(stack, stack.operator)
    )
    assert (denied.returncode, "one of the migrators" in denied.stdout) == (1, True)

    code, printed = run(stack, "--dry-run")
    assert code == 1
    assert f"Secret {WRONG}/ops-app: other login" in printed
    assert f"Secret {HELM}/ops-app is kept by Helm" in printed
    assert "ops.platform/app" not in stack.get(namespace(SAME))["metadata"]["labels"]

    before = {name: version(stack, name) for name in (SAME, OPAQUE, WRONG)}
    code, printed = run(stack, "--yes", "--json")
    assert code == 1, "two namespaces are refused"
    found = {item["namespace"]: item for item in json.loads(printed)["namespaces"]}
    assert set(found) == {SAME, NAMED, OPAQUE, WRONG, HELM}
    for name in (SAME, NAMED, OPAQUE):
        delivered = stack.get(secret(name, "ops-app"))
        assert (delivered["type"], owners(delivered)) == (PULL_SECRET_TYPE, ["ExternalSecret"])
        assert stack.entries(name) == [OTHERS_ENTRY, "ops-app"]
        assert LAST_APPLIED not in delivered["metadata"]["annotations"]
    assert deletions(stack, SAME, "ops-app", before[SAME]) == []
    assert deletions(stack, OPAQUE, "ops-app", before[OPAQUE]), "the kubelet pulls with no Secret of this type anyway"
    assert stack.find(secret(NAMED, "old-regcred")), "Pods that run still name it"
    assert document(stack.get(secret(WRONG, "ops-app"))) == {"auths": login(OLD)}
    assert run(stack, SAME, NAMED, OPAQUE, "--yes")[0] == 0

    code, printed = run(stack, WRONG, "--accept-other-login", "--yes")
    assert code == 0, printed
    assert document(stack.get(secret(WRONG, "ops-app")))["auths"] != login(OLD)
    code, printed = run(stack, "--undo", WRONG, "--yes")
    assert code == 0, printed
    restored = stack.get(secret(WRONG, "ops-app"))
    assert (document(restored), owners(restored)) == ({"auths": login(OLD)}, [])
    assert deletions(stack, WRONG, "ops-app", before[WRONG]) == []
    assert stack.entries(WRONG) == [OTHERS_ENTRY, "ops-app"]
    left = stack.get(namespace(WRONG))["metadata"]
    assert f"{FINALIZER_PREFIX}ops-app" not in left.get("finalizers", [])

    assert run(stack, "--undo", NAMED, "--yes")[0] == 0
    assert stack.entries(NAMED) == [OTHERS_ENTRY, "old-regcred"]
    assert stack.find(secret(NAMED, "ops-app")) is None
    assert run(stack, "--undo", OPAQUE, "--yes")[0] == 0
    assert stack.get(secret(OPAQUE, "ops-app"))["type"] == "Opaque"
    assert any("DEBUG" in text for text in stack.printed), "the logs are there to be searched"
    assert all(OLD not in text for text in stack.printed)
    assert all(stack.passwords["ops-app"] not in text for text in stack.printed)


@pytest.fixture
def replaced(stack: Stack) -> Iterator[dict[str, dict[str, Any]]]:
    """Secrets that serve and cannot become ours by an update, by namespace."""
    current = login(stack.passwords["ops-app"])
    kinds: dict[str, dict[str, Any]] = {
        "ops-hand-immutable": {"immutable": True},
        "ops-hand-dockercfg": {"kind": OLD_PULL_SECRET_TYPE},
    }
    for name in kinds:
        make_namespace(stack, name, "ops-app")
    yield {name: make_secret(stack, name, "ops-app", current, **how) for name, how in kinds.items()}
    free(stack, *kinds)


def test_one_that_must_be_made_anew_is_replaced_with_consent_and_brought_back(
    stack: Stack, replaced: dict[str, dict[str, Any]]
) -> None:
    code, printed = run(stack, *replaced, "--yes")
    assert code == 1
    assert printed.count("add --accept-gap") == len(replaced)
    for name, made in replaced.items():
        assert version(stack, name) == made["metadata"]["resourceVersion"]

    code, printed = run(stack, *replaced, "--accept-gap", "--yes")
    assert code == 0, printed
    for name in replaced:
        delivered = stack.get(secret(name, "ops-app"))
        assert (delivered["type"], owners(delivered)) == (PULL_SECRET_TYPE, ["ExternalSecret"])
        assert not delivered.get("immutable")

    for name, made in replaced.items():
        code, printed = run(stack, "--undo", name, "--yes")
        assert code == 0, printed
        restored = stack.get(secret(name, "ops-app"))
        assert owners(restored) == []
        for key in ("type", "data", "immutable"):
            assert restored.get(key) == made.get(key), key
        assert stack.entries(name) == [OTHERS_ENTRY, "ops-app"]


class Killed(Exception):  # noqa: N818 - what happens to the process
    """The process ends here."""


def killed_at(step: str | None) -> Callable[[str], None]:
    """Told of each step, end at the one that begins so."""

    def kill(done: str) -> None:
        if step is not None and done.startswith(step):
            raise Killed

    return kill


@pytest.fixture
def twice(stack: Stack) -> Iterator[list[str]]:
    names = ["ops-again-same", "ops-again-named"]
    yield names
    free(stack, *names)


def test_killed_after_any_step_it_is_finished_by_running_it_again(stack: Stack, twice: list[str]) -> None:
    same, named = twice
    make_namespace(stack, same, "ops-app")
    make_namespace(stack, named, "old-regcred")
    current = login(stack.passwords["ops-app"])
    config = stack.config()
    vault = VaultClient(config.vault.address, config.vault.ca_bundle, environment(stack)["VAULT_TOKEN"])
    where = Migration(config, stack.client(migrator(stack)), vault, config.registry("ops-app"))
    seeded = adopt.read_seeded(where)
    make_secret(stack, same, "ops-app", current)
    make_secret(stack, named, "old-regcred", current)

    steps = {
        "kept in Vault": "back: ",
        f"labelled: {named}": "entries taken out",
        f"labelled: {same}": "labels taken off",
        "proved": "ExternalSecret and Secret are gone",
        "ServiceAccounts name": "finalizers released",
    }
    for last, undone in steps.items():
        with pytest.raises(Killed):
            adopt.carry_out(where, seeded, adopt.plan(where, seeded, twice), 60, killed_at(last))
        adopt.carry_out(where, seeded, adopt.plan(where, seeded, twice), 60, killed_at(None))
        assert not any(item.wanted for item in adopt.plan(where, seeded, twice)), last
        for name in twice:
            assert owners(stack.get(secret(name, "ops-app"))) == ["ExternalSecret"]
            assert stack.entries(name) == [OTHERS_ENTRY, "ops-app"]
            with pytest.raises(Killed):
                undo.carry_out(where, undo.plan(where, name), 60, killed_at(undone))
            undo.carry_out(where, undo.plan(where, name), 60, killed_at(None))
        assert owners(stack.get(secret(same, "ops-app"))) == []
        assert stack.entries(same) == [OTHERS_ENTRY, "ops-app"]
        assert stack.entries(named) == [OTHERS_ENTRY, "old-regcred"]
