"""The stacks as the Pulumi Kubernetes Operator takes them."""

import tomllib
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from ruamel.yaml import YAML

from pullsecrets.errors import BadInputError
from pullsecrets.fleet.operator import PULUMI_VERSION, Source, render
from pullsecrets.fleet.stacks import find_stacks
from tests.unit.fleet.project import add_stack

SOURCE = Source("https://git.example.com/access", commit="0123abcd")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    add_stack(tmp_path, "dev", fleet={"labels": {"region": "eu"}})
    add_stack(tmp_path, "prod-eu", fleet={"wave": 10})
    add_stack(tmp_path, "prod-us", fleet={"wave": 10})
    add_stack(tmp_path, "last", fleet={"wave": 20})
    return tmp_path


def objects(project: Path, stack: str, source: Source = SOURCE) -> dict[str, Any]:
    """What is rendered for a stack, by kind."""
    text = render(find_stacks(project), source)[PurePosixPath("fleet", f"{stack}.yaml")]
    return {item["kind"]: item for item in YAML(typ="safe").load_all(text)}


def test_a_stack_is_an_object_with_an_identity_of_its_own_and_no_program(project: Path) -> None:
    account, binding, stack = objects(project, "dev").values()
    assert (account["kind"], account["metadata"]["name"]) == ("ServiceAccount", "pull-secrets-dev")
    assert (binding["roleRef"]["name"], binding["subjects"][0]["name"]) == ("system:auth-delegator", "pull-secrets-dev")
    assert (stack["apiVersion"], stack["kind"]) == ("pulumi.com/v1", "Stack")
    assert stack["metadata"]["labels"] == {"region": "eu", "wave": "1"}
    assert stack["spec"]["serviceAccountName"] == "pull-secrets-dev"
    assert (stack["spec"]["stack"], stack["spec"]["commit"]) == ("dev", "0123abcd")
    assert not {"programRef", "prerequisites", "config", "secretsRef", "branch"} & stack["spec"].keys()


def test_a_stack_waits_for_every_stack_of_the_wave_before(project: Path) -> None:
    waits = {
        name: [item["name"] for item in objects(project, name)["Stack"]["spec"].get("prerequisites", [])]
        for name in ("dev", "prod-eu", "prod-us", "last")
    }
    assert waits == {"dev": [], "prod-eu": ["dev"], "prod-us": ["dev"], "last": ["prod-eu", "prod-us"]}


def test_deleting_the_object_or_mistyping_the_name_changes_no_cluster(project: Path) -> None:
    spec = objects(project, "dev")["Stack"]["spec"]
    assert (spec["destroyOnFinalize"], spec["useLocalStackOnly"]) == (False, True)


def test_credentials_come_from_secrets_of_the_stack_alone(project: Path) -> None:
    workspace = objects(project, "prod-eu")["Stack"]["spec"]["workspaceTemplate"]["spec"]
    assert workspace["envFrom"] == [{"secretRef": {"name": "pull-secrets-prod-eu"}}]
    pod = workspace["podTemplate"]["spec"]
    assert pod["volumes"] == [{"name": "kubeconfig", "secret": {"secretName": "pull-secrets-prod-eu-kubeconfig"}}]
    (mount,) = pod["containers"][0]["volumeMounts"]
    settings = {item["name"]: item["value"] for item in workspace["env"]}
    assert settings["KUBECONFIG"] == f"{mount['mountPath']}/kubeconfig"


def test_the_source_is_as_it_was_asked_for(project: Path) -> None:
    source = Source("git@git.example.com:access", branch="main", folder="infra", organization="acme", namespace="fleet")
    stack = objects(project, "dev", source)["Stack"]
    taken = {key: stack["spec"].get(key) for key in ("projectRepo", "branch", "commit", "repoDir", "stack")}
    assert taken == {
        "projectRepo": "git@git.example.com:access",
        "branch": "main",
        "commit": None,
        "repoDir": "infra",
        "stack": "acme/dev",
    }
    assert {item["metadata"].get("namespace") for item in objects(project, "dev", source).values()} == {None, "fleet"}


def test_the_kustomization_has_the_stacks_in_the_order_of_their_waves(project: Path) -> None:
    text = render(find_stacks(project), SOURCE)[PurePosixPath("fleet/kustomization.yaml")]
    assert YAML(typ="safe").load(text)["resources"] == ["dev.yaml", "prod-eu.yaml", "prod-us.yaml", "last.yaml"]


def test_workspaces_run_the_release_of_pulumi_that_the_program_is_pinned_to() -> None:
    pinned = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert f"pulumi=={PULUMI_VERSION}" in pinned["optional-dependencies"]["pulumi"]


@pytest.mark.parametrize(
    ("stack", "sections", "source", "said"),
    [
        ("broken", {"registries": []}, SOURCE, "Pulumi.broken.yaml: 1 problem in the configuration"),
        ("Prod_EU", {}, SOURCE, "found stack 'Prod_EU'; allowed: lower-case letters, digits and '-'"),
        ("more", {}, Source("https://git.example.com/access"), "--branch, --commit: found both or neither"),
        ("more", {}, Source("https://git.example.com/access", "main", "0123abcd"), "--branch, --commit: found both"),
    ],
)
def test_what_would_leave_a_stack_out_or_name_no_source_is_refused(
    project: Path, stack: str, sections: dict[str, Any], source: Source, said: str
) -> None:
    add_stack(project, stack, **{"cluster": {"name": "more"}, **sections})
    with pytest.raises(BadInputError) as refused:
        render(find_stacks(project), source)
    assert said in str(refused.value)
