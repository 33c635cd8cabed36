"""The registries that the real node pulls from: one per host, with logins made and revoked while they run."""

from __future__ import annotations

import datetime as dt
import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import bcrypt
import requests

from local import toolchain
from local.controlplane.api import HttpClient
from local.controlplane.component import Component
from local.controlplane.files import private_folder, write_private
from local.controlplane.layout import PUBLIC_REGISTRY, Layout
from local.controlplane.node import images
from local.controlplane.pki import LOOPBACK, SERVER, Authority, Subject
from local.controlplane.processes import Command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from local.controlplane.ports import Ports

PUSHER = "pusher"
"""Who pushes the images, and pulls none."""
# The least that bcrypt takes: what it protects is generated, and checked for each request.
_ROUNDS = 4


@dataclass(frozen=True)
class Pull:
    """One request for an image's manifest, as the registry logged it.

    Attributes:
        at: when, UTC.
        host: of the registry.
        repository: of the image, without the host.
        reference: tag or digest.
        method: of HTTP: HEAD resolves a reference, GET reads the manifest.
        user: whose login it was, be it refused; empty where none was given, as in the first request of each pull.
        status: of the answer, such as 200 or 401.
    """

    at: dt.datetime
    host: str
    repository: str
    reference: str
    method: str
    user: str
    status: int

    @property
    def succeeded(self) -> bool:
        """Whether a node got to know what the reference stands for: once in each pull that the registry let in."""
        return self.method == "HEAD" and self.status == 200


class Registry(Component):
    """The registry of one host. That of `PUBLIC_REGISTRY` stands for all other hosts, and asks for no login."""

    def __init__(self, layout: Layout, ports: Ports, authority: Authority, host: str) -> None:
        """Make its certificate, and the login that pushes images.

        Args:
            layout: where things stand.
            ports: on which port it listens.
            authority: of its certificate.
            host: that images name, which is its name as a component, too.
        """
        self.name = host
        self._layout = layout
        self._ports = ports
        self.folder = private_folder(layout.registries / host)
        self.users = Users(self.folder)
        self.authority = authority
        self._server = self.authority.issue(host, Subject(host), (SERVER,), (*LOOPBACK, host))

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return self._ports[self.name]

    @property
    def address(self) -> str:
        """URL of its API."""
        return f"https://127.0.0.1:{self.port}"

    def client(self) -> HttpClient:
        """Return a client of its API, without a login."""
        return HttpClient(self.address, self.authority.certificate_file)

    def command(self) -> Command:
        """Write its configuration; return how it is started."""
        self.users.ensure_pusher()
        configuration: dict[str, Any] = {
            "version": "0.1",
            # Who pulled what, one JSON document a line.
            "log": {"level": "info", "formatter": "json", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "data")}},
            "http": {
                "addr": f"127.0.0.1:{self.port}",
                "secret": self.users.pusher_password,
                "tls": {"certificate": str(self._server.certificate), "key": str(self._server.key)},
            },
        }
        if self.name != PUBLIC_REGISTRY:
            configuration["auth"] = {"htpasswd": {"realm": self.name, "path": str(self.users.file)}}
        file = self.folder / "config.yaml"
        # JSON is YAML, and needs no YAML writer.
        write_private(file, json.dumps(configuration, indent=2) + "\n")
        argv = (str(toolchain.binary("registry")), "serve", str(file))
        environment = {"OTEL_TRACES_EXPORTER": "none"}
        return Command(self.name, argv, environment, self._ports.of(self.name), (file, self._server.certificate))

    def check(self) -> None:
        """Raise `NotYet` unless it answers."""
        self.client().expect_ok("/")

    def pulls(self) -> list[Pull]:
        """Return who asked for which image when since the registry was started, without what the pusher did."""
        log = self._layout.logs / f"{self.name}.log"
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
        return [pull for pull in _pulls(self.name, lines) if pull.user != PUSHER]

    def push(self, repository: str, tag: str, *, ends: bool = False) -> str:
        """Push an image that no node has had yet; return its digest. See `images.push`."""
        with requests.Session() as session:
            session.auth = (PUSHER, self.users.pusher_password)
            session.verify = str(self.authority.certificate_file)
            # Neither a proxy nor a login of the user who runs this is for a registry on loopback.
            session.trust_env = False
            return images.push(session, self.address, repository, tag, ends=ends)


class Users:
    """The logins of one registry: an htpasswd file, which the registry reads again whenever it changes."""

    def __init__(self, folder: Path) -> None:
        """Use the folder of the registry."""
        self.file = folder / "users"
        self._pusher = folder / "pusher"

    def add(self, user: str, password: str) -> None:
        """Let a user in with this password, and with none that it had before."""
        hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(_ROUNDS)).decode()
        self._write({**self._read(), user: hashed})

    def revoke(self, user: str) -> None:
        """Let a user in no longer."""
        self._write({name: hashed for name, hashed in self._read().items() if name != user})

    def names(self) -> list[str]:
        """Return who may pull."""
        return sorted(set(self._read()) - {PUSHER})

    @property
    def pusher_password(self) -> str:
        """Password of the login that pushes images."""
        return self._pusher.read_text(encoding="utf-8")

    def ensure_pusher(self) -> None:
        """Make the login that pushes images where it is missing."""
        if not self._pusher.exists():
            write_private(self._pusher, secrets.token_urlsafe(24))
            self.add(PUSHER, self.pusher_password)

    def _read(self) -> dict[str, str]:
        lines = self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else []
        return dict(line.split(":", 1) for line in lines)

    def _write(self, users: dict[str, str]) -> None:
        write_private(self.file, "".join(f"{name}:{hashed}\n" for name, hashed in users.items()))


def _pulls(host: str, lines: Iterable[str]) -> Iterator[Pull]:
    """Read the requests for manifests out of a registry's log."""
    refused: dict[str, str] = {}
    for line in lines:
        entry = _entry(line)
        message, request = entry.get("msg", ""), entry.get("http.request.id", "")
        if message == "user failed to authenticate":
            refused[request] = entry["username"]
        answered = message.startswith("response completed")
        if "vars.reference" in entry and (answered or message.startswith("error authorizing context")):
            yield Pull(
                at=dt.datetime.fromisoformat(entry["time"]),
                host=host,
                repository=entry["vars.name"],
                reference=entry["vars.reference"],
                method=entry["http.request.method"],
                user=entry.get("auth.user.name") or refused.pop(request, ""),
                status=entry["http.response.status"] if answered else 401,
            )


def _entry(line: str) -> dict[str, Any]:
    try:
        return json.loads(line)
    except ValueError:
        return {}  # The last line may be half written.
