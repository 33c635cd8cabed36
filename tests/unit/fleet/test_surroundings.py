"""What of a stack's surroundings is its own: variables by its name, a context, a Vault that gets no other's token."""

from pathlib import Path
from typing import Any

import pytest

from pullsecrets.config import parse
from pullsecrets.errors import BadInputError
from pullsecrets.fleet.stacks import FleetStack
from pullsecrets.fleet.surroundings import environments, require_apart
from tests.components.program import stack_file


def stack(name: str, context: str | None, address: str = "https://vault.example.com") -> FleetStack:
    raw: dict[str, Any] = dict(stack_file("dev"))
    raw["cluster"] = {"name": name, **({"context": context} if context else {})}
    raw["vault"] = {**raw["vault"], "address": address, "auth": {"mount": f"kubernetes-{name}"}}
    return FleetStack(name, Path(f"Pulumi.{name}.yaml"), parse(raw, name))


def refused(*stacks: FleetStack, **environ: str) -> str:
    with pytest.raises(BadInputError) as refusal:
        require_apart(stacks, environments(stacks, environ))
    return str(refusal.value)


def test_a_variable_with_a_stacks_name_is_that_stacks_alone() -> None:
    stacks = [stack("prod-eu", "eu"), stack("dev", "dev")]
    found = environments(stacks, {"VAULT_TOKEN": "t", "VAULT_TOKEN__PROD_EU": "e", "PATH": "/bin"})
    assert (found["prod-eu"]["VAULT_TOKEN"], found["dev"]["VAULT_TOKEN"]) == ("e", "t")
    assert found["dev"]["PATH"] == "/bin"


def test_the_kubeconfig_that_is_named_stands_over_the_variable() -> None:
    found = environments([stack("dev", "dev")], {"KUBECONFIG": "/a"}, Path("/b"))
    assert found["dev"]["KUBECONFIG"] == "/b"


def test_stacks_with_a_context_each_and_one_vault_stand_apart() -> None:
    stacks = [stack("prod", "prod"), stack("dev", "dev")]
    require_apart(stacks, environments(stacks, {"VAULT_ADDR": "https://localhost:8200", "VAULT_TOKEN": "t"}))


def test_one_cluster_and_the_same_objects_are_refused() -> None:
    assert "prod and dev: both have cluster.context main" in refused(stack("prod", "main"), stack("dev", "main"))


def test_a_kubeconfig_of_its_own_makes_another_cluster_of_the_same_context() -> None:
    stacks = [stack("prod", "admin"), stack("dev", "admin")]
    require_apart(stacks, environments(stacks, {"KUBECONFIG__PROD": "/prod", "KUBECONFIG__DEV": "/dev"}))


def test_the_current_context_cannot_stand_for_two_clusters() -> None:
    text = refused(stack("prod", "prod"), stack("dev", None))
    assert text.startswith("dev: cluster.context: missing")
    assert "KUBECONFIG__DEV" in text


@pytest.mark.parametrize("variable", ["VAULT_ADDR", "VAULT_TOKEN"])
def test_what_is_one_vaults_goes_to_no_other(variable: str) -> None:
    stacks = stack("prod", "prod", "https://vault.prod"), stack("dev", "dev", "https://vault.dev")
    text = refused(*stacks, **{variable: "one"})
    assert text.startswith(f"{variable}: found one for prod, dev, whose Vaults are")
    assert f"{variable}__PROD" in text
    require_apart(stacks, environments(stacks, {f"{variable}__PROD": "a", f"{variable}__DEV": "b"}))
