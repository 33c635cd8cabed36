"""The dynamic providers: what of their own state makes an update."""

from typing import Any, ClassVar

import pytest

from pullsecrets.components import image_pull_secret_binding, kv_metadata, namespace_opt_in
from pullsecrets.errors import PullSecretsError
from tests.unit.cluster import FakeCluster

OPT_IN: dict[str, Any] = {"namespace": "shop", "labels": {}, "annotations": {}}
BINDING: dict[str, Any] = {"namespace": "shop", "service_accounts": [], "secrets": [], "labels": {}}
BINDINGS: dict[str, Any] = {"namespaces": {}}
METADATA: dict[str, Any] = {"mount": "secret", "path": "app", "custom": {}, "max_versions": 10}


@pytest.mark.parametrize(
    ("module", "props"),
    [
        (namespace_opt_in, OPT_IN),
        (image_pull_secret_binding, BINDING),
        (image_pull_secret_binding, BINDINGS),
        (kv_metadata, METADATA),
    ],
)
def test_code_that_moved_is_written_to_state_so_that_it_is_found_when_the_resource_is_deleted(
    module: Any, props: dict[str, Any]
) -> None:
    found = module._Provider().diff(
        "id", {**props, "__provider": "where it was"}, {**props, "__provider": "where it is"}
    )
    assert found.changes
    assert not found.replaces


class TestBindings:
    """One resource binds the namespaces of a stack."""

    WANTED: ClassVar = {
        name: {"service_accounts": ["default"], "secrets": ["app"], "labels": {}} for name in ("a", "b")
    }
    NEWS: ClassVar = {"namespaces": WANTED, "context": None, "__provider": "it"}

    @pytest.fixture
    def cluster(self, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
        accounts = [
            (
                f"/api/v1/namespaces/{name}/serviceaccounts/default",
                {"metadata": {"namespace": name, "name": "default", "resourceVersion": "1"}},
            )
            for name in self.WANTED
        ]
        cluster = FakeCluster(*accounts)
        monkeypatch.setattr(image_pull_secret_binding, "shared_client", lambda _: cluster)
        return cluster

    def test_a_preview_shows_by_namespace_what_is_lacking(
        self, cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
    ) -> None:
        provider = image_pull_secret_binding._Provider()
        outs = provider.create(dict(self.NEWS)).outs or {}
        assert outs == {**self.NEWS, "failed": {}}
        news = provider.check(self.NEWS, self.NEWS).inputs
        assert (news, provider.diff("id", outs, news).changes) == (self.NEWS, False)
        cluster.objects["/api/v1/namespaces/b/serviceaccounts/default"]["imagePullSecrets"] = []
        news = provider.check(self.NEWS, self.NEWS).inputs
        assert news == {**self.NEWS, "lacking": {"b": {"default": ["app"]}}}
        assert provider.diff("id", outs, news).changes
        assert capsys.readouterr().out == "ServiceAccounts that lack pull Secrets, in b\n"
        assert provider.read("id", outs).outs == {**outs, "lacking": {"b": {"default": ["app"]}}}
        assert provider.update("id", outs, news).outs == outs

    def test_what_failed_is_tried_again(self, cluster: FakeCluster) -> None:
        provider = image_pull_secret_binding._Provider()
        cluster.refuse["PATCH", "/api/v1/namespaces/b/serviceaccounts/default"] = (403, "no")
        outs = provider.create(dict(self.NEWS)).outs or {}
        assert outs["failed"].keys() == {"b"}
        assert provider.diff("id", outs, self.NEWS).changes
        cluster.refuse.clear()
        assert (provider.update("id", outs, self.NEWS).outs or {})["failed"] == {}

    def test_a_destroy_names_what_it_could_not_unbind_after_all_others(self, cluster: FakeCluster) -> None:
        provider = image_pull_secret_binding._Provider()
        outs = provider.create(dict(self.NEWS)).outs or {}
        cluster.refuse["PATCH", "/api/v1/namespaces/a/serviceaccounts/default"] = (403, "no")
        with pytest.raises(PullSecretsError, match="namespaces/a/serviceaccounts/default: 403"):
            provider.delete("id", outs)
        assert not cluster.objects["/api/v1/namespaces/b/serviceaccounts/default"]["imagePullSecrets"]

    def test_of_one_namespace_the_resource_itself_fails(self, cluster: FakeCluster) -> None:
        cluster.refuse["PATCH", "/api/v1/namespaces/a/serviceaccounts/default"] = (403, "no")
        props = {"namespace": "a", **self.WANTED["a"], "context": None, "__provider": "it"}
        with pytest.raises(PullSecretsError, match="403"):
            image_pull_secret_binding._Provider().create(props)
