"""The stacks of a project: found by their files, selected by words, and kept from declaring the same."""

from pathlib import Path

import pytest

from pullsecrets.errors import BadInputError
from pullsecrets.fleet.stacks import FleetStack, find_stacks, require_distinct, select
from tests.unit.fleet.project import SECTIONS, add_stack


@pytest.fixture
def project(tmp_path: Path) -> Path:
    add_stack(tmp_path, "prod-us", fleet={"wave": 2, "labels": {"region": "us", "tier": "gold"}})
    add_stack(tmp_path, "prod-eu", fleet={"wave": 2, "labels": {"region": "eu"}})
    add_stack(tmp_path, "dev", fleet={"labels": {"region": "eu"}})
    return tmp_path


def names(stacks: list[FleetStack]) -> list[str]:
    return [stack.name for stack in stacks]


def test_every_stack_file_is_a_stack_by_wave_and_name(project: Path) -> None:
    dev, *_, last = find_stacks(project)
    assert names(find_stacks(project)) == ["dev", "prod-eu", "prod-us"]
    assert (dev.cluster, dev.context, dev.wave, dev.labels) == ("dev", "dev", 1, {"region": "eu"})
    assert (dev.path, dev.registries, dev.tenants) == (project / "Pulumi.dev.yaml", ("app-registry-pull",), 1)
    assert (last.wave, last.problem) == (2, "")


def test_a_file_that_does_not_parse_is_named_and_the_others_remain(project: Path) -> None:
    add_stack(project, "broken", registries=[])
    (project / "Pulumi.bent.yaml").write_text("config: [")
    *others, bent, broken = find_stacks(project)
    assert names(others) == ["dev", "prod-eu", "prod-us"]
    assert bent.problem.startswith(f"{project / 'Pulumi.bent.yaml'}: not YAML")
    assert "Pulumi.broken.yaml: 1 problem in the configuration\n  registries: found []" in broken.problem
    assert (broken.config, broken.cluster, broken.context, broken.wave, broken.labels) == (None, "", "", 0, {})
    assert (broken.registries, broken.tenants) == ((), 0)


def test_settings_of_pulumi_deployments_are_no_stack(project: Path) -> None:
    (project / "Pulumi.dev.deploy.yaml").write_text("settings: {}\n")
    assert names(find_stacks(project)) == ["dev", "prod-eu", "prod-us"]


def test_a_folder_without_project_or_stack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"Pulumi\.yaml: no such file"):
        find_stacks(tmp_path)
    (tmp_path / "Pulumi.yaml").write_text("name: ours\n")
    with pytest.raises(BadInputError, match=r"no stack; expected a file Pulumi\.<stack>\.yaml for each cluster"):
        find_stacks(tmp_path)


@pytest.mark.parametrize(
    ("words", "picked"),
    [
        ([], ["dev", "prod-eu", "prod-us"]),
        (["prod-*"], ["prod-eu", "prod-us"]),
        (["dev", "prod-us"], ["dev", "prod-us"]),
        (["dev,prod-us"], ["dev", "prod-us"]),
        (["region=eu"], ["dev", "prod-eu"]),
        (["region==eu"], ["dev", "prod-eu"]),
        (["region!=eu"], ["prod-us"]),
        (["region in (eu, us)", "wave=2"], ["prod-eu", "prod-us"]),
        (["region notin (us)"], ["dev", "prod-eu"]),
        (["!tier"], ["dev", "prod-eu"]),
        (["tier!=gold"], ["dev", "prod-eu"]),
        (["wave=1"], ["dev"]),
        (["wave in (1,2),region=us"], ["prod-us"]),
        (["prod-*", "region=eu"], ["prod-eu"]),
    ],
)
def test_one_of_the_names_and_every_requirement_must_fit(project: Path, words: list[str], picked: list[str]) -> None:
    assert names(select(find_stacks(project), words)) == picked


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["staging-*"], "--select staging-*: no stack of that name; there are: dev, prod-eu, prod-us"),
        (["wave=3"], "--select wave=3: no stack has wave=3; there are: 1, 2"),
        (["region!=ue"], "--select region!=ue: no stack has region=ue; there are: eu, us"),
        (["zone=a"], "--select zone=a: no stack has label 'zone'; there are: region, tier, wave"),
        (["dev", "wave=2"], "--select dev wave=2: picks no stack; there are: dev, prod-eu, prod-us"),
        (["region=a=b"], "--select: 'region=a=b' is no selector"),
        (["region in eu"], "--select: 'region in eu' is no selector"),
        ([""], "--select: '' is no selector"),
    ],
)
def test_what_names_nothing_is_refused_with_what_there_is(project: Path, words: list[str], said: str) -> None:
    with pytest.raises(BadInputError) as refused:
        select(find_stacks(project), words)
    assert said in str(refused.value)


def test_a_file_that_does_not_parse_is_left_out_by_name_alone(project: Path) -> None:
    add_stack(project, "prod-broken", registries=[])
    stacks = find_stacks(project)
    assert names(select(stacks, ["region=us"])) == ["prod-us", "prod-broken"]
    assert names(select(stacks, ["prod-*", "wave=2"])) == ["prod-eu", "prod-us", "prod-broken"]
    assert names(select(stacks, ["dev"])) == ["dev"]


def test_stacks_of_clusters_of_their_own_may_declare_the_same(project: Path) -> None:
    require_distinct(find_stacks(project))


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        ({"name": "other", "context": "dev"}, "dev and twin: both have cluster.context dev, and both declare "),
        ({"name": "dev", "context": "other"}, "dev and twin: both have cluster.name dev, and both declare "),
    ],
)
def test_two_stacks_that_declare_the_same_on_one_cluster_are_named(
    project: Path, cluster: dict[str, str], said: str
) -> None:
    add_stack(project, "twin", cluster=cluster)
    with pytest.raises(BadInputError) as refused:
        require_distinct(find_stacks(project))
    assert said in str(refused.value)
    assert "ClusterExternalSecret app-registry-pull" in str(refused.value)
    assert "prod" not in str(refused.value)


def test_stacks_without_a_context_have_one_cluster(tmp_path: Path) -> None:
    add_stack(tmp_path, "one", cluster={"name": "one"})
    add_stack(tmp_path, "two", cluster={"name": "two"})
    with pytest.raises(BadInputError, match=r"one and two: neither has a cluster\.context, and both declare"):
        require_distinct(find_stacks(tmp_path))


def test_stacks_may_share_a_cluster_with_names_of_their_own(project: Path) -> None:
    add_stack(
        project,
        "dev-batch",
        cluster={"name": "batch", "context": "dev"},
        eso={"store": "batch", "networkPolicy": "batch"},
        guard={"mode": "off"},
        registries=[{**SECTIONS["registries"][0], "name": "batch-pull", "selector": {"batch.example/tenant": "true"}}],
        tenants={"namespaces": [{"name": "apps-batch", "registries": ["batch-pull"]}]},
    )
    require_distinct(find_stacks(project))


def test_two_stacks_that_declare_one_auth_mount_are_named(project: Path) -> None:
    vault = {"address": "https://vault.example.com", "auth": {"mount": "kubernetes-dev"}}
    add_stack(project, "west", vault=vault)
    said = "dev and west: both declare vault.auth.mount kubernetes-dev at https://vault.example.com"
    with pytest.raises(BadInputError, match=said):
        require_distinct(find_stacks(project))
    add_stack(project, "west", vault={**vault, "auth": {**vault["auth"], "create": False}})
    require_distinct(find_stacks(project))
