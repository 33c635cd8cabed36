"""Who may call the API server, and the kubeconfigs."""

import base64
import json
import stat

import pytest

from local.controlplane.etcd import Etcd
from local.controlplane.identities import Identities, UnknownIdentity, kubeconfig_of
from local.controlplane.kubernetes import ApiServer


class RecordingApi:
    """An API server that has every ServiceAccount and notes what is applied."""

    def __init__(self):
        self.applied = []
        self.tokens = 0

    def apply(self, manifest):
        self.applied.append((manifest["kind"], manifest["metadata"]["name"]))

    def service_account_token(self, namespace, name, seconds):
        assert seconds == 365 * 24 * 3600
        self.tokens += 1
        return f"token-{self.tokens}-of-{namespace}-{name}"

    def call(self, method, path):
        assert (method, path) == ("GET", "/api/v1/serviceaccounts")
        return {"items": [{"metadata": {"namespace": "argocd", "name": "controller"}}]}


@pytest.fixture
def identities(layout, ports):
    return Identities(layout, ApiServer(layout, ports, Etcd(layout, ports)))


def read(layout, identity):
    config = json.loads(kubeconfig_of(layout, identity).read_text())
    return config["clusters"][0]["cluster"], config["users"][0]["user"]


def test_every_kubeconfig_verifies_the_server_and_is_private(layout, ports, identities):
    identities.write_users()
    for file in layout.kubeconfigs.glob("*.yaml"):
        cluster, _ = read(layout, file.stem)
        assert cluster["server"] == f"https://127.0.0.1:{ports['kube-apiserver']}"
        assert base64.b64decode(cluster["certificate-authority-data"]).startswith(b"-----BEGIN CERTIFICATE-----")
        assert set(cluster) == {"server", "certificate-authority-data"}
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_added_user_follows_the_api_server_to_another_port(layout, ports, identities):
    identities.add("tenant", [], RecordingApi())
    ports.renew("kube-apiserver")
    identities.write_users()
    assert read(layout, "tenant")[0]["server"] == f"https://127.0.0.1:{ports['kube-apiserver']}"


def test_a_service_account_is_made_and_gets_a_token_file(layout, identities):
    api = RecordingApi()
    file = identities.add("system:serviceaccount:argocd:controller", [], api)
    assert api.applied == [("Namespace", "argocd"), ("ServiceAccount", "controller")]
    _, user = read(layout, file.stem)
    token = layout.kubeconfigs / "system-serviceaccount-argocd-controller.token"
    assert user == {"tokenFile": str(token)}
    assert token.read_text() == "token-1-of-argocd-controller"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600


def test_service_accounts_get_fresh_tokens_where_they_still_exist(identities):
    api = RecordingApi()
    kept = identities.add("system:serviceaccount:argocd:controller", [], api)
    gone = identities.add("system:serviceaccount:gone:gone", [], api)
    identities.renew_service_accounts(api)
    assert kept.with_suffix(".token").read_text() == "token-3-of-argocd-controller"
    assert gone.with_suffix(".token").read_text() == "token-2-of-gone-gone"


@pytest.mark.parametrize("user", ["admin", "pulumi", "kube-controller-manager"])
def test_a_built_in_identity_cannot_be_replaced(identities, user):
    with pytest.raises(UnknownIdentity, match=f"'{user}' is built in"):
        identities.add(user, ["system:masters"], RecordingApi())


def test_an_identity_that_is_not_there_is_named_with_those_that_are(layout, identities):
    identities.write_users()
    with pytest.raises(UnknownIdentity, match=r"'tenant': there are admin, .*kube-controller-manager.*pulumi"):
        kubeconfig_of(layout, "tenant")


def test_before_the_first_up_the_message_says_so(layout):
    with pytest.raises(UnknownIdentity, match="the control plane was never up, run `make up`"):
        kubeconfig_of(layout, "pulumi")
