"""The forms in which the stand-in keeps Kubernetes objects."""

import base64

import pytest

from local.plugins.kubernetes import naming, objects
from local.plugins.kubernetes.kinds import Kind, is_patch, kind_of_urn
from local.plugins.kubernetes.values import UNKNOWN, Secret

URN = "urn:pulumi:dev::project::pullsecrets:index:TenantNamespace$kubernetes:core/v1:Namespace::tenant"


def test_core_has_two_names():
    assert Kind.of("core/v1", "Secret") == Kind.of("v1", "Secret") == Kind("", "v1", "Secret")


def test_a_resources_type_names_its_kind_whatever_its_parents():
    assert kind_of_urn(URN) == Kind("", "v1", "Namespace")


@pytest.mark.parametrize("token", ["kubernetes:helm.sh/v3:Release", "kubernetes:yaml/v2:ConfigGroup"])
def test_charts_and_yaml_components_are_told_from_objects(token):
    urn = f"urn:pulumi:dev::project::{token}::x"
    if token.endswith("ConfigGroup"):
        assert not kind_of_urn(urn).is_built_in
    else:
        assert kind_of_urn(urn).group == "helm.sh"


@pytest.mark.parametrize(
    ("token", "kind", "expected"),
    [
        ("kubernetes:core/v1:NamespacePatch", "Namespace", True),
        ("kubernetes:core/v1:Namespace", "Namespace", False),
        ("kubernetes:example.com/v1:DogPatch", "DogPatch", False),
    ],
)
def test_a_patch_resource_is_named_after_the_kind_it_patches(token, kind, expected):
    assert is_patch(f"urn:pulumi:dev::project::{token}::x", kind) is expected


@pytest.mark.parametrize(
    ("api_version", "name", "namespaced"),
    [("v1", "Secret", True), ("v1", "Namespace", False), ("example.com/v1", "Secret", None)],
)
def test_scopes_of_built_in_kinds_are_known_without_the_server(api_version, name, namespaced):
    assert Kind.of(api_version, name).namespaced is namespaced


class TestNormalized:
    def test_a_secrets_texts_become_data_as_on_the_server(self):
        secret = {"apiVersion": "v1", "kind": "Secret", "stringData": {"a": "b"}, "data": {"a": "eA==", "c": "ZA=="}}
        assert objects.normalized(secret) == {
            "apiVersion": "v1",
            "kind": "Secret",
            "data": {"a": base64.b64encode(b"b").decode(), "c": "ZA=="},
        }

    def test_data_that_is_no_base64_is_left_to_the_server_to_refuse(self):
        secret = {"apiVersion": "v1", "kind": "Secret", "data": {"a": "!!"}}
        assert objects.normalized(secret) == secret

    def test_empty_lists_and_maps_of_text_mean_nothing_but_empty_selectors_do(self):
        policy = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "a", "labels": {}},
            "spec": {"podSelector": {}, "ingress": [], "egress": [{"to": [{"namespaceSelector": {}}], "ports": None}]},
        }
        assert objects.normalized(policy) == {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "a"},
            "spec": {"podSelector": {}, "egress": [{"to": [{"namespaceSelector": {}}]}]},
        }

    def test_custom_objects_keep_everything(self):
        custom = {"apiVersion": "example.com/v1", "kind": "Widget", "spec": {"none": [], "empty": {}}}
        assert objects.normalized(custom) == custom

    def test_what_only_the_server_writes_goes(self):
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "uid": "1", "generation": 2}}
        assert objects.normalized(namespace)["metadata"] == {"name": "a"}

    def test_the_object_itself_is_left_alone(self):
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "uid": "1"}}
        objects.normalized(namespace)
        assert namespace["metadata"] == {"name": "a", "uid": "1"}


def test_pruning_keeps_what_the_inputs_have_with_the_values_of_the_cluster():
    live = {"metadata": {"labels": {"a": "drift", "b": "x"}, "uid": "1"}, "list": [{"a": 1, "b": 2}, {"a": 3}]}
    shape = {"metadata": {"labels": {"a": "1"}}, "list": [{"a": 0}]}
    assert objects.pruned(live, shape) == {"metadata": {"labels": {"a": "drift"}}, "list": [{"a": 1}]}


class TestSecrets:
    def test_the_content_of_a_secret_is_secret_though_the_program_did_not_say_so(self):
        assert objects.with_secrets({"kind": "Secret", "data": {"a": "b"}}, {})["data"] == Secret({"a": "b"})

    def test_a_field_is_secret_where_the_program_made_it_so_and_its_neighbour_is_not(self):
        live = {"kind": "ConfigMap", "data": {"a": "b", "c": "d"}}
        marked = objects.with_secrets(live, {"data": {"a": Secret("b"), "c": "d"}})
        assert marked["data"] == {"a": Secret("b"), "c": "d"}

    def test_a_list_is_secret_as_a_whole(self):
        assert objects.with_secrets({"list": [1, 2]}, {"list": [Secret(1), 2]})["list"] == Secret([1, 2])

    def test_the_stored_state_has_inputs_and_live_object_under_the_same_secrets(self):
        given = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": Secret("b")}}
        plain = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}}
        state = objects.state_of(plain, {**plain, "metadata": {"uid": "1"}}, given, "v1", "manager")
        assert state["data"] == state["__inputs"]["data"] == {"a": Secret("b")}
        assert state["__fieldManager"] == "manager"
        assert state["metadata"] == {"uid": "1"}


def test_dashes_that_programs_cannot_write_are_restored():
    written = {"x_kubernetes_preserve_unknown_fields": True, "other_name": 1}
    assert objects.dashed(written) == {"x-kubernetes-preserve-unknown-fields": True, "other_name": 1}
    assert objects.underscored(objects.dashed(written)) == written


class TestNaming:
    def test_an_object_without_name_is_named_after_its_resource_the_same_for_the_same_seed(self):
        first, second = {}, {}
        for obj in (first, second):
            naming.generate(obj, "tenant", b"seed", proposed="", disabled=False)
        assert first == second
        assert objects.name(first).startswith("tenant-")
        assert naming.is_autonamed(first)

    def test_a_name_has_eight_hexadecimal_digits(self):
        digits = naming.unique("a-").removeprefix("a-")
        assert len(digits) == 8
        int(digits, 16)

    def test_the_stacks_autonaming_wins(self):
        obj = {}
        naming.generate(obj, "tenant", b"seed", proposed="chosen", disabled=False)
        assert objects.name(obj) == "chosen"

    def test_without_autonaming_a_name_is_demanded(self):
        with pytest.raises(naming.AutonamingDisabledError, match=r"requires the \.metadata\.name field"):
            naming.generate({}, "tenant", b"seed", proposed="", disabled=True)

    @pytest.mark.parametrize("name", ["given", UNKNOWN])
    def test_a_name_of_the_program_stays_known_or_not(self, name):
        obj = {"metadata": {"name": name}}
        naming.generate(obj, "tenant", b"seed", proposed="", disabled=False)
        assert obj == {"metadata": {"name": name}}

    def test_a_generated_name_is_kept_and_a_chosen_one_is_not_adopted(self):
        generated, chosen = {"metadata": {"name": "a-1"}}, {"metadata": {"name": "b"}}
        objects.set_annotation(generated, naming.AUTONAMED, "true")
        kept, named = {}, {}
        naming.keep_generated(kept, generated)
        naming.keep_generated(named, chosen)
        assert objects.name(kept) == "a-1"
        assert objects.name(named) == ""
