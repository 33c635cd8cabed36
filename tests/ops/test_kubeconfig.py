"""Kubeconfigs lead to the same identity as kubectl's, or to an error where kubectl has one; never to somebody else."""

import base64
import contextlib
import json
import os
import shutil
import socket
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local.controlplane import ControlPlane
from pullsecrets.errors import PullSecretsError
from pullsecrets.kube.client import KubernetesClient

pytestmark = pytest.mark.controlplane

Config = dict[str, Any]
REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
EXEC = "client.authentication.k8s.io"


class Tunnel(socketserver.BaseRequestHandler):
    """A proxy that takes HTTP's CONNECT or SOCKS5, and counts."""

    def handle(self) -> None:
        first = self.request.recv(4096)
        if first.startswith(b"CONNECT "):
            host, _, port = first.split()[1].decode().partition(":")
            accepted = b"HTTP/1.1 200 OK\r\n\r\n"
        else:
            self.request.sendall(b"\x05\x00")
            asked = self.request.recv(4096)
            end = 5 + asked[4] if asked[3] == 3 else 8
            host = asked[5:end].decode() if asked[3] == 3 else socket.inet_ntoa(asked[4:8])
            port = str(int.from_bytes(asked[end : end + 2], "big"))
            accepted = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
        with socket.create_connection((host, int(port))) as server:
            self.server.__dict__["tunnels"] += 1
            self.request.sendall(accepted)
            back = threading.Thread(target=copy, args=(server, self.request), daemon=True)
            back.start()
            copy(self.request, server)
            back.join(5)


def copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def proxy() -> Iterator[socketserver.ThreadingTCPServer]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Tunnel) as server:
        server.daemon_threads = True
        server.__dict__["tunnels"] = 0
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@dataclass(frozen=True)
class Place:
    """What a case may use: the administrator's kubeconfig, a token of a ServiceAccount, a folder and a proxy."""

    admin: Config
    token: str
    folder: Path
    proxy: str

    def config(self, user: Config | None = None, cluster: Config | None = None) -> Config:
        """A kubeconfig with this user, by default the administrator, and these changes of the cluster."""
        config: Config = json.loads(json.dumps(self.admin))
        (entry,) = config["clusters"]
        entry["cluster"] = {
            key: value for key, value in {**entry["cluster"], **(cluster or {})}.items() if value is not None
        }
        if user is not None:
            config["users"][0]["user"] = user
        return config

    @property
    def administrator(self) -> Config:
        return self.admin["users"][0]["user"]

    def plugin(self, printed: Any, code: int = 0, **more: Any) -> Config:
        """A user with an exec plugin that prints something."""
        script = self.folder / "bin" / "plugin"
        script.parent.mkdir(exist_ok=True)
        text = printed if isinstance(printed, str) else json.dumps(printed)
        (self.folder / "printed").write_text(text)
        script.write_text(f'#!/bin/sh\n[ -n "$KUBERNETES_EXEC_INFO" ] || exit 9\ncat "$1"\nexit {code}\n')
        script.chmod(0o755)
        entry = {
            "apiVersion": f"{EXEC}/v1",
            "command": "./bin/plugin",
            "args": [str(self.folder / "printed")],
            "interactiveMode": "Never",
            **more,
        }
        return {"exec": {key: value for key, value in entry.items() if value is not None}}

    def issued(self, version: str = "v1", **status: Any) -> Config:
        return {"apiVersion": f"{EXEC}/{version}", "kind": "ExecCredential", "status": status}

    def pem(self, key: str) -> str:
        return base64.b64decode(self.administrator[f"{key}-data"]).decode()


def certificate_files(place: Place) -> list[Config]:
    """Certificates by file, relative to the folder of the user's file and not of the cluster's."""
    there = place.folder / "users"
    there.mkdir()
    for key in ("client-certificate", "client-key"):
        (there / f"{key}.pem").write_text(place.pem(key))
    user = {key: f"{key}.pem" for key in ("client-certificate", "client-key")}
    whole = place.config(user)
    (there / "config").write_text(json.dumps({"users": whole.pop("users")}))
    return [whole, {"path": str(there / "config")}]


def two_files(place: Place) -> list[Config]:
    """The first file's entries and current context count."""
    second = place.config({"token": "not-a-token"})
    second["current-context"] = "absent"
    return [place.config(), second]


def named_twice(place: Place) -> Config:
    config = place.config()
    config["contexts"][0]["context"]["user"] = "absent"
    return config


def nobody(place: Place) -> Config:
    config = place.config()
    del config["contexts"][0]["context"]["user"]
    return config


def token_from_both(place: Place) -> Config:
    (place.folder / "token").write_text(f"{place.token}\n")
    return place.config({"token": "not-a-token", "tokenFile": "token"})


def impersonating(place: Place, **more: Any) -> Config:
    return place.config({**place.administrator, **more})


WHO = {"as": "jane", "as-groups": ["a", "b"], "as-uid": "7"}
EXTRA = {"as-user-extra": {"example.com/Scope %": ["one", "two"], "plain": ["x"]}}

CASES: dict[str, Callable[[Place], Config | list[Config]]] = {
    "certificates as data": lambda place: place.config(),
    "certificates as files": certificate_files,
    "a certificate without its key": lambda place: place.config(
        {"client-certificate-data": place.administrator["client-certificate-data"]}
    ),
    "a token": lambda place: place.config({"token": place.token}),
    "a token's file before a token": token_from_both,
    "a token's file that is not there": lambda place: place.config({"tokenFile": "absent"}),
    "impersonation": lambda place: impersonating(place, **WHO),
    "impersonation with extra": lambda place: impersonating(place, **WHO, **EXTRA),
    "impersonated groups of nobody": lambda place: impersonating(place, **{"as-groups": ["a"]}),
    "impersonation by a token that may not": lambda place: place.config({"token": place.token, "as": "jane"}),
    "a plugin's token": lambda place: place.config(place.plugin(place.issued(token=place.token))),
    "a plugin of v1beta1": lambda place: place.config(
        place.plugin(
            place.issued("v1beta1", token=place.token),
            apiVersion=f"{EXEC}/v1beta1",
            interactiveMode=None,
            provideClusterInfo=True,
            env=[{"name": "A", "value": "b"}],
        )
    ),
    "a plugin's certificate": lambda place: place.config(
        place.plugin(
            place.issued(clientCertificateData=place.pem("client-certificate"), clientKeyData=place.pem("client-key"))
        )
    ),
    "a plugin that fails": lambda place: place.config(place.plugin(place.issued(token=place.token), code=1)),
    "a plugin that prints nothing": lambda place: place.config(place.plugin("")),
    "a plugin without a credential": lambda place: place.config(place.plugin(place.issued())),
    "a plugin of another version": lambda place: place.config(place.plugin(place.issued("v1beta1", token="x"))),
    "a plugin that is not there": lambda place: place.config(place.plugin("", command="./bin/absent")),
    "a plugin that needs a terminal": lambda place: place.config(
        place.plugin(place.issued(token=place.token), interactiveMode="Always")
    ),
    "a plugin that does not say whether it needs one": lambda place: place.config(
        place.plugin(place.issued(token=place.token), interactiveMode=None)
    ),
    "a server's name": lambda place: place.config(cluster={"tls-server-name": "kubernetes.default.svc"}),
    "another server's name": lambda place: place.config(cluster={"tls-server-name": "other.example.com"}),
    "a certificate that is not looked at": lambda place: place.config(
        cluster={"insecure-skip-tls-verify": True, "certificate-authority-data": None}
    ),
    "one that is looked at and not": lambda place: place.config(cluster={"insecure-skip-tls-verify": True}),
    "no certificate authority": lambda place: place.config(cluster={"certificate-authority-data": None}),
    "a proxy": lambda place: place.config(cluster={"proxy-url": f"http://{place.proxy}"}),
    "a SOCKS proxy": lambda place: place.config(cluster={"proxy-url": f"socks5://{place.proxy}"}),
    "a proxy of no kind": lambda place: place.config(cluster={"proxy-url": f"ftp://{place.proxy}"}),
    "several files": two_files,
    "an empty file first": lambda place: [{}, place.config()],
    "a user that is not there": named_twice,
    "a context without a user": nobody,
}


@pytest.fixture
def place(plane: ControlPlane, tmp_path: Path, proxy: socketserver.ThreadingTCPServer) -> Place:
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    account = "/api/v1/namespaces/default/serviceaccounts/default/token"
    token = plane.admin().call("POST", account, request)["status"]["token"]
    admin = json.loads(plane.kubeconfig("admin").read_text())
    proxy.__dict__["tunnels"] = 0
    return Place(admin, token, tmp_path, f"127.0.0.1:{proxy.server_address[1]}")


def kubectl(environment: dict[str, str]) -> Config | None:
    """Whom kubectl is taken for; None when it fails."""
    command = shutil.which("kubectl") or "kubectl"
    done = subprocess.run(
        [command, "auth", "whoami", "-o", "json"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return json.loads(done.stdout)["status"]["userInfo"] if done.returncode == 0 else None


def ours() -> Config | None:
    """Whom this project's client is taken for; None when it fails."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        return KubernetesClient().request("POST", REVIEWS, body=review)["status"]["userInfo"]
    except PullSecretsError:
        return None


def without_token_id(found: Config | None) -> Config | None:
    return found and {**found, "extra": found.get("extra") or {}}


@pytest.mark.parametrize("case", CASES)
def test_we_are_whom_kubectl_is(
    case: str, place: Place, proxy: socketserver.ThreadingTCPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = CASES[case](place)
    files: list[str] = [str(place.folder / "absent")]
    for number, config in enumerate(made if isinstance(made, list) else [made]):
        file = place.folder / f"config-{number}"
        file.write_text(json.dumps(config) if config else "")
        files.append(config.get("path", str(file)))
    # A proxy that the kubeconfig names is used whatever these say; theirs never for this machine.
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(files))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    theirs = kubectl(dict(os.environ))
    tunnels = proxy.__dict__["tunnels"]
    assert without_token_id(ours()) == without_token_id(theirs)
    assert (proxy.__dict__["tunnels"] > tunnels) == (tunnels > 0)
    assert (theirs is None) == any(word in case for word in REFUSED), "or the case is not what it says"


REFUSED = (
    "without its key",
    "that is not there",
    "that may not",
    "that fails",
    "prints nothing",
    "without a credential",
    "another version",
    "needs a terminal",
    "does not say",
    "another server's",
    "looked at and not",
    "no certificate authority",
    "of no kind",
    "without a user",
    "groups of nobody",
)
