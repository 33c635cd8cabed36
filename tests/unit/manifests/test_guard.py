"""The guard's policies follow the one definition of what is guarded and let the cluster itself through."""

import re
from typing import Any

import pytest

from pullsecrets.config import StackConfig, parse
from pullsecrets.errors import BadInputError
from pullsecrets.guard import GUARD_PARTS, GUARDED_FIELDS, GUARDED_KINDS, GUARDED_OBJECTS
from pullsecrets.kube.objects import path_of
from pullsecrets.manifests import guard
from pullsecrets.manifests.guard import GUARD_POLICIES, GuardSpec, PodAdmissionSpec
from pullsecrets.tenancy import preflight
from tests.unit.cluster import FakeCluster
from tests.unit.config.test_config import GOOD

GUARD = {"mode": "deny", "labelers": {"users": ["pulumi"], "groups": ["engineers"]}, "writers": {"users": ["rotator"]}}
MUTATING = "MutatingAdmissionPolicy"
ARGO_NAMESPACE = "system:serviceaccounts:openshift-gitops"


IN_KUBE_SYSTEM = "system:serviceaccounts:kube-system"


def config(**change: Any) -> StackConfig:
    return parse({**GOOD, "guard": GUARD, **change}, "test")


@pytest.fixture
def spec() -> GuardSpec:
    return GuardSpec.of(config())


def expressions(policy: dict[str, Any]) -> str:
    """Every expression of a policy as one text."""
    conditions = [item["expression"] for item in policy["spec"]["matchConditions"]]
    return "\n".join([*conditions, *(item["expression"] for item in policy["spec"]["validations"])])


def matched(policy: dict[str, Any]) -> set[tuple[str, str]]:
    rules = policy["spec"]["matchConstraints"]["resourceRules"]
    return {(group, resource) for rule in rules for group in rule["apiGroups"] for resource in rule["resources"]}


def test_everything_that_is_guarded_is_in_a_policy(spec: GuardSpec) -> None:
    objects = guard.guarded_objects(spec)
    others = {("", "namespaces"), ("apiextensions.k8s.io", "customresourcedefinitions")}
    assert matched(objects) == others | {(item.group, item.resource) for item in GUARDED_OBJECTS}
    assert tuple(GUARD_POLICIES) == GUARD_PARTS
    for group, kind in GUARDED_KINDS:
        assert not group or f'"apiextensions.k8s.io/customresourcedefinitions//{kind.lower()}s.{group}"' in str(objects)
    for item in GUARDED_OBJECTS:
        assert f'"{item.group}/{item.resource}/{item.namespace or ""}/{item.name}"' in expressions(objects)
    assert matched(guard.hosted_clusters(spec)) == {(item.group, item.resource) for item in GUARDED_FIELDS}
    groups = {group for build in GUARD_POLICIES.values() for group, _ in matched(build(spec))}
    assert groups == {group for group, _ in GUARDED_KINDS} | {"apiextensions.k8s.io"}


def test_objects_are_not_matched_by_resource_names_which_deleting_a_collection_lacks(spec: GuardSpec) -> None:
    for rule in guard.guarded_objects(spec)["spec"]["matchConstraints"]["resourceRules"]:
        assert "resourceNames" not in rule
        assert rule["operations"] == (
            ["DELETE"]
            if rule["resources"] in (["namespaces"], ["customresourcedefinitions"])
            else ["CREATE", "UPDATE", "DELETE"]
        )


def test_secrets_of_tenants_are_not_even_looked_at(spec: GuardSpec) -> None:
    (where,) = guard.guarded_objects(spec)["spec"]["matchConstraints"]["namespaceSelector"]["matchExpressions"]
    assert where == {
        "key": "kubernetes.io/metadata.name",
        "operator": "In",
        "values": ["kube-system", "openshift-config"],
    }


@pytest.mark.parametrize("name", GUARD_POLICIES)
def test_a_policy_fails_closed_and_its_binding_denies(spec: GuardSpec, name: str) -> None:
    policy = GUARD_POLICIES[name](spec)
    assert policy["metadata"]["name"] == f"pull-secrets-dev-{name}"
    assert policy["spec"]["failurePolicy"] == "Fail"
    binding = guard.guard_binding(policy, spec)
    assert binding["spec"] == {"policyName": f"pull-secrets-dev-{name}", "validationActions": ["Deny"]}


def test_warn_tells_the_client_and_the_audit_log() -> None:
    warning = GuardSpec.of(config(guard={**GUARD, "mode": "warn"}))
    binding = guard.guard_binding(guard.opt_in_labels(warning), warning)
    assert binding["spec"]["validationActions"] == ["Warn", "Audit"]


@pytest.mark.parametrize("build", [guard.guarded_objects, guard.hosted_clusters, guard.machine_configs])
def test_the_cluster_itself_break_glass_and_writers_pass_and_labelers_do_not(spec: GuardSpec, build: Any) -> None:
    text = expressions(build(spec))
    for principal in (
        "rotator",
        "pull-secrets-break-glass",
        "system:masters",
        "system:hosted-cluster-config",
        "system:serviceaccount:kube-system:generic-garbage-collector",
        "system:serviceaccounts:openshift-machine-config-operator",
        "system:serviceaccounts:hypershift",
    ):
        assert f'"{principal}"' in text
    for principal in ("pulumi", "engineers", ARGO_NAMESPACE, "system:nodes", "system:serviceaccounts", IN_KUBE_SYSTEM):
        assert f'"{principal}"' not in text


def test_the_clusters_own_principals_can_be_replaced() -> None:
    own = GuardSpec.of(config(guard={**GUARD, "platform": {"groups": ["system:serviceaccounts:kube-system"]}}))
    assert own.writer_groups == ("system:serviceaccounts:kube-system",)
    assert own.writer_users == ("rotator",)


def test_messages_name_object_rule_and_fix_but_hold_no_value(spec: GuardSpec) -> None:
    for build in GUARD_POLICIES.values():
        for validation in build(spec)["spec"]["validations"]:
            assert "request.userInfo.username" in validation["messageExpression"] or "registry " in str(validation)
            assert not re.search(r"\.(data|stringData|contents|source)\b", validation["messageExpression"])
            assert len(validation["messageExpression"]) < 5 * 1024


def test_opt_in_labels_are_those_of_the_stack_and_no_others(spec: GuardSpec) -> None:
    policy = guard.opt_in_labels(spec)
    assert '["apps.example/app", "apps.example/web"].exists(' in expressions(policy)
    other = config(registries=[{**GOOD["registries"][0], "selector": {"other.example/a": "b"}}])
    assert "apps.example" not in str(guard.opt_in_labels(GuardSpec.of(other)))


def test_without_labelers_only_the_patterns_are_judged() -> None:
    found = GuardSpec.of(config(guard={}))
    assert found.mode == "warn"
    validations = guard.opt_in_labels(found)["spec"]["validations"]
    assert ["registry " in item["message"] for item in validations] == [True, True]


def test_each_registry_judges_its_own_patterns(spec: GuardSpec) -> None:
    _, app, web = guard.opt_in_labels(spec)["spec"]["validations"]
    assert '"^apps-.*$"' in app["expression"]
    assert '"^web-.*$"' not in app["expression"]
    assert '"^web-.*$"' in web["expression"]
    assert "apps-*, web-*" in web["messageExpression"]


def test_labels_are_guarded_in_every_request_that_can_change_them(spec: GuardSpec) -> None:
    assert matched(guard.opt_in_labels(spec)) == {
        ("", "namespaces"),
        ("", "namespaces/status"),
        ("", "namespaces/finalize"),
    }


@pytest.mark.parametrize(
    ("user", "groups", "expected"),
    [
        ("pulumi", [], True),
        ("anybody", ["engineers"], True),
        ("anybody", ["pull-secrets-break-glass"], True),
        ("anybody", ["system:masters"], True),
        ("rotator", ["system:authenticated"], False),
    ],
)
def test_who_may_label(spec: GuardSpec, user: str, groups: list[str], expected: bool) -> None:
    assert spec.may_label(user, groups) is expected


def test_text_is_quoted_so_that_it_cannot_become_an_expression() -> None:
    hostile = 'a"] || true || ["'
    found = GuardSpec.of(config(guard={**GUARD, "labelers": {"users": [hostile]}}))
    (allowed,) = [
        item["expression"] for item in guard.opt_in_labels(found)["spec"]["variables"] if item["name"] == "allowed"
    ]
    assert r'request.userInfo.username in ["a\"] || true || [\""]' in allowed


def test_messages_quote_what_the_configuration_says() -> None:
    found = GuardSpec.of(config(guard={**GUARD, "breakGlassGroup": 'on"call'}))
    for build in (guard.guarded_objects, guard.hosted_clusters, guard.machine_configs):
        for validation in build(found)["spec"]["validations"]:
            assert r"group on\"call;" in validation["messageExpression"]


class TestPods:
    @pytest.fixture
    def policy(self) -> dict[str, Any]:
        found = config()
        return guard.pod_policy(PodAdmissionSpec.of(found, found.registry("app")))

    def test_only_new_pods_of_opted_in_namespaces_are_changed(self, policy: dict[str, Any]) -> None:
        constraints = policy["spec"]["matchConstraints"]
        assert constraints["namespaceSelector"] == {"matchLabels": {"apps.example/app": "true"}}
        (rule,) = constraints["resourceRules"]
        assert (rule["resources"], rule["operations"]) == (["pods"], ["CREATE"])

    def test_a_pod_is_admitted_even_where_it_cannot_be_changed(self, policy: dict[str, Any]) -> None:
        assert policy["spec"]["failurePolicy"] == "Ignore"

    def test_the_entry_is_appended_one_by_one(self, policy: dict[str, Any]) -> None:
        (mutation,) = policy["spec"]["mutations"]
        assert mutation["patchType"] == "JSONPatch"
        assert 'path: "/spec/imagePullSecrets/-"' in mutation["jsonPatch"]["expression"]
        assert "value: [Object" not in mutation["jsonPatch"]["expression"]


def test_a_stack_has_the_objects_that_it_asks_for() -> None:
    def kinds(found: StackConfig) -> list[str]:
        return sorted({item["kind"] for item in guard.stack_objects(found)})

    validating = ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"]
    mutating = ["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"]
    assert kinds(config()) == validating
    assert kinds(config(binding="admission")) == [*mutating, *validating]
    assert kinds(config(guard={})) == validating
    assert kinds(config(guard={"mode": "off"})) == []
    assert len(guard.stack_objects(config(binding="admission"))) == 2 * (4 + 2)


def test_plural_names_are_those_that_the_api_serves() -> None:
    found = {path_of(item).split("/")[-2] for item in guard.stack_objects(config(binding="admission"))}
    assert found == {
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
    }


def cluster(kinds: list[str] | None, user: str = "pulumi", beta: tuple[str, ...] = ()) -> FakeCluster:
    """Serves some kinds, in v1 and in v1beta1, and knows one user."""
    served = {"v1": kinds, "v1beta1": [*beta]}
    found = FakeCluster(
        *(
            (f"/apis/admissionregistration.k8s.io/{version}", {"resources": [{"kind": kind} for kind in names]})
            for version, names in served.items()
            if names is not None
        )
    )
    who = {"status": {"userInfo": {"username": user, "groups": ["system:authenticated"]}}}
    found.answers["selfsubjectreviews"] = lambda _, body: who if body["kind"] == "SelfSubjectReview" else {}
    return found


class TestPreflight:
    @pytest.mark.parametrize("kinds", [None, [], ["ValidatingWebhookConfiguration"]])
    def test_a_cluster_that_serves_neither_is_told_what_to_do(self, kinds: list[str] | None) -> None:
        with pytest.raises(BadInputError) as raised:
            check_served(kinds, config(binding="admission"))
        validating, mutating = str(raised.value).splitlines()
        assert validating.startswith(
            "guard.mode: found 'deny', and the cluster at https://api.example.com:6443 does not"
        )
        assert "ValidatingAdmissionPolicy in admissionregistration.k8s.io/v1 (Kubernetes 1.30" in validating
        assert "set guard.mode: off" in validating
        assert mutating.startswith("binding: found 'admission', and the cluster")
        assert "OpenShift 4.21" in mutating
        assert "set binding: serviceAccounts, or upgrade the cluster" in mutating

    @pytest.mark.parametrize(
        ("kinds", "beta", "version"),
        [([MUTATING], (MUTATING,), "v1"), ([MUTATING], (), "v1"), ([], (MUTATING,), "v1beta1")],
    )
    def test_pods_are_changed_by_the_best_version_that_is_served(
        self, kinds: list[str], beta: tuple[str, ...], version: str
    ) -> None:
        found = config(binding="admission", guard={"mode": "off"})
        assert preflight.require_admission(cluster(kinds, beta=beta), found) == version
        versions = {item["apiVersion"] for item in guard.stack_objects(found, version)}
        assert versions == {f"admissionregistration.k8s.io/{version}"}

    def test_what_is_not_asked_for_is_not_needed(self) -> None:
        check_served(["ValidatingAdmissionPolicy"], config())
        check_served(None, config(guard={"mode": "off"}))

    def test_a_run_that_the_guard_would_deny_is_refused(self) -> None:
        with pytest.raises(
            BadInputError, match=r"guard\.labelers: found neither user 'jane', .*would deny the run's own"
        ):
            check_labeler("jane", config())

    def test_a_run_by_a_labeler_or_under_a_guard_that_only_warns_goes_on(self) -> None:
        check_labeler("pulumi", config())
        check_labeler("jane", config(guard={**GUARD, "mode": "warn"}))


def check_served(kinds: list[str] | None, found: StackConfig) -> None:
    preflight.require_admission(cluster(kinds), found)


def check_labeler(user: str, found: StackConfig) -> None:
    preflight.require_labeler(cluster([], user), found)
