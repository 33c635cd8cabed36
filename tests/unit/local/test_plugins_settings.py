"""The provider's configuration and the kubeconfigs it leads to."""

import base64
import json
import ssl

import pytest

from local.plugins.kubernetes import kubeconfig, settings
from local.plugins.kubernetes.values import UNKNOWN

CONFIG = {
    "current-context": "here",
    "contexts": [
        {"name": "here", "context": {"cluster": "one", "user": "me", "namespace": "apps"}},
        {"name": "there", "context": {"cluster": "two", "user": "me"}},
        {"name": "nowhere", "context": {"cluster": "none"}},
    ],
    "clusters": [
        {"name": "one", "cluster": {"server": "https://127.0.0.1:1"}},
        {"name": "two", "cluster": {"server": "https://127.0.0.1:2"}},
    ],
    "users": [{"name": "me", "user": {"token": "t0ken"}}],
}
TEXT = json.dumps(CONFIG, indent=1)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in ("KUBECONFIG", "PULUMI_K8S_CLIENT_QPS", "PULUMI_K8S_UPSERT_EXISTING_OBJECTS"):
        monkeypatch.delenv(name, raising=False)


class TestKubeconfig:
    def test_text_and_path_mean_the_same(self, tmp_path):
        path = tmp_path / "config"
        path.write_text(TEXT)
        assert kubeconfig.parse(TEXT) == kubeconfig.parse(str(path)) == CONFIG

    def test_paths_in_a_file_are_relative_to_it(self, tmp_path):
        path = tmp_path / "config"
        path.write_text(json.dumps({"clusters": [{"name": "a", "cluster": {"certificate-authority": "ca.crt"}}]}))
        cluster = kubeconfig.parse(str(path))["clusters"][0]["cluster"]
        assert cluster["certificate-authority"] == str(tmp_path / "ca.crt")

    def test_the_current_context_decides_and_can_be_overridden(self):
        assert kubeconfig.access(CONFIG).server == "https://127.0.0.1:1"
        assert kubeconfig.access(CONFIG).namespace == "apps"
        assert kubeconfig.access(CONFIG, context="there").server == "https://127.0.0.1:2"
        assert kubeconfig.access(CONFIG, cluster="two", namespace="x").namespace == "x"

    def test_a_token_is_sent_and_not_shown(self):
        access = kubeconfig.access(CONFIG)
        assert access.headers() == {"Authorization": "Bearer t0ken"}
        assert "t0ken" not in repr(access)

    def test_servers_are_verified(self):
        tls = kubeconfig.access(CONFIG).tls
        assert tls.verify_mode is ssl.CERT_REQUIRED
        assert tls.check_hostname

    def test_a_context_that_is_not_there_is_named_with_those_that_are(self):
        with pytest.raises(kubeconfig.KubeconfigError, match="'absent' is not in the kubeconfig, which has: here, no"):
            kubeconfig.access(CONFIG, context="absent")

    def test_a_context_without_cluster_is_named(self):
        with pytest.raises(kubeconfig.KubeconfigError, match="'nowhere' leads to no cluster"):
            kubeconfig.access(CONFIG, context="nowhere")

    def test_text_that_is_no_kubeconfig_is_not_repeated(self):
        with pytest.raises(kubeconfig.KubeconfigError) as caught:
            kubeconfig.parse("token: [s3cret")
        assert "s3cret" not in str(caught.value)

    def test_a_broken_client_certificate_is_named_and_not_repeated(self):
        broken = json.loads(TEXT)
        broken["users"][0]["user"] = {"client-certificate-data": base64.b64encode(b"s3cret").decode()}
        with pytest.raises(kubeconfig.KubeconfigError, match="client certificate cannot be used") as caught:
            kubeconfig.access(broken)
        assert "s3cret" not in str(caught.value)

    def test_without_a_kubeconfig_the_places_that_were_looked_at_are_named(self, monkeypatch, tmp_path):
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
        with pytest.raises(kubeconfig.KubeconfigError, match=r"no kubeconfig at .*absent: set KUBECONFIG"):
            kubeconfig.ambient()

    def test_of_several_files_the_first_to_name_a_thing_wins(self, monkeypatch, tmp_path):
        (tmp_path / "a").write_text(
            json.dumps({"current-context": "x", "users": [{"name": "me", "user": {"token": "1"}}]})
        )
        (tmp_path / "b").write_text(TEXT)
        monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'a'}:{tmp_path / 'b'}")
        merged = kubeconfig.ambient()
        assert merged["current-context"] == "x"
        assert merged["users"][0]["user"]["token"] == "1"
        assert len(merged["contexts"]) == 3


class TestSettings:
    def test_nothing_given_means_the_official_plugins_defaults(self):
        assert settings.read({}) == settings.Settings(rate=50.0, burst=120)

    def test_the_providers_arguments_win_over_the_environment(self, monkeypatch):
        monkeypatch.setenv("PULUMI_K8S_UPSERT_EXISTING_OBJECTS", "true")
        assert settings.read({}).upsert
        assert not settings.read({"kubernetes:config:upsertExistingObjects": "false"}).upsert

    def test_limits_of_the_client_come_as_json(self):
        given = settings.read({"kubernetes:config:kubeClientSettings": '{"qps": 200, "burst": 400, "timeout": 5}'})
        assert (given.rate, given.burst, given.timeout) == (200.0, 400, 5.0)

    @pytest.mark.parametrize("text", ["[]", '{"qps": "many"}', "{"])
    def test_limits_that_are_no_numbers_are_refused(self, text):
        with pytest.raises(settings.SettingsError, match="kubeClientSettings"):
            settings.read({"kubernetes:config:kubeClientSettings": text})

    def test_what_the_stand_in_cannot_do_is_refused(self):
        found = settings.problems({"renderYamlToDirectory": "x", "enableServerSideApply": "false"}, is_default=False)
        assert [key for key, _ in found] == ["renderYamlToDirectory", "enableServerSideApply"]

    def test_strict_mode_wants_an_explicit_provider_with_kubeconfig_and_context(self):
        found = settings.problems({"strictMode": "true"}, is_default=True)
        assert [key for key, _ in found] == ["", "kubeconfig", "context"]


class TestChangedConfiguration:
    def test_another_server_replaces_every_object(self):
        moved = TEXT.replace("127.0.0.1:1", "127.0.0.1:9")
        change = settings.compare({"kubeconfig": TEXT}, {"kubeconfig": moved})
        assert change.replaces == ["kubeconfig"]

    def test_new_credentials_for_the_same_server_replace_nothing(self):
        change = settings.compare({"kubeconfig": TEXT}, {"kubeconfig": TEXT.replace("t0ken", "other")})
        assert (change.changed, change.replaces) == (["kubeconfig"], [])

    def test_a_cluster_identifier_that_stays_outweighs_another_server(self):
        old = {"kubeconfig": TEXT, "clusterIdentifier": "a"}
        new = {"kubeconfig": TEXT.replace("127.0.0.1:1", "127.0.0.1:9"), "clusterIdentifier": "a"}
        assert settings.compare(old, new).replaces == []
        assert settings.compare(old, {**new, "clusterIdentifier": "b"}).replaces == ["clusterIdentifier"]

    def test_a_kubeconfig_that_is_not_known_yet_may_be_another_cluster(self):
        assert settings.compare({"kubeconfig": TEXT}, {"kubeconfig": UNKNOWN}).replaces == ["kubeconfig"]
