"""One namespace step by step: where the way of a credential into it breaks."""

from collections.abc import Callable

import pytest

from pullsecrets.coverage.rows import State
from pullsecrets.doctor.chain import Chain, chains
from tests.unit.doctor.tenants import APP, TENANTS, World, healthy

TENANT = TENANTS[0]
STEPS = ["label", "ExternalSecret", "Secret", "type", "content", "ServiceAccounts", "Pods"]


def chain(world: World, namespace: str = TENANT) -> Chain:
    (found,) = chains(world.snapshot(only=namespace), namespace)
    return found


def unlabel(world: World) -> None:
    world.namespaces[TENANT]["metadata"]["labels"] = {}


def remove_namespace(world: World) -> None:
    del world.namespaces[TENANT]


def remove_external_secret(world: World) -> None:
    del world.external_secrets[TENANT]


def remove_secret(world: World) -> None:
    del world.secrets[TENANT]


def change_type(world: World) -> None:
    world.secrets[TENANT]["type"] = "Opaque"


def change_content(world: World) -> None:
    world.deliver(TENANT, "fedcba9876543210")


def unbind(world: World) -> None:
    world.accounts[TENANT, "default"]["imagePullSecrets"] = []


def fail_to_pull(world: World) -> None:
    world.pods.clear()
    pod = world.add_pod(TENANT, fails="ImagePullBackOff")
    pod["status"]["containerStatuses"][0]["image"] = pod["spec"]["containers"][0]["image"]


def test_nothing_breaks_in_a_healthy_namespace() -> None:
    found = chain(healthy())
    assert [step.name for step in found.steps] == STEPS
    assert {step.state for step in found.steps} == {State.GOOD}
    assert found.breaks_at is None


@pytest.mark.parametrize(
    ("broken", "step"),
    [
        (remove_namespace, "label"),
        (unlabel, "label"),
        (remove_external_secret, "ExternalSecret"),
        (remove_secret, "Secret"),
        (change_type, "type"),
        (change_content, "content"),
        (unbind, "ServiceAccounts"),
        (fail_to_pull, "Pods"),
    ],
)
def test_the_first_broken_step_is_where_it_breaks(world: World, broken: Callable[[World], None], step: str) -> None:
    broken(world)
    assert chain(world).breaks_at == step


def test_content_that_nothing_proves_is_unknown_and_not_good(world: World) -> None:
    world.custom.clear()
    found = {step.name: step.state for step in chain(world).steps}
    assert found["content"] == State.UNKNOWN


def test_pods_that_pull_without_opting_in_have_a_chain_that_breaks_at_the_label(world: World) -> None:
    world.add_namespace("guest")
    world.add_pod("guest")
    found = chain(world, "guest")
    assert (found.registry, found.breaks_at) == (APP, "label")
    assert "without opting in" in found.steps[0].text


def test_a_namespace_that_has_nothing_to_do_with_it_has_no_chain(world: World) -> None:
    world.add_namespace("unrelated")
    assert chains(world.snapshot(only="unrelated"), "unrelated") == ()
