"""What the checks of relayed and sealed registries judge, without servers."""

from types import SimpleNamespace
from typing import Any

import pytest

from pullsecrets.config import StackConfig, parse
from pullsecrets.credential.sealed import SEALED_GROUP_VERSION
from pullsecrets.doctor.checks.store import relay_missing, sealed_secret_unopened
from pullsecrets.doctor.model import Check, Finding
from pullsecrets.doctor.snapshot import Snapshot
from tests.components.test_relay import relayed
from tests.unit.cluster import FakeCluster
from tests.unit.doctor.tenants import NOW

NAME = "app-registry-pull"
PATH = f"{SEALED_GROUP_VERSION}/namespaces/external-secrets/sealedsecrets/{NAME}"


def config(**change: Any) -> StackConfig:
    return parse(relayed(**change), "dev")


def found(check: Check, stack: StackConfig, objects: dict[str, Any], external: dict[str, Any]) -> list[Finding]:
    seen = Snapshot(stack, "dev", FakeCluster(*objects.items()), now=NOW)
    seen.once("inventory", lambda: SimpleNamespace(external_secrets={NAME: external, "registry-api-tanhdev": {}}))
    return list(check.find(seen))


def test_a_relay_that_is_there_is_no_finding() -> None:
    assert found(relay_missing, config(), {}, {"external-secrets": {}, "apps-one": {}}) == []


def test_a_relay_that_is_gone_is_named_although_the_namespaces_have_theirs() -> None:
    (finding,) = found(relay_missing, config(), {}, {"apps-one": {}})
    assert finding.cause == f"ExternalSecret {NAME!r} in namespace 'external-secrets' does not exist."
    assert finding.registry == NAME


def sealed(status: str | None, message: str = "") -> dict[str, Any]:
    conditions = [{"type": "Synced", "status": status, "message": message}] if status else []
    return {PATH: {"status": {"conditions": conditions}}}


def test_a_sealed_registry_is_filled_by_its_sealed_secret() -> None:
    stack = config(source="sealedSecret")
    (finding,) = found(relay_missing, stack, {}, {})
    assert finding.cause.startswith("SealedSecret")
    assert found(relay_missing, stack, sealed("True"), {}) == []


@pytest.mark.parametrize(
    ("status", "cause", "fix"),
    [
        ("False", "The controller cannot open SealedSecret", "kubeseal --fetch-cert > cert.pem"),
        (None, "No controller has reconciled SealedSecret", "kubectl get pods -A"),
    ],
)
def test_a_sealed_secret_that_was_not_opened_says_why(status: str | None, cause: str, fix: str) -> None:
    objects = sealed(status, "no key could decrypt secret")
    (finding,) = found(sealed_secret_unopened, config(source="sealedSecret"), objects, {})
    assert finding.cause.startswith(cause)
    assert finding.fix[0].startswith(fix)


def test_an_opened_one_and_a_registry_in_vault_are_no_finding() -> None:
    assert found(sealed_secret_unopened, config(source="sealedSecret"), sealed("True"), {}) == []
    assert found(sealed_secret_unopened, config(), sealed("False"), {}) == []
