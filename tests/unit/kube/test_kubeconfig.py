"""What a kubeconfig's identity sends, and when it asks its exec plugin again."""

import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pullsecrets.errors import BadInputError, UnreachableError
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.exec_plugin import ExecPlugin
from pullsecrets.kube.kubeconfig import CURRENT, Access, Cluster, Reach, User, read_access
from tests.unit.answering import answering

VERSION = "client.authentication.k8s.io/v1"
Write = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes the kubeconfig that KUBECONFIG names: a user, and keys of the cluster."""

    def write(user: dict[str, Any], **cluster: Any) -> Path:
        file = tmp_path / "config"
        config = {
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "clusters": [{"name": "here", "cluster": {"server": "https://127.0.0.1:1", **cluster}}],
            "users": [{"name": "me", "user": user}],
        }
        file.write_text(json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(file))
        return file

    return write


def sent(reach: Reach = CURRENT) -> list[tuple[str, str]]:
    return [(name, value) for name, value in read_access(reach).headers().items() if name.startswith("Impersonate")]


def test_options_stand_over_the_kubeconfigs_impersonation(written: Write) -> None:
    written({"token": "made-up-token", "as": "jane", "as-groups": ["a"], "as-user-extra": {"a/b": ["1", "2"]}})
    extra = [("Impersonate-Extra-a%2Fb", "1"), ("Impersonate-Extra-a%2Fb", "2")]
    assert sent() == [("Impersonate-User", "jane"), ("Impersonate-Group", "a"), *extra]
    assert sent(Reach(user="joe", groups=("b", "c"))) == [
        ("Impersonate-User", "joe"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Group", "c"),
        *extra,
    ]


def test_groups_are_impersonated_with_a_user_only(written: Write) -> None:
    written({"token": "made-up-token"})
    with pytest.raises(BadInputError, match="without a user: add --as"):
        sent(Reach(groups=("a",)))


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"--kubeconfig .*absent: no such file"):
        read_access(Reach(tmp_path / "absent"))


def test_a_socks_proxy_names_the_extra_that_it_needs(written: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    written({"token": "made-up-token"}, **{"proxy-url": "socks5://127.0.0.1:1"})
    monkeypatch.setitem(sys.modules, "urllib3.contrib.socks", None)
    with pytest.raises(BadInputError, match=r"install `pull-secrets\[socks\]`"):
        KubernetesClient().get("/version")


def test_a_servers_path_stands_before_each_request(written: Write) -> None:
    with answering() as server:
        server.body = '{"kind": "Namespace"}'
        written({}, server=f"{server.address}/k8s/clusters/c-1/")
        KubernetesClient().get("/api/v1/namespaces/apps")
        assert server.asked == ["/k8s/clusters/c-1/api/v1/namespaces/apps"]


def test_no_credential_is_sent_in_the_clear(written: Write) -> None:
    written({"token": "made-up-token"}, server="http://127.0.0.1:1")
    assert "Authorization" not in read_access(CURRENT).headers()


class Plugin:
    """An exec plugin that issues a token of its own each time it runs."""

    def __init__(self, folder: Path, lasting: timedelta | None = None, **status: Any) -> None:
        self.runs = folder / "runs"
        self.status = {"token": "made-up-token", **status}
        if lasting is not None:
            ends = (datetime.now(UTC) + lasting).isoformat(timespec="seconds").replace("+00:00", "Z")
            self.status["expirationTimestamp"] = ends
        document = json.dumps({"apiVersion": VERSION, "kind": "ExecCredential", "status": self.status})
        script = folder / "plugin"
        script.write_text(f"#!/bin/sh\necho run >> {self.runs}\ncat <<'EOF'\n{document}\nEOF\n")
        script.chmod(0o755)
        entry = {"apiVersion": VERSION, "command": f".{os.sep}plugin", "interactiveMode": "Never"}
        self.access = Access(Cluster("https://127.0.0.1:1"), User(plugin=ExecPlugin.of(entry, folder, {}, None)))

    @property
    def count(self) -> int:
        return len(self.runs.read_text().splitlines()) if self.runs.exists() else 0


@pytest.mark.parametrize(
    ("lasting", "runs"), [(None, 1), (timedelta(hours=1), 1), (timedelta(seconds=5), 3), (timedelta(hours=-1), 3)]
)
def test_a_plugin_runs_again_when_its_credential_ends(tmp_path: Path, lasting: timedelta | None, runs: int) -> None:
    plugin = Plugin(tmp_path, lasting)
    assert plugin.count == 0, "nothing runs before it is needed"
    for _ in range(3):
        assert plugin.access.headers()["Authorization"] == "Bearer made-up-token"
    assert plugin.count == runs


def test_a_plugin_runs_again_when_the_server_refuses_its_credential(tmp_path: Path) -> None:
    plugin = Plugin(tmp_path)
    plugin.access.headers()
    assert plugin.access.renew()
    plugin.access.headers()
    assert plugin.count == 2
    assert not Access(plugin.access.cluster, User(token="made-up-token")).renew()


def test_a_plugin_that_is_not_there_is_told_with_its_hint(tmp_path: Path) -> None:
    entry = {
        "apiVersion": VERSION,
        "command": "no-such-plugin",
        "interactiveMode": "Never",
        "installHint": "get it from example.com",
    }
    with pytest.raises(UnreachableError, match=r"'no-such-plugin' gave no credential: .*get it from example\.com"):
        ExecPlugin.of(entry, tmp_path, {}, None).credential()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"command": ""}, "exec: allowed: a command"),
        ({"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "exec: allowed: a command, and an apiVersion among"),
        ({"interactiveMode": None}, "exec.interactiveMode: allowed: Never, IfAvailable, Always"),
    ],
)
def test_a_plugin_that_kubectl_would_refuse_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    entry = {"apiVersion": VERSION, "command": "plugin", "interactiveMode": "Never", **change}
    with pytest.raises(BadInputError, match=said):
        ExecPlugin.of(entry, tmp_path, {}, None)
