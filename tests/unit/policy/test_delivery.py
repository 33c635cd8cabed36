"""Delivery reaches tenants, all of them, and nobody else."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import pytest

from pullsecrets.config import parse
from pullsecrets.data import UNKNOWN
from pullsecrets.data import Path as ValuePath
from pullsecrets.kube import marks
from pullsecrets.manifests import builders
from pullsecrets.policy import complete_delivery, delivery, hygiene
from pullsecrets.policy.model import Finding, Options, Resource, every_object, of_every_object
from tests.components.program import stack_file
from tests.sample_registries import SETTINGS

BINDING = "pulumi-python:dynamic/pullsecrets:ImagePullSecretBinding"
OPT_IN = "pulumi-python:dynamic/pullsecrets:NamespaceOptIn"
TENANT = {"apps.platform/tenant": "true"}


CONFIG = parse(stack_file("dev"), "dev")
FANOUT = builders.cluster_external_secret(builders.PullSecretSpec.of(CONFIG, CONFIG.registries[0]))
STORE = builders.cluster_secret_store(builders.StoreSpec.of(CONFIG, CONFIG.vault_stores[0]))
EGRESS = builders.egress(builders.EgressSpec.of(CONFIG))


def changed(item: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with one field changed, or taken out by None."""
    copy = deepcopy(item)
    *parents, last = path.split(".")
    current: Any = copy
    for part in parents:
        current = current[int(part)] if part.isdigit() else current[part]
    if value is None:
        del current[last]
    else:
        current[last] = value
    return copy


def resource(token: str, props: dict[str, Any], name: str = "subject", stack: str = "dev") -> Resource:
    return Resource(token, name, f"urn:pulumi:{stack}::project::{token}::{name}", props)


def of(item: dict[str, Any], name: str = "subject", stack: str = "dev") -> Resource:
    version = item["apiVersion"]
    module = version if "/" in version else f"core/{version}"
    return resource(f"kubernetes:{module}:{item['kind']}", item, name, stack)


def paths(found: Iterable[Finding]) -> list[ValuePath]:
    return [finding.path for finding in found]


def test_the_standard_label_is_the_one_that_manifests_carry() -> None:
    assert hygiene.LABELS.settings["labels"]["default"] == list(marks.STANDARD_LABELS)


# Opt-in labels.


@pytest.mark.parametrize(
    ("name", "labels", "refused"),
    [
        ("apps-shop", TENANT, False),
        ("auth-dev", {"apps.platform/registry-api-tanhdev": "true"}, False),
        ("shop", TENANT, True),
        ("default", TENANT, True),
        ("kube-system", TENANT, True),
        ("openshift-config", TENANT, True),
        ("auth-staging", {"apps.platform/registry-api-tanhdev": "true"}, True),
        (UNKNOWN, TENANT, True),
        ("shop", {"apps.platform/tenant": UNKNOWN}, True),
        ("shop", UNKNOWN, True),
        ("shop", {"apps.platform/tenant": "false"}, False),
        ("shop", {}, False),
    ],
)
def test_the_label_stands_only_inside_the_registrys_patterns(name: Any, labels: Any, refused: bool) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    assert bool(list(delivery.judge_opt_in(namespace, SETTINGS))) is refused


def test_a_pattern_for_everything_still_leaves_platform_namespaces_out() -> None:
    registries = [{"name": "a", "selector": {"a": "b"}, "namespaces": ["*"], "hosts": ["a.example.com"]}]
    for name, count in (("shop", 0), ("kube-system", 1)):
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"a": "b"}}}
        assert len(list(delivery.judge_opt_in(namespace, {"registries": registries}))) == count


def test_the_label_is_judged_however_it_is_put_on() -> None:
    by_patch = resource("kubernetes:core/v1:NamespacePatch", {"metadata": {"name": "kube-system", "labels": TENANT}})
    by_us = resource(OPT_IN, {"namespace": "kube-system", "labels": TENANT})
    for found in (by_patch, by_us):
        assert found.is_patch
        assert len(list(of_every_object(delivery.judge_opt_in)(found, SETTINGS))) == 1


# What is delivered.


def test_what_this_project_renders_is_safe() -> None:
    for stack in ("dev", "prod"):
        config = parse(stack_file(stack), stack)
        items = [builders.cluster_secret_store(builders.StoreSpec.of(config, store)) for store in config.vault_stores]
        items += [
            builders.cluster_external_secret(builders.PullSecretSpec.of(config, registry))
            for registry in config.registries
        ]
        assert [str(finding) for item in items for finding in delivery.judge_delivery(item, SETTINGS)] == []


TARGET = "spec.externalSecretSpec.target"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{TARGET}.template.type", "Opaque"),
        (f"{TARGET}.template.type", UNKNOWN),
        (f"{TARGET}.creationPolicy", "Orphan"),
        (f"{TARGET}.deletionPolicy", "Delete"),
        (f"{TARGET}.deletionPolicy", "Merge"),
        ("spec.externalSecretSpec.refreshInterval", "0s"),
        ("spec.externalSecretSpec.refreshInterval", "30s"),
        ("spec.externalSecretSpec.refreshInterval", "25h"),
        ("spec.externalSecretSpec.refreshInterval", "sometimes"),
        ("spec.externalSecretSpec.refreshInterval", 0),
        ("spec.externalSecretSpec.refreshPolicy", "CreatedOnce"),
        ("spec.refreshTime", "48h"),
    ],
)
def test_one_unsafe_field_is_one_finding_at_that_field(path: str, value: Any) -> None:
    found = list(delivery.judge_delivery(changed(FANOUT, path, value), SETTINGS))
    assert [".".join(map(str, finding.path)) for finding in found] == [path]
    assert "set it to" in found[0].fix


@pytest.mark.parametrize("path", [f"{TARGET}.creationPolicy", f"{TARGET}.deletionPolicy", "spec.refreshTime"])
def test_fields_with_a_safe_default_may_be_left_out(path: str) -> None:
    assert list(delivery.judge_delivery(changed(FANOUT, path, None), SETTINGS)) == []


@pytest.mark.parametrize(
    "selectors",
    [
        [{}],
        [{"matchLabels": {}}],
        [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}],
        [{"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}],
        [{"matchLabels": TENANT}, {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}],
        [{"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}],
        [{"matchLabels": {"openshift.io/cluster-monitoring": "true"}}],
        [UNKNOWN],
        UNKNOWN,
    ],
)
def test_a_selector_that_could_take_in_platform_namespaces_is_refused(selectors: Any) -> None:
    assert list(delivery.judge_delivery(changed(FANOUT, "spec.namespaceSelectors", selectors), SETTINGS))


def test_a_selector_by_listed_values_is_fine() -> None:
    selectors = [{"matchExpressions": [{"key": "apps.platform/tenant", "operator": "In", "values": ["true"]}]}]
    assert list(delivery.judge_delivery(changed(FANOUT, "spec.namespaceSelectors", selectors), SETTINGS)) == []


def test_a_fanout_of_something_else_is_nobodys_pull_secret() -> None:
    other = changed(changed(FANOUT, "spec.externalSecretSpec.target.name", "bundle"), "metadata.name", "bundle")
    other = changed(other, "spec.namespaceSelectors", [{}])
    other["spec"]["externalSecretSpec"]["target"]["template"] = {"type": "Opaque"}
    other["spec"]["externalSecretSpec"]["data"] = [{"secretKey": "ca.crt"}]
    assert list(delivery.judge_delivery(other, SETTINGS)) == []
    for change in ({"type": "kubernetes.io/dockerconfigjson"}, {"type": UNKNOWN}, {"data": {".dockerconfigjson": "a"}}):
        assert list(
            delivery.judge_delivery(changed(other, "spec.externalSecretSpec.target.template", change), SETTINGS)
        )


@pytest.mark.parametrize(
    ("key", "count"),
    [
        ("app-registry.sub.comptech-lab.com", 1),
        ("https://app-registry.sub.comptech-lab.com/v2/", 1),
        ("app-registry.sub.comptech-lab.com/team", 1),
        ("registry-api.tanhdev.com:443", 1),
        ("https://Registry-API.tanhdev.com", 1),
        ("*.tanhdev.com", 1),
        ("https://*.tanhdev.com/v1/", 1),
        ("registry-api.tanhdev.com", 0),
        ("https://registry-api.tanhdev.com/", 0),
        ("registry-api.tanhdev.com/team", 0),
        ("https://index.docker.io/v1/", 0),
        ("registry.k8s.io", 0),
        ("*.corp.example.com", 0),
        ("{{ .host }}", 0),
    ],
)
def test_a_key_that_means_a_registry_by_another_name_is_refused_without_showing_it(key: str, count: int) -> None:
    data = {".dockerconfigjson": f'{{"auths": {{"{key}": {{"auth": "{{{{ .auth }}}}"}}}}}}'}
    item = changed(FANOUT, f"{TARGET}.template.data", data)
    found = list(delivery.judge_delivery(item, SETTINGS))
    assert len(found) == count
    assert all(key not in finding.problem for finding in found)


@pytest.mark.parametrize(
    "conditions",
    [
        None,
        [],
        [{}],
        [{"namespaceSelector": {}}],
        [{"namespaceRegexes": [".*"]}],
        [{"namespaceRegexes": ["("]}],
        UNKNOWN,
    ],
)
def test_a_store_for_any_namespace_is_refused(conditions: Any) -> None:
    assert list(delivery.judge_delivery(changed(STORE, "spec.conditions", conditions), SETTINGS))


def test_a_store_for_named_namespaces_is_fine() -> None:
    for condition in ({"namespaces": ["apps-shop"]}, {"namespaceRegexes": ["^apps-.*$"]}):
        assert list(delivery.judge_delivery(changed(STORE, "spec.conditions", [condition]), SETTINGS)) == []


def test_a_whole_specification_that_is_not_known_is_one_finding() -> None:
    assert paths(delivery.judge_delivery({**FANOUT, "spec": UNKNOWN}, SETTINGS)) == [("spec",)]


def test_hosts_recorded_in_vault_are_canonical() -> None:
    token = "pulumi-python:dynamic/pullsecrets:KvMetadata"
    for hosts, count in (
        ("app-registry.apps.sub.comptech-lab.com", 0),
        ("app-registry.sub.comptech-lab.com", 1),
        (UNKNOWN, 1),
    ):
        found = resource(token, {"custom": {"hosts": hosts}})
        assert len(list(delivery.judge_delivery_resource(found, SETTINGS))) == count


# ServiceAccounts.


def account(entries: Any) -> dict[str, Any]:
    metadata = {"name": "default", "namespace": "apps-shop"}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "imagePullSecrets": entries}


@pytest.mark.parametrize(
    ("entries", "refused"),
    [
        ([{"name": "app-registry-pull"}], True),
        ([{"name": "a"}, {"name": "registry-api-tanhdev"}], True),
        ([{"name": UNKNOWN}], True),
        (UNKNOWN, True),
        ([{"name": "default-dockercfg-abc"}], False),
        (None, False),
    ],
)
def test_a_service_account_that_declares_our_entry_is_refused(entries: Any, refused: bool) -> None:
    assert bool(list(delivery.judge_binding(account(entries), SETTINGS))) is refused


def test_a_service_account_patch_may_declare_no_list_at_all() -> None:
    patch = resource("kubernetes:core/v1:ServiceAccountPatch", account([{"name": "default-dockercfg-abc"}]))
    (finding,) = delivery.judge_binding_resource(patch, SETTINGS)
    assert "replaces every existing entry" in finding.problem
    assert "ImagePullSecretBinding" in finding.fix


# The stack as a whole.


def binding(namespace: Any, secrets: Any, stack: str = "dev") -> Resource:
    return resource(BINDING, {"namespace": namespace, "secrets": secrets}, "binding", stack)


def namespace(name: str, labels: dict[str, Any], stack: str = "dev") -> Resource:
    item = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    return of(item, "namespace", stack)


def judged(*resources: Resource, **settings: Any) -> list[Finding]:
    return list(complete_delivery.judge_stack(resources, {**SETTINGS, **settings}))


def test_a_store_needs_an_egress_rule_where_it_is_read() -> None:
    assert judged(of(STORE), of(EGRESS)) == []
    (finding,) = judged(of(STORE))
    assert finding.urn == of(STORE).urn
    assert "EsoEgress" in finding.fix
    assert judged(of(STORE), of(changed(EGRESS, "metadata.namespace", "vault")))


def test_a_stack_that_leaves_egress_to_others_needs_no_rule() -> None:
    assert judged(of(STORE), egress=False) == []


def test_red_hats_operator_has_the_egress_rule_in_its_configuration() -> None:
    config = {
        "apiVersion": "operator.openshift.io/v1alpha1",
        "kind": "ExternalSecretsConfig",
        "metadata": {"name": "cluster"},
        "spec": {"controllerConfig": {"networkPolicies": [{"name": "a"}]}},
    }
    assert judged(of(STORE), of(config)) == []


def test_every_bound_tenant_is_labelled() -> None:
    bound = binding("apps-shop", ["app-registry-pull"])
    assert judged(bound, namespace("apps-shop", TENANT)) == []
    assert judged(bound, resource(OPT_IN, {"namespace": "apps-shop", "labels": TENANT}, "labels")) == []
    (finding,) = judged(bound, namespace("apps-shop", {"team": "shop"}))
    assert "tenant apps-shop is bound to app-registry-pull" in finding.problem
    assert judged(bound)
    assert judged(binding(UNKNOWN, ["app-registry-pull"]))


def test_every_tenant_that_is_bound_with_others_is_labelled() -> None:
    bound = {"secrets": ["app-registry-pull"]}
    together = resource(f"{BINDING}s", {"namespaces": {"apps-shop": bound, "apps-other": bound}})
    (finding,) = judged(together, namespace("apps-shop", TENANT))
    assert "tenant apps-other is bound to app-registry-pull" in finding.problem
    for unknown in (UNKNOWN, {"apps-shop": UNKNOWN}, {"apps-shop": {"secrets": UNKNOWN}}):
        (finding,) = judged(resource(f"{BINDING}s", {"namespaces": unknown}))
        assert "ImagePullSecretBindings subject" in finding.problem


def test_the_label_that_counts_is_the_one_that_the_stacks_fanout_selects() -> None:
    own = changed(FANOUT, "spec.namespaceSelectors", [{"matchLabels": {"own": "label"}}])
    bound = binding("apps-shop", ["app-registry-pull"])
    assert judged(of(own), bound, namespace("apps-shop", TENANT))
    assert judged(of(own), bound, namespace("apps-shop", {"own": "label"})) == []


def test_a_secret_that_no_registry_delivers_needs_no_label() -> None:
    assert judged(binding("apps-shop", ["team-registry"])) == []


def test_stacks_are_judged_apart() -> None:
    assert judged(binding("apps-shop", ["app-registry-pull"]), namespace("apps-shop", TENANT, "other"))


def test_tenants_of_the_settings_must_be_labelled() -> None:
    assert judged(namespace("apps-shop", TENANT), tenants=["apps-shop"]) == []
    (finding,) = judged(namespace("apps-shop", TENANT), tenants=["apps-shop", "apps-other"])
    assert "apps-other" in finding.problem


# Hygiene.


def test_namespaces_and_stores_are_protected_and_never_deleted_first() -> None:
    judge: Callable[..., Any] = hygiene.judge_protection
    open_one = namespace("apps-shop", {})
    assert len(list(judge(open_one, SETTINGS))) == 1
    safe = Resource(open_one.token, "a", open_one.urn, open_one.props, options=Options(protect=True))
    assert list(judge(safe, SETTINGS)) == []
    replaced = Options(protect=True, delete_before_replace=True)
    (finding,) = judge(Resource(open_one.token, "a", open_one.urn, open_one.props, options=replaced), SETTINGS)
    assert "would be deleted" in finding.problem
    assert list(judge(resource(OPT_IN, {"namespace": "a", "labels": TENANT}), SETTINGS)) == []


def test_every_object_of_a_list_is_judged() -> None:
    listed = {"items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]}
    found = resource("kubernetes:core/v1:NamespaceList", listed)
    assert [item["kind"] for item in every_object(found)] == ["Namespace", "Namespace"]
