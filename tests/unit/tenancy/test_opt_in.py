"""A namespace keeps every label and annotation that is not ours, and is deleted only by who created it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets.errors import BadInputError, PullSecretsError
from pullsecrets.kube.client import KubernetesApiError
from pullsecrets.kube.marks import FINALIZER_PREFIX, STACK_ANNOTATION
from pullsecrets.tenancy import opt_in
from tests.unit.cluster import FakeCluster

PATH = "/api/v1/namespaces/apps-one"
FANOUT = "/apis/external-secrets.io/v1/clusterexternalsecrets/app"
MARKS = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("xy"))


def namespace(labels: dict[str, str], annotations: dict[str, str] | None = None, **metadata: Any) -> FakeCluster:
    found = {"name": "apps-one", "uid": "1", "resourceVersion": "1", **metadata}
    return FakeCluster((PATH, {"metadata": {**found, "labels": labels, "annotations": annotations or {}}}))


def held(cluster: FakeCluster, kind: str = "labels") -> dict[str, str]:
    return cluster.objects[PATH]["metadata"].get(kind) or {}


@given(MARKS, MARKS, MARKS)
def test_putting_on_and_taking_off_leaves_what_others_put_there(
    theirs: dict[str, str], labels: dict[str, str], annotations: dict[str, str]
) -> None:
    cluster = namespace(theirs, theirs)
    opt_in.opt_in(cluster, "apps-one", labels, annotations)
    assert held(cluster) == {**theirs, **labels}
    assert held(cluster, "annotations") == {**theirs, **annotations}
    opt_in.take_off(cluster, "apps-one", labels, annotations)
    assert held(cluster) == {key: value for key, value in theirs.items() if key not in labels}


@given(MARKS, MARKS)
def test_a_label_to_which_somebody_gave_another_value_stays(live: dict[str, str], ours: dict[str, str]) -> None:
    cluster = namespace(live)
    opt_in.take_off(cluster, "apps-one", ours)
    assert held(cluster) == {key: value for key, value in live.items() if ours.get(key) != value}


def test_a_missing_namespace_is_created_with_everything_and_says_whose_it_is() -> None:
    cluster = FakeCluster()
    opt_in.opt_in(cluster, "apps-one", {"a": "x"}, {"b": "y"}, owner="p/dev")
    assert held(cluster) == {"a": "x"}
    assert held(cluster, "annotations") == {"b": "y", STACK_ANNOTATION: "p/dev"}


def test_one_that_exists_does_not_become_the_stacks() -> None:
    cluster = namespace({})
    opt_in.opt_in(cluster, "apps-one", {"a": "x"}, owner="p/dev")
    assert STACK_ANNOTATION not in held(cluster, "annotations")


def test_one_to_adopt_must_exist() -> None:
    with pytest.raises(BadInputError, match="does not exist; create it, or drop adopt: true"):
        opt_in.opt_in(FakeCluster(), "apps-one", {"a": "x"})


def test_one_that_is_being_deleted_is_not_written_to() -> None:
    cluster = namespace({}, deletionTimestamp="now")
    with pytest.raises(PullSecretsError, match="is being deleted; run the command again once it is gone"):
        opt_in.opt_in(cluster, "apps-one", {"a": "x"})
    assert not cluster.sent


class TestAnotherValue:
    """A namespace cannot carry two values of one label, so who selects it is told before the label moves."""

    def selectors(self, live: dict[str, str], *found: dict[str, str]) -> list[dict[str, Any]]:
        cluster = namespace(live)
        fanout: dict[str, Any] = {"metadata": {"name": "app", "resourceVersion": "1"}}
        fanout["spec"] = {"namespaceSelectors": [{"matchLabels": labels} for labels in found]}
        cluster.objects[FANOUT] = fanout
        opt_in.opt_in(cluster, "apps-one", {"a": "y"}, registries={"app": {"a": "y"}})
        if ("PATCH", FANOUT) in cluster.sent:
            assert cluster.sent == [("PATCH", FANOUT), ("PATCH", PATH)], "before the label"
        return [selector["matchLabels"] for selector in cluster.objects[FANOUT]["spec"]["namespaceSelectors"]]

    def test_it_selects_by_both(self) -> None:
        assert self.selectors({"a": "x"}, {"a": "x"}) == [{"a": "x"}, {"a": "y"}]

    def test_what_selects_it_already_stays_as_it_is(self) -> None:
        assert self.selectors({"a": "x"}, {"a": "x"}, {"a": "y"}) == [{"a": "x"}, {"a": "y"}]

    def test_a_label_that_is_added_beside_the_others_needs_nothing(self) -> None:
        assert self.selectors({"b": "x"}, {"b": "x"}) == [{"b": "x"}]

    def test_a_fan_out_that_is_not_there_is_nothing_to_lose(self) -> None:
        cluster = namespace({"a": "x"})
        opt_in.opt_in(cluster, "apps-one", {"a": "y"}, registries={"app": {"a": "y"}})
        assert held(cluster) == {"a": "y"}


class TestDeletion:
    def test_who_created_it_deletes_it(self) -> None:
        cluster = namespace({}, {STACK_ANNOTATION: "p/dev"})
        opt_in.delete_if_owned(cluster, "apps-one", "p/dev")
        assert PATH not in cluster.objects

    @pytest.mark.parametrize("annotations", [{}, {STACK_ANNOTATION: "p/other"}])
    def test_nobody_else_does(self, annotations: dict[str, str]) -> None:
        cluster = namespace({}, annotations)
        opt_in.delete_if_owned(cluster, "apps-one", "p/dev")
        assert not cluster.sent

    def test_it_is_waited_for(self) -> None:
        cluster = self.followed_by(self.held())
        cluster.coming = [(PATH, {**self.held(), "spec": {}}), (PATH, None)]
        opt_in.delete_if_owned(cluster, "apps-one", "p/dev")
        assert cluster.coming == []

    def test_one_of_the_name_that_is_made_anew_is_not_waited_for(self) -> None:
        cluster = self.followed_by({"metadata": {"name": "apps-one", "uid": "2", "resourceVersion": "9"}})
        opt_in.delete_if_owned(cluster, "apps-one", "p/dev")
        assert cluster.objects[PATH]["metadata"]["uid"] == "2"

    def test_one_that_somebody_made_anew_since_it_was_looked_at_is_not_deleted(self) -> None:
        cluster = FakeCluster((PATH, self.held()))
        cluster.before_write = lambda *_: cluster.objects[PATH]["metadata"].update(uid="2")
        with pytest.raises(KubernetesApiError, match="409"):
            opt_in.delete_if_owned(cluster, "apps-one", "p/dev")
        assert PATH in cluster.objects

    def test_one_that_something_holds_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(opt_in, "DELETION_SECONDS", 0)
        with pytest.raises(PullSecretsError, match="'apps-one' is still there 0 s after it was deleted; "):
            opt_in.delete_if_owned(self.followed_by(self.held()), "apps-one", "p/dev")

    def followed_by(self, after: dict[str, Any]) -> FakeCluster:
        """A cluster where a finalizer keeps what is deleted, or another one of its name follows at once."""
        cluster = FakeCluster((PATH, self.held()))
        cluster.after_write = lambda *_: cluster.objects.update({PATH: after})
        return cluster

    def held(self) -> dict[str, Any]:
        metadata = {"name": "apps-one", "uid": "1", "resourceVersion": "1"}
        return {"metadata": {**metadata, "annotations": {STACK_ANNOTATION: "p/dev"}}}


def test_a_namespace_that_leaves_has_no_finalizer_of_esos_left() -> None:
    cluster = namespace({"a": "x", "b": "y"}, {"c": "z"}, finalizers=[f"{FINALIZER_PREFIX}app", "theirs"])
    opt_in.leave(cluster, "apps-one", {"a": "x"}, {"c": "z"}, ["app"])
    assert (held(cluster), held(cluster, "annotations")) == ({"b": "y"}, {})
    assert cluster.objects[PATH]["metadata"]["finalizers"] == ["theirs"]
