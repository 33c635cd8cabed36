"""Resources that hide what they write, and switches that overwrite."""

from typing import Any

import pytest

from pullsecrets.data import UNKNOWN
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
        ("kubernetes:v1:Secret", "v1", "Secret"),
        ("kubernetes:example.com/stable:Wrapper", "example.com/stable", "Wrapper"),
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
        "kubernetes:index/secretV1:SecretV1",
        "kubernetes:yaml:ConfigFile",
        "kubernetes:yaml/v2:ConfigGroup",
        "kubernetes:kustomize/v2:Directory",
        "pulumi:providers:kubernetes",
        "vault:index/policy:Policy",
    ],
)
def test_other_resources_are_no_objects(token: str) -> None:
    assert kubernetes_object(resource(token, {})) is None


GUARDED = {"name": "pull-secret", "namespace": "openshift-config"}
SECRET = {"apiVersion": "v1", "kind": "Secret"}
TEXT = "apiVersion: v1\nkind: Secret\nmetadata: {name: pull-secret, namespace: openshift-config}"


@pytest.mark.parametrize(
    ("token", "props"),
    [
        ("kubernetes:index/secret:Secret", {"metadata": GUARDED}),
        ("kubernetes:index/secretV1:SecretV1", {"metadata": GUARDED}),
        ("kubernetes:index/secretV1Data:SecretV1Data", {"metadata": GUARDED}),
        (
            "kubernetes:index/manifest:Manifest",
            {"manifest": {"apiVersion": "v1", "kind": "Secret", "metadata": GUARDED}},
        ),
        ("kubectl:index/manifest:Manifest", {"yamlBody": TEXT}),
        ("kubectl:index/manifest:Manifest", {"yamlBody": UNKNOWN}),
        ("kustomization:index/resource:Resource", {"manifest": TEXT}),
        ("rancher2:index/secretV2:SecretV2", GUARDED),
    ],
)
def test_objects_of_terraforms_providers_are_judged_like_others(token: str, props: dict[str, Any]) -> None:
    assert len(list(rules.judge_resource_writes(resource(token, props), {}))) == 1


@pytest.mark.parametrize(
    ("token", "props"),
    [
        ("kubernetes:index/secretV1:SecretV1", {"metadata": {**GUARDED, "namespace": "team-a"}}),
        ("kubectl:index/manifest:Manifest", {"yamlBody": TEXT, "overrideNamespace": "team-a"}),
        ("kubectl:index/manifest:Manifest", {"yamlBody": "a: [b: {"}),
        ("aws:secretsmanager/secret:Secret", GUARDED),
    ],
)
def test_their_other_objects_are_not(token: str, props: dict[str, Any]) -> None:
    assert list(rules.judge_resource_writes(resource(token, props), {})) == []


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


@pytest.mark.parametrize(
    ("version", "count"),
    [
        ("4.25.0", 1),
        ("v4.28.0-alpha.1", 1),
        ("4.29.0", 0),
        ("4.34.2", 0),
        ("5.0.0", 0),
        (UNKNOWN, 0),
        (None, 0),
        ("", 0),
    ],
)
def test_a_plugin_that_overwrites_what_exists_is_refused_for_guarded_kinds_only(version: Any, count: int) -> None:
    for token, times in (("kubernetes:core/v1:Secret", 1), ("kubernetes:core/v1:Namespace", 0)):
        found = resource(token, {"metadata": {"name": "a", "namespace": "b"}}, {"version": version})
        assert len(list(rules.judge_overwrites(found, {}))) == count * times


RELEASE = "kubernetes:helm.sh/v3:Release"
CHART = {"chart": "ingress", "version": "4.1.0", "repositoryOpts": {"repo": "https://charts.example.com"}}
REVIEWED = {"chart": "ingress", "version": "4.1.0", "repository": "https://charts.example.com"}


def test_a_reviewed_chart_at_its_version_passes_and_no_other() -> None:
    settings = {"reviewedCharts": [REVIEWED]}
    assert unjudged(RELEASE, settings, **CHART, namespace="team-a") == []
    assert unjudged(RELEASE, settings, **{**CHART, "version": "4.2.0"})
    assert unjudged(RELEASE, settings, **{**CHART, "repositoryOpts": {"repo": "https://elsewhere.example.com"}})
    assert unjudged(RELEASE, **CHART)


@pytest.mark.parametrize("props", [{"namespace": UNKNOWN}, {"values": {"a": UNKNOWN}}, {"postrender": "./patch"}])
def test_a_reviewed_chart_that_leaves_something_open_is_told(props: dict[str, Any]) -> None:
    assert unjudged(RELEASE, {"reviewedCharts": [REVIEWED]}, **{**CHART, "namespace": "team-a", **props})


@pytest.mark.parametrize(
    "token",
    [
        "command:local:Command",
        "command:remote:Command",
        "helm:index/release:Release",
        "pulumi-nodejs:dynamic:Resource",
        "kubernetes:machineconfiguration.openshift.io/v1:KubeletConfig",
        "kubernetes:config.openshift.io/v1alpha1:CRIOCredentialProviderConfig",
        "kubernetes:config.openshift.io/v1:ClusterImagePolicy",
        "kubernetes:config.openshift.io/v1:ImageDigestMirrorSet",
    ],
)
def test_what_hides_what_it_does_is_told_and_its_text_is_not_read_as_a_program(token: str) -> None:
    (finding,) = unjudged(token, create=f"oc get nodes {CANARY}")
    assert "cannot be judged" in finding.problem
    assert CANARY not in str(finding)


def test_our_own_dynamic_resources_are_no_mystery() -> None:
    assert unjudged("pulumi-python:dynamic/pullsecrets:ImagePullSecretBinding", secrets=["a"]) == []


def mentions(token: str, **props: Any) -> list[Finding]:
    return list(rules.judge_resource_mentions(resource(token, props), {}))


def test_any_resource_that_names_it_is_a_mention() -> None:
    token = "pulumi-nodejs:dynamic:Resource"
    assert mentions(token, namespace="openshift-config", name="pull-secret")
    assert mentions(RELEASE, **CHART, namespace="openshift-config", values={"name": "pull-secret"})
    assert mentions("command:local:Command", create="oc set data secret/pull-secret -n openshift-config")
    assert mentions(token, namespace="team-a", name="pull-secret") == []
    assert mentions("vault:index/policy:Policy", policy="openshift-config/pull-secret") == []


def test_what_is_refused_is_not_told_again_as_a_mention() -> None:
    assert mentions("kubernetes:core/v1:Secret", metadata=GUARDED) == []
    (advice,) = mentions("kubernetes:core/v1:Secret", metadata={"name": "pull-secret"})
    assert "could write" in advice.problem


def test_a_chart_or_kustomization_with_unknown_inputs_is_refused() -> None:
    assert unjudged("kubernetes:yaml/v2:ConfigGroup", yaml=UNKNOWN)
    assert unjudged("kubernetes:helm.sh/v4:Chart", values={"a": UNKNOWN})
    assert unjudged("kubernetes:yaml/v2:ConfigGroup", yaml="kind: Secret") == []
    assert unjudged("kubernetes:core/v1:ConfigMap", data={"a": UNKNOWN}) == []


ADMISSION = "kubernetes:admissionregistration.k8s.io/v1"


@pytest.mark.parametrize("kind", ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"])
@pytest.mark.parametrize(
    ("parents", "name", "refused"),
    [
        ((), "pull-secrets-dev-guarded-objects", True),
        (("acme:index:Guard",), "pull-secrets-dev-opt-in-labels", True),
        (("pullsecrets:index:TenantNamespace",), "pull-secrets-dev-guarded-objects", True),
        (("pullsecrets:index:ClusterPullSecretGuard",), "pull-secrets-dev-guarded-objects", False),
        (("acme:index:Platform", "pullsecrets:index:ClusterPullSecretGuard"), "pull-secrets-dev-opt-in-labels", False),
        ((), "pull-secrets-dev-company", False),
        ((), "require-labels", False),
    ],
)
def test_only_the_guards_component_declares_the_guards_policies(
    kind: str, parents: tuple[str, ...], name: str, refused: bool
) -> None:
    token = f"{ADMISSION}:{kind}"
    chain = "$".join((*parents, token))
    props = {"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Audit"]}}
    declared = Resource(token, "subject", f"urn:pulumi:dev::project::{chain}::subject", props)
    found = [finding.problem for finding in rules.judge_resource_writes(declared, {})]
    assert found == ([f"{kind} {name} changes the guard's {kind} {name} through metadata.name"] if refused else [])
    assert not list(rules.judge_resource_mentions(declared, {}))


def test_a_list_hides_no_redeclaration() -> None:
    props = {"items": [{"metadata": {"name": "pull-secrets-dev-guarded-objects"}, "spec": {}}]}
    assert list(rules.judge_resource_writes(resource(f"{ADMISSION}:ValidatingAdmissionPolicyList", props), {}))
