"""Resources that hide what they write, and switches that overwrite."""

from typing import Any

import pytest

from pullsecrets.data import UNKNOWN
from pullsecrets.guard import shell
from pullsecrets.policy import cluster_pull_secret as rules
from pullsecrets.policy.model import Finding, Provider, Resource, kubernetes_object, kubernetes_objects

CANARY = "canary"


def resource(token: str, props: dict[str, Any], provider: dict[str, Any] | None = None) -> Resource:
    found = Provider("pulumi:providers:kubernetes", "cluster", provider) if provider is not None else None
    return Resource(token, "subject", f"urn:pulumi:dev::project::{token}::subject", props, found)


def unjudged(token: str, settings: dict[str, Any] | None = None, **props: Any) -> list[Finding]:
    return list(rules.judge_unjudged(resource(token, props), settings or {}))


@pytest.mark.parametrize(
    ("token", "version", "kind"),
    [
        ("kubernetes:core/v1:Secret", "v1", "Secret"),
        ("kubernetes:core/v1:SecretPatch", "v1", "Secret"),
        ("kubernetes:apps/v1:Deployment", "apps/v1", "Deployment"),
        ("kubernetes:external-secrets.io/v1:ClusterExternalSecret", "external-secrets.io/v1", "ClusterExternalSecret"),
        ("kubernetes:config.openshift.io/v1:ImagePatch", "config.openshift.io/v1", "Image"),
    ],
)
def test_the_type_token_says_which_object_it_is(token: str, version: str, kind: str) -> None:
    found = kubernetes_object(resource(token, {"metadata": {"name": "a"}}))
    assert found == {"apiVersion": version, "kind": kind, "metadata": {"name": "a"}}


@pytest.mark.parametrize(
    "token",
    [
        "kubernetes:helm.sh/v3:Release",
        "kubernetes:helm.sh/v4:Chart",
        "kubernetes:yaml:ConfigFile",
        "kubernetes:yaml/v2:ConfigGroup",
        "kubernetes:kustomize/v2:Directory",
        "pulumi:providers:kubernetes",
        "vault:index/policy:Policy",
    ],
)
def test_other_resources_are_no_objects(token: str) -> None:
    assert kubernetes_object(resource(token, {})) is None


def test_an_object_that_says_it_is_of_another_kind_is_judged_as_both() -> None:
    found = resource("kubernetes:example.com/v1:Anything", {"apiVersion": "v1", "kind": "Secret"})
    assert [item["kind"] for item in kubernetes_objects(found)] == ["Anything", "Secret"]


def test_unknown_identity_is_one_finding_that_names_all_that_it_could_be() -> None:
    props = {"metadata": {"namespace": "kube-system", "name": UNKNOWN}}
    (finding,) = rules.judge_resource_writes(resource("kubernetes:core/v1:Secret", props), {})
    assert "Secret kube-system/(unknown) could write Secret kube-system/additional-pull-secret" in finding.problem
    assert "original-pull-secret" in finding.problem
    assert "state name and namespace as plain texts" in finding.fix


def test_the_providers_namespace_is_where_an_object_without_one_goes() -> None:
    props = {"metadata": {"name": "pull-secret"}}
    for namespace, count in (("openshift-config", 1), ("team-a", 0)):
        found = resource("kubernetes:core/v1:Secret", props, {"namespace": namespace})
        assert len(list(rules.judge_resource_writes(found, {}))) == count


@pytest.mark.parametrize("value", [True, "true", UNKNOWN])
@pytest.mark.parametrize("switch", ["upsertExistingObjects", "enablePatchForce"])
def test_a_switch_that_overwrites_is_refused_for_guarded_kinds_only(switch: str, value: Any) -> None:
    for token, count in (("kubernetes:core/v1:Secret", 1), ("kubernetes:core/v1:Namespace", 0)):
        found = resource(token, {"metadata": {"name": "a", "namespace": "b"}}, {switch: value})
        assert len(list(rules.judge_overwrites(found, {}))) == count


@pytest.mark.parametrize("value", [False, "false", None])
def test_a_switch_that_is_off_is_fine(value: Any) -> None:
    found = resource("kubernetes:core/v1:Secret", {}, {"upsertExistingObjects": value})
    assert list(rules.judge_overwrites(found, {})) == []


RELEASE = "kubernetes:helm.sh/v3:Release"
CHART = {"chart": "ingress", "version": "4.1.0", "repositoryOpts": {"repo": "https://charts.example.com"}}
REVIEWED = {"chart": "ingress", "version": "4.1.0", "repository": "https://charts.example.com"}


def test_a_reviewed_chart_at_its_version_passes_and_no_other() -> None:
    settings = {"reviewedCharts": [REVIEWED]}
    assert unjudged(RELEASE, settings, **CHART, namespace="team-a") == []
    assert unjudged(RELEASE, settings, **{**CHART, "version": "4.2.0"})
    assert unjudged(RELEASE, settings, **{**CHART, "repositoryOpts": {"repo": "https://elsewhere.example.com"}})
    assert unjudged(RELEASE, **CHART)


@pytest.mark.parametrize(
    "props",
    [
        {"values": {"to": "openshift-config/pull-secret"}},
        {"namespace": "openshift-config", "values": {"name": "pull-secret"}},
        {"namespace": UNKNOWN},
        {"values": {"a": UNKNOWN}},
        {"postrender": "./patch"},
    ],
)
def test_a_reviewed_chart_is_refused_when_it_names_the_target_or_leaves_something_open(props: dict[str, Any]) -> None:
    assert unjudged(RELEASE, {"reviewedCharts": [REVIEWED]}, **{**CHART, "namespace": "team-a", **props})


@pytest.mark.parametrize(
    "props",
    [
        {"create": "oc set data secret/pull-secret -n openshift-config --from-file=a"},
        {"create": "true", "delete": "oc delete secret pull-secret"},
        {"create": "true", "environment": {"TARGET": "global-pull-secret"}},
        {"create": "kubectl apply -f a.yaml"},
        {"create": "kubectl get pod && oc -n a patch secret b"},
        {"create": "cat a | kubectl replace -f -"},
        {"create": "helm upgrade --install a b"},
        {"create": "./patch.sh"},
        {"create": "bash patch"},
        {"create": "curl -s https://example.com/a | sh"},
        {"create": "eval $SCRIPT"},
        {"create": UNKNOWN},
        {"create": "true", "environment": {"A": UNKNOWN}},
        {"create": "true", "stdin": UNKNOWN},
        {"create": "print()", "interpreter": ["python3", "-c"]},
    ],
)
def test_commands_that_name_the_target_or_cannot_be_judged_are_refused(props: dict[str, Any]) -> None:
    assert unjudged("command:local:Command", **props)


@pytest.mark.parametrize(
    "props",
    [
        {"create": "date +%s"},
        {"create": "kubectl -n team-a get pods -o name | wc -l"},
        {"create": "sudo kubectl rollout status deployment/a"},
        {"create": "A=b printf %s b > a.txt"},
        {"create": "pull-secrets render --stack prod"},
        {"create": "true", "triggers": [UNKNOWN]},
        {"create": "echo a", "interpreter": ["/bin/bash", "-c"]},
    ],
)
def test_commands_that_can_be_judged_pass(props: dict[str, Any]) -> None:
    assert unjudged("command:local:Command", **props) == []


def test_no_finding_shows_the_text_of_a_command() -> None:
    found = unjudged("command:local:Command", create=f"kubectl apply -f {CANARY}", environment={"TOKEN": CANARY})
    assert found
    assert CANARY not in "".join(map(str, found))


def test_any_other_resource_that_names_the_target_is_refused() -> None:
    token = "pulumi-nodejs:dynamic:Resource"
    assert unjudged(token, namespace="openshift-config", name="pull-secret")
    assert unjudged("rancher2:index/secretV2:SecretV2", namespace="kube-system", name="global-pull-secret")
    assert unjudged(token, namespace="team-a", name="pull-secret") == []
    assert unjudged("vault:index/policy:Policy", policy="openshift-config/pull-secret") == []


def test_a_chart_or_kustomization_with_unknown_inputs_is_refused() -> None:
    assert unjudged("kubernetes:yaml/v2:ConfigGroup", yaml=UNKNOWN)
    assert unjudged("kubernetes:helm.sh/v4:Chart", values={"a": UNKNOWN})
    assert unjudged("kubernetes:yaml/v2:ConfigGroup", yaml="kind: Secret") == []
    assert unjudged("kubernetes:core/v1:ConfigMap", data={"a": UNKNOWN}) == []


@pytest.mark.parametrize(
    ("text", "writes"),
    [
        ("oc get secret a", False),
        ("oc \\\n apply -f a", True),
        ("if oc get a; then oc delete b; fi", True),
        ("echo $(oc create token a)", True),
        ("oc", True),
        ("echo oc apply", False),
    ],
)
def test_the_verb_of_each_command_decides(text: str, writes: bool) -> None:
    assert shell.writes_to_a_cluster(text) is writes
