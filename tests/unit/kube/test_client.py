"""Answers and kubeconfigs that the client of the Kubernetes API must take as they are, or name the mistake in."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pullsecrets.errors import BadInputError, UnreachableError
from pullsecrets.kube import kubeconfig as kubeconfig_module
from pullsecrets.kube.client import KubernetesApiError, KubernetesClient
from pullsecrets.kube.kubeconfig import Reach
from tests.unit.answering import Server, answering

PAGE = "<html>\n<body>log in</body>\n</html>\n"


@pytest.fixture
def server() -> Iterator[Server]:
    with answering() as found:
        yield found


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that KUBECONFIG names, outside of any cluster."""
    path = tmp_path / "config"
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    return path


def content(server: str = "https://127.0.0.1:1", **user: str) -> dict[str, Any]:
    return {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "clusters": [{"name": "here", "cluster": {"server": server}}],
        "users": [{"name": "me", "user": user}],
    }


@pytest.fixture
def client(server: Server, kubeconfig: Path) -> KubernetesClient:
    kubeconfig.write_text(json.dumps(content(server.address)))
    return KubernetesClient()


REQUESTS: dict[str, Callable[[KubernetesClient], object]] = {
    "get": lambda client: client.get("/api/v1/namespaces/apps"),
    "list": lambda client: list(client.items("/api/v1/namespaces")),
    "watch": lambda client: list(client.watch("/api/v1/secrets", {}, 1)),
}
each_request = pytest.mark.parametrize("send", REQUESTS.values(), ids=REQUESTS.keys())


@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_service_that_redirects_is_probed_and_not_followed(
    client: KubernetesClient, server: Server, status: int
) -> None:
    server.status, server.body, server.location = status, "", "/api/v1/namespaces/apps/services/auth:80/proxy/login"
    assert client.probe("/api/v1/namespaces/apps/services/auth:80/proxy/health")[0] == status


@each_request
@pytest.mark.parametrize(
    ("status", "body"), [(200, PAGE), (200, '{"error": "log in"}'), (200, '["a"]'), (302, ""), (302, PAGE)]
)
def test_an_answer_that_is_no_kubernetes_object_is_said_to_be_none(
    client: KubernetesClient, server: Server, status: int, body: str, send: Callable[[KubernetesClient], object]
) -> None:
    server.status, server.body, server.location = status, body, "/login"
    # A watch's answer is cut into lines.
    server.body = body and f"{body}\n"
    with pytest.raises(UnreachableError, match=f"{server.address}.* {status} and no Kubernetes object"):
        send(client)


def test_the_version_is_an_answer_although_it_names_no_kind(client: KubernetesClient, server: Server) -> None:
    server.body = '{"major": "1", "gitVersion": "v1.34.0"}'
    assert client.get("/version")["major"] == "1"


@each_request
def test_credentials_that_are_not_accepted_any_more_end_every_request_alike(
    client: KubernetesClient, server: Server, send: Callable[[KubernetesClient], object]
) -> None:
    server.status, server.body = 401, '{"kind": "Status"}'
    with pytest.raises(UnreachableError, match="401 Unauthorized: the kubeconfig's credentials are not accepted"):
        send(client)


@each_request
@pytest.mark.parametrize(
    ("body", "reason", "message"),
    [
        ('{"kind": "Status", "reason": "Forbidden", "message": "you may not"}', "Forbidden", "you may not"),
        ('{"kind": "Status"}', "", ""),
        (PAGE, "NotKubernetes", "the answer is no JSON object; is this a Kubernetes API server?"),
        ('"no"', "NotKubernetes", "the answer is no JSON object; is this a Kubernetes API server?"),
    ],
)
def test_a_refusal_carries_what_the_server_says_of_it(
    client: KubernetesClient,
    server: Server,
    body: str,
    reason: str,
    message: str,
    send: Callable[[KubernetesClient], object],
) -> None:
    server.status, server.body = 403, body
    with pytest.raises(KubernetesApiError) as caught:
        send(client)
    assert (caught.value.status, caught.value.reason, caught.value.server_message) == (403, reason, message)


def test_the_events_of_a_watch_are_given_as_they_come(client: KubernetesClient, server: Server) -> None:
    events = [{"type": "ADDED", "object": {"kind": "Secret"}}, {"type": "ERROR", "object": {"kind": "Status"}}]
    server.body = "".join(f"{json.dumps(event)}\n" for event in events)
    assert list(client.watch("/api/v1/secrets", {}, 1)) == events


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a: [b\n  c: :", r"not YAML at line 2, column \d+ of .*config"),
        ("a: \x00", "not YAML"),
        ("users: *hunter22222", "not YAML at line 1, column 8 of .*config"),
        ("just text", "not a kubeconfig: its values have the wrong types"),
        (json.dumps({**content(), "current-context": "gone"}), "contexts: no entry named 'gone'"),
        (json.dumps(content(tokenFile="/absent/token")), "/absent/token"),
        (
            json.dumps(content(**{"client-certificate-data": "!!!a"})),
            "client-certificate-data: no base64 of PEM",
        ),
        (json.dumps({**content(), "users": [{"name": "me", "client-key-data": "hunter22222"}]}), "has no key 'user'"),
    ],
)
def test_a_mistake_in_the_kubeconfig_is_named_without_a_credential(kubeconfig: Path, text: str, mistake: str) -> None:
    kubeconfig.write_text(text)
    with pytest.raises(BadInputError, match=mistake) as caught:
        KubernetesClient()
    assert str(caught.value).startswith("cluster.context: a kubeconfig cannot be used (")
    assert "set KUBECONFIG to a file" in str(caught.value)
    assert "hunter22222" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_kubeconfig_the_cluster_around_us_is_used(
    kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not kubeconfig.exists()
    for file in ("token", "ca.crt"):
        (tmp_path / file).write_text("from the kubelet")
    monkeypatch.setattr(kubeconfig_module, "IN_CLUSTER", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    assert KubernetesClient().server == "https://127.0.0.1:1"


def test_without_a_kubeconfig_outside_of_a_cluster_that_is_said(kubeconfig: Path) -> None:
    assert not kubeconfig.exists()
    with pytest.raises(BadInputError, match="no configuration found"):
        KubernetesClient()


def test_a_context_that_is_not_there_is_named(kubeconfig: Path) -> None:
    kubeconfig.write_text(json.dumps(content()))
    with pytest.raises(BadInputError, match="context 'there' of the kubeconfig cannot be used"):
        KubernetesClient(Reach(context="there"))
