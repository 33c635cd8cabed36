"""What counts as a change of an object, and what replaces it."""

from hypothesis import given
from hypothesis import strategies as st

from local.plugins.kubernetes.diffing import (
    Change,
    differences,
    parse_property_path,
    property_path,
    without_ignored,
)
from local.plugins.kubernetes.kinds import Kind
from local.plugins.kubernetes.values import UNKNOWN


def found(old, new, forced=()):
    return {d.property_path: (d.change, d.replaces) for d in differences(old, new, forced)}


def test_equal_objects_have_no_differences():
    assert differences({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}, [".a"]) == []


def test_each_property_is_told_apart():
    old = {"labels": {"a": "1", "b": "2"}, "list": [1, 2, 3]}
    new = {"labels": {"a": "x", "c": "3"}, "list": [1, 9]}
    assert found(old, new) == {
        "labels.a": (Change.UPDATE, False),
        "labels.b": (Change.DELETE, False),
        "labels.c": (Change.ADD, False),
        "list[1]": (Change.UPDATE, False),
        "list[2]": (Change.DELETE, False),
    }


def test_names_with_dots_are_quoted():
    assert list(found({}, {"labels": {"apps.platform/tenant": "true"}})) == ["labels"]
    assert list(found({"labels": {}}, {"labels": {"apps.platform/tenant": "true"}})) == [
        'labels["apps.platform/tenant"]'
    ]


def test_true_is_not_one():
    assert found({"a": 1}, {"a": True}) == {"a": (Change.UPDATE, False)}


def test_what_is_not_known_yet_may_change():
    assert found({"a": "1"}, {"a": UNKNOWN}) == {"a": (Change.UPDATE, False)}


def test_a_change_below_above_or_at_a_forced_path_replaces():
    forced = [".roleRef", ".spec.selector"]
    assert found({"roleRef": {"name": "a"}}, {"roleRef": {"name": "b"}}, forced) == {
        "roleRef.name": (Change.UPDATE, True)
    }
    assert found({}, {"spec": {"selector": 1}}, forced) == {"spec": (Change.ADD, True)}
    assert found({}, {"spec": {"other": 1}}, forced) == {"spec": (Change.ADD, False)}
    assert found({"spec": {"selector": 1}}, {"spec": {}}, forced) == {"spec.selector": (Change.DELETE, True)}


def test_ignored_properties_are_left_out_with_all_below_them():
    changes = differences(
        {"a": {"b.c": 1, "d": 1}, "l": [{"x": 1, "y": 1}]},
        {"a": {"b.c": 2, "d": 2}, "l": [{"x": 2, "y": 2}]},
        [],
    )
    kept = without_ignored(changes, ['a["b.c"]', "l[*].x"])
    assert [d.property_path for d in kept] == ["a.d", "l[0].y"]


@given(st.lists(st.text(st.characters(exclude_characters='"[]\\'), min_size=1) | st.integers(0, 99), min_size=1))
def test_a_path_that_is_written_is_read_back(path):
    assert parse_property_path(property_path(tuple(path))) == tuple(path)


class TestWhatReplaces:
    def replaced(self, api_version, name, **settings):
        defaults = {"mutable_secrets": False, "mutable_config_maps": False}
        return Kind.of(api_version, name).replaced_on_change(**{**defaults, **settings})

    def test_every_kind_by_name_and_namespace(self):
        assert self.replaced("example.com/v1", "Widget") == (".metadata.name", ".metadata.namespace")

    def test_a_role_binding_by_its_role(self):
        assert ".roleRef" in self.replaced("rbac.authorization.k8s.io/v1", "ClusterRoleBinding")

    def test_a_secret_by_its_data_unless_secrets_are_mutable(self):
        assert ".data" in self.replaced("v1", "Secret")
        mutable = self.replaced("v1", "Secret", mutable_secrets=True)
        assert ".data" not in mutable
        assert ".type" in mutable
