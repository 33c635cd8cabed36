"""Whose fields an update takes over and which it leaves."""

from local.plugins.kubernetes.ownership import created_by_plugin, keep_ignored, taken_over


def entry(manager, operation, *labels, **more):
    fields = {"f:metadata": {"f:labels": {f"f:{label}": {} for label in labels}}}
    return {"manager": manager, "operation": operation, "fieldsV1": fields, **more}


def live(*entries, labels=None):
    return {"metadata": {"labels": labels or {}, "managedFields": list(entries)}}


def test_the_fields_of_the_creation_become_the_appliers():
    obj = live(entry("pulumi-kubernetes", "Update", "a"))
    assert created_by_plugin(obj)
    assert taken_over(obj, "mine") == [entry("mine", "Apply", "a")]


def test_several_predecessors_are_merged_into_what_is_ours_and_others_stay():
    other = entry("eso", "Update", "o")
    obj = live(entry("mine", "Apply", "a"), entry("kubectl-edit", "Update", "b"), other)
    assert taken_over(obj, "mine") == [other, entry("mine", "Apply", "a", "b")]


def test_with_nothing_to_take_over_there_is_nothing_to_send():
    assert taken_over(live(entry("mine", "Apply", "a"), entry("eso", "Update", "o")), "mine") is None


def test_the_status_of_an_object_is_nobodys_to_take():
    assert taken_over(live(entry("kubectl", "Update", "a", subresource="status")), "mine") is None


class TestIgnoredFields:
    def test_a_field_of_others_is_left_to_them(self):
        obj = live(entry("mine", "Apply", "a"), entry("eso", "Update", "b"), labels={"a": "1", "b": "2"})
        inputs = {"metadata": {"labels": {"a": "x", "b": "x"}}}
        assert keep_ignored(inputs, obj, ["metadata.labels.b"], "mine") == {"metadata": {"labels": {"a": "x"}}}

    def test_a_field_of_ours_keeps_the_value_of_the_cluster(self):
        obj = live(entry("mine", "Apply", "a"), labels={"a": "1"})
        inputs = {"metadata": {"labels": {"a": "x"}}}
        assert keep_ignored(inputs, obj, ["metadata.labels.a"], "mine") == {"metadata": {"labels": {"a": "1"}}}
        assert inputs == {"metadata": {"labels": {"a": "x"}}}
