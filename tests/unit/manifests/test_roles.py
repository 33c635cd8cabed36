"""The roles that `pull-secrets roles` prints for an administrator: all of them, for this stack, bound to its groups."""

import json
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from pullsecrets.cli.app import app
from pullsecrets.config import parse
from pullsecrets.manifests import builders
from pullsecrets.manifests.roles import Groups, stack_roles
from tests.components.program import REPOSITORY
from tests.unit.config.test_config import GOOD

SEALED = {
    **GOOD,
    "vault": None,
    "registries": [
        {
            **GOOD["registries"][0],
            "source": "sealedSecret",
            "delivery": "fanout",
            "sealedFile": "sealed/test/app.yaml",
        }
    ],
}


def printed(*options: str) -> str:
    done = CliRunner().invoke(app, ["roles", "--stack", "prod", "--directory", str(REPOSITORY), *options])
    assert done.exit_code == 0, done.output
    return done.stdout


def groups(items: list[dict[str, Any]]) -> dict[str, str]:
    """The group of each role."""
    return {item["roleRef"]["name"]: item["subjects"][0]["name"] for item in items if "roleRef" in item}


def rules(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [rule for item in items for rule in item.get("rules", ())]


def test_every_role_is_printed_and_bound_to_the_group_that_was_named() -> None:
    items = list(YAML(typ="safe").load_all(printed("--operators", "on-call")))
    assert groups(items) == {
        "pull-secrets-spoke-dc-v6-deployer": "pull-secrets-deployers",
        "pull-secrets-spoke-dc-v6-administrator": "pull-secrets-administrators",
        "pull-secrets-spoke-dc-v6-surveyor": "pull-secrets-surveyors",
        "pull-secrets-spoke-dc-v6-auditor": "pull-secrets-auditors",
        "pull-secrets-spoke-dc-v6-operator": "on-call",
        "pull-secrets-spoke-dc-v6-diagnostician": "pull-secrets-diagnosticians",
        "pull-secrets-spoke-dc-v6-offboarder": "pull-secrets-offboarders",
        "pull-secrets-spoke-dc-v6-migrator": "pull-secrets-migrators",
        "pull-secrets-spoke-dc-v6-verifier": "pull-secrets-verifiers",
    }
    assert json.loads(printed("--operators", "on-call", "--json"))["items"] == items


def test_administrators_change_this_stacks_reviewer_and_no_other_binding() -> None:
    items = list(YAML(typ="safe").load_all(printed()))
    writing = [rule for rule in rules(items) if "clusterrolebindings" in rule["resources"] and "patch" in rule["verbs"]]
    assert [rule["resourceNames"] for rule in writing] == [["vault-platform-token-reviewer"]]


@pytest.mark.parametrize("distribution", ["helm", "redhat"])
def test_administrators_may_patch_what_the_egress_of_the_stacks_distribution_is(distribution: str) -> None:
    config = parse({**GOOD, "eso": {"distribution": distribution}}, "test")
    egress = builders.egress(builders.EgressSpec.of(config))
    resource, name = f"{egress['kind'].lower().removesuffix('y')}", egress["metadata"]["name"]
    patching = [
        rule
        for rule in rules(stack_roles(config, Groups()))
        if "patch" in rule["verbs"]
        and rule["apiGroups"] == [egress["apiVersion"].partition("/")[0]]
        and rule["resources"][0].startswith(resource)
    ]
    assert patching
    assert all(rule.get("resourceNames", [name]) == [name] for rule in patching)


def test_a_stack_without_vault_needs_no_binding_at_all() -> None:
    config = parse(SEALED, "test")
    found = [rule for rule in rules(stack_roles(config, Groups())) if "clusterrolebindings" in rule["resources"]]
    assert {verb for rule in found for verb in rule["verbs"]} <= {"list"}


def test_the_prod_stack_has_no_rule_that_it_does_not_use() -> None:
    items = list(YAML(typ="safe").load_all(printed()))
    resources = {resource for rule in rules(items) for resource in rule["resources"]}
    # No Pod admission, nothing relayed, nothing sealed; the egress of OpenShift's cluster is a NetworkPolicy here.
    assert not {resource for resource in resources if resource.startswith("mutating") or "sealed" in resource}
    writing = [rule for rule in rules(items) if "escalate" in rule["verbs"]]
    assert writing == []
    assert {"validatingadmissionpolicies", "deploymentconfigs", "applications"} <= resources


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({"guard": {"mode": "off"}}, "validatingadmissionpolicies"),
        ({}, "deploymentconfigs"),
        ({}, "applications"),
        ({}, "sealedsecrets"),
        ({}, "prometheusrules"),
    ],
)
def test_what_a_stack_does_not_have_gives_nobody_a_right(change: dict[str, Any], gone: str) -> None:
    found = rules(stack_roles(parse({**GOOD, **change}, "test"), Groups()))
    assert all(gone not in rule["resources"] for rule in found)


def test_stacks_of_one_cluster_do_not_overwrite_each_others_roles() -> None:
    def names(cluster: str) -> set[str]:
        config = parse({**GOOD, "cluster": {"name": cluster}}, "test")
        return {item["metadata"]["name"] for item in stack_roles(config, Groups())}

    assert not names("one") & names("two")
