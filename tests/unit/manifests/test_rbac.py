"""Each group gets the least that its commands need."""

from dataclasses import replace
from typing import Any

import pytest

from pullsecrets.manifests.rbac import (
    Platform,
    ServiceAccount,
    administrator_roles,
    auditor_roles,
    binder_roles,
    deployer_roles,
    diagnostician_roles,
    migrator_roles,
    monitoring_deployer_roles,
    offboarder_roles,
    operator_roles,
    surveyor_roles,
)

REVIEWERS = ["vault-platform-token-reviewer"]
REGISTRIES = ["app", "web"]
PLATFORM = Platform("external-secrets", REVIEWERS, ["vault-platform-app"], sealed=True, pod_admission=True)
DEPLOYER = deployer_roles("platform-engineers", PLATFORM)
ADMINISTRATOR = administrator_roles("administrators", PLATFORM)
AUDITOR = auditor_roles("auditors", REGISTRIES)
SURVEYOR = surveyor_roles("surveyors")
OPERATOR = operator_roles("on-call", PLATFORM, REGISTRIES)
DIAGNOSTICIAN = diagnostician_roles("diagnosticians", "external-secrets", "external-secrets")
OFFBOARDER = offboarder_roles("offboarders")
MIGRATOR = migrator_roles("migrators")
MONITORING_DEPLOYER = monitoring_deployer_roles("platform-engineers", "monitoring", ["dev"])


def rules(objects: list[dict[str, Any]], kind: str = "ClusterRole") -> list[dict[str, Any]]:
    return [rule for item in objects if item["kind"] == kind for rule in item["rules"]]


@pytest.mark.parametrize(
    "objects",
    [DEPLOYER, ADMINISTRATOR, MONITORING_DEPLOYER, AUDITOR, SURVEYOR, OPERATOR, DIAGNOSTICIAN, OFFBOARDER, MIGRATOR],
)
def test_each_role_is_bound_to_its_group_and_to_nobody_else(objects: list[dict[str, Any]]) -> None:
    for role, binding in zip(objects[::2], objects[1::2], strict=True):
        assert binding["roleRef"]["name"] == role["metadata"]["name"]
        assert binding["metadata"] == role["metadata"]
        assert [subject["kind"] for subject in binding["subjects"]] == ["Group"]


@pytest.mark.parametrize(
    "objects", [DEPLOYER, ADMINISTRATOR, MONITORING_DEPLOYER, AUDITOR, SURVEYOR, OPERATOR, OFFBOARDER, MIGRATOR]
)
def test_no_role_has_a_wildcard(objects: list[dict[str, Any]]) -> None:
    for rule in [*rules(objects), *rules(objects, "Role")]:
        assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}


@pytest.mark.parametrize("objects", [DEPLOYER, ADMINISTRATOR])
def test_who_deploys_cannot_read_secrets(objects: list[dict[str, Any]]) -> None:
    assert all("secrets" not in rule["resources"] for rule in [*rules(objects), *rules(objects, "Role")])


def test_deployers_make_nothing_that_stands_above_tenants_and_read_all_of_it() -> None:
    def allowed(objects: list[dict[str, Any]], verbs: set[str]) -> set[str]:
        every = [*rules(objects), *rules(objects, "Role")]
        return {resource for rule in every if verbs & set(rule["verbs"]) for resource in rule["resources"]}

    writes = {"create", "update", "patch", "delete", "bind", "escalate"}
    assert allowed(DEPLOYER, writes) == {"clusterexternalsecrets", "namespaces", "serviceaccounts"}
    above = allowed(ADMINISTRATOR, writes)
    assert {"clustersecretstores", "mutatingadmissionpolicies", "networkpolicies", "roles", "sealedsecrets"} <= above
    read_by_the_preflight = {"clustersecretstores", "networkpolicies", "roles", "rolebindings", "clusterrolebindings"}
    assert read_by_the_preflight <= allowed(DEPLOYER, {"get"})


@pytest.mark.parametrize(("objects", "verbs"), [(AUDITOR, ["list"]), (OPERATOR, ["list", "watch"])])
def test_auditors_and_operators_list_the_registries_secrets_and_no_others(
    objects: list[dict[str, Any]], verbs: list[str]
) -> None:
    (rule,) = [rule for rule in rules(objects) if "secrets" in rule["resources"]]
    assert (rule["resources"], rule["verbs"], rule["resourceNames"]) == (["secrets"], verbs, REGISTRIES)


def test_surveyors_list_every_secret_and_have_nothing_else() -> None:
    (rule,) = rules(SURVEYOR)
    assert (rule["resources"], rule["verbs"]) == (["secrets"], ["list", "watch"])


def test_migrators_alone_read_secrets_and_have_nothing_else() -> None:
    (rule,) = rules(MIGRATOR)
    assert rule["resources"] == ["secrets"]
    assert rule["verbs"] == ["get", "list", "create", "update", "delete"]


def test_offboarders_delete_namespaces_and_have_nothing_else() -> None:
    (rule,) = rules(OFFBOARDER)
    assert (rule["resources"], rule["verbs"]) == (["namespaces"], ["delete"])


def test_operators_evict_pods_and_never_delete_them() -> None:
    assert all("delete" not in rule["verbs"] for rule in rules(OPERATOR))


def test_only_diagnosticians_have_tokens_and_of_esos_service_account_alone() -> None:
    of_operators = [*rules(OPERATOR), *rules(OPERATOR, "Role")]
    assert all("serviceaccounts/token" not in rule["resources"] for rule in of_operators)
    assert rules(DIAGNOSTICIAN) == []
    (rule,) = rules(DIAGNOSTICIAN, "Role")
    assert rule["resources"] == ["serviceaccounts/token"]
    assert (rule["verbs"], rule["resourceNames"]) == (["create"], ["external-secrets"])


def test_administrators_bind_one_role_and_change_the_bindings_of_their_stores_only() -> None:
    rbac = [rule for rule in rules(ADMINISTRATOR) if rule["apiGroups"] == ["rbac.authorization.k8s.io"]]
    assert {(tuple(rule["resources"]), tuple(rule["verbs"])): rule.get("resourceNames") for rule in rbac} == {
        (("clusterrolebindings",), ("list", "watch", "create")): None,
        (("clusterrolebindings",), ("get", "update", "patch", "delete")): REVIEWERS,
        (("clusterroles",), ("bind",)): ["system:auth-delegator"],
    }


def test_network_policies_are_edited_in_the_namespace_of_the_operator_only() -> None:
    assert all("networkpolicies" not in rule["resources"] for rule in rules(ADMINISTRATOR))
    (role,) = [item for item in ADMINISTRATOR if item["kind"] == "Role"]
    assert role["metadata"]["namespace"] == "external-secrets"


def test_administrators_patch_the_configuration_of_red_hats_operator_and_only_where_it_is() -> None:
    redhat = administrator_roles("administrators", replace(PLATFORM, distribution="redhat"))
    added = [rule for rule in rules(redhat) if rule not in rules(ADMINISTRATOR)]
    assert added == [
        {
            "apiGroups": ["operator.openshift.io"],
            "resources": ["externalsecretsconfigs"],
            "verbs": ["get", "patch"],
            "resourceNames": ["cluster"],
        }
    ]


def test_administrators_write_admission_policies_and_no_webhooks() -> None:
    (rule,) = [rule for rule in rules(ADMINISTRATOR) if rule["apiGroups"] == ["admissionregistration.k8s.io"]]
    assert sorted(rule["resources"]) == [
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
    ]


def test_auditors_write_nothing() -> None:
    assert {verb for rule in rules(AUDITOR) for verb in rule["verbs"]} <= {"get", "list", "watch"}


def test_a_service_account_audits_by_the_same_rules() -> None:
    role, binding = auditor_roles(ServiceAccount("monitoring", "audit"), REGISTRIES, "audit")
    assert role["rules"] == rules(AUDITOR)
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "audit", "namespace": "monitoring"}]
    assert role["metadata"]["name"] == binding["roleRef"]["name"] == "audit"


def test_deployers_of_monitoring_write_the_roles_of_its_validation_and_no_others() -> None:
    roles = [rule for rule in rules(MONITORING_DEPLOYER) if "clusterroles" in rule["resources"]]
    strong = [rule for rule in roles if {"escalate", "bind", "update", "patch", "delete"} & set(rule["verbs"])]
    assert [rule["resourceNames"] for rule in strong] == [["pull-secrets-dev-audit"]]
    bindings = [rule for rule in rules(MONITORING_DEPLOYER) if rule["resources"] == ["clusterrolebindings"]]
    assert [rule["resourceNames"] for rule in bindings] == [
        ["pull-secrets-dev-audit", "pull-secrets-dev-audit-token-reviewer"]
    ]


def test_a_binder_changes_the_declared_service_accounts_and_no_others() -> None:
    reading, writing = rules(binder_roles("binders", ["builder", "default"]))
    assert set(reading["verbs"]) == {"get", "list", "watch"}
    assert (writing["verbs"], writing["resourceNames"]) == (["patch"], ["builder", "default"])
    assert reading["resources"] == writing["resources"] == ["serviceaccounts"]


def test_deployers_of_monitoring_make_the_deployment_that_binds_only_where_a_stack_has_it() -> None:
    watched = monitoring_deployer_roles("platform-engineers", "monitoring", ["dev"], bind_watch=True)
    added = [rule for rule in rules(watched, "Role") if rule not in rules(MONITORING_DEPLOYER, "Role")]
    named = {tuple(rule["resourceNames"]) for rule in added if {"update", "patch", "delete"} & set(rule["verbs"])}
    assert named == {("pull-secrets-dev-audit", "pull-secrets-dev-bind"), ("pull-secrets-dev-bind",)}
    assert "deployments" not in str(MONITORING_DEPLOYER)


def test_deployers_of_monitoring_change_its_own_objects_in_its_own_namespace_only() -> None:
    (role,) = [item for item in MONITORING_DEPLOYER if item["kind"] == "Role"]
    assert role["metadata"]["namespace"] == "monitoring"
    for rule in role["rules"]:
        if {"update", "patch", "delete"} & set(rule["verbs"]):
            assert all(name.startswith("pull-secrets-dev") for name in rule["resourceNames"])
        else:
            assert set(rule["verbs"]) <= {"list", "watch", "create"}
    assert {name for rule in role["rules"] for name in rule["resources"]} == {
        "prometheusrules",
        "configmaps",
        "serviceaccounts",
        "cronjobs",
    }
