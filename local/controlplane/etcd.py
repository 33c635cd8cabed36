"""etcd: one member with TLS and client certificates on both of its listeners."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from local import toolchain
from local.controlplane.api import HttpClient
from local.controlplane.component import Component
from local.controlplane.files import private_folder
from local.controlplane.layout import ETCD, Layout
from local.controlplane.pki import CLIENT, LOOPBACK, SERVER, Authority, KeyPair, Subject
from local.controlplane.processes import Command
from local.controlplane.waiting import NotYet

if TYPE_CHECKING:
    from local.controlplane.ports import Ports


class Etcd(Component):
    """The store of the API server."""

    name = ETCD

    def __init__(self, layout: Layout, ports: Ports) -> None:
        """Make its certificates.

        Args:
            layout: where things stand.
            ports: on which ports it listens.
        """
        self._layout = layout
        self._ports = ports
        self.authority = Authority(layout.pki / "etcd", "pull-secrets-local-etcd")
        # Both usages: etcd's gateway dials its own listener with the server certificate.
        self._server = self.authority.issue("server", Subject("etcd"), (SERVER, CLIENT), LOOPBACK)
        self.client: KeyPair = self.authority.issue("apiserver-client", Subject("kube-apiserver"), (CLIENT,))

    @property
    def address(self) -> str:
        """URL of the client listener."""
        return f"https://127.0.0.1:{self._ports['etcd-client']}"

    def command(self) -> Command:
        """Return how it is started."""
        peer = f"https://127.0.0.1:{self._ports['etcd-peer']}"
        authority = self.authority.certificate_file
        argv = [
            str(toolchain.binary("etcd")),
            "--name=local",
            f"--data-dir={private_folder(self._layout.etcd)}",
            f"--listen-client-urls={self.address}",
            f"--advertise-client-urls={self.address}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=local={peer}",
            "--log-level=warn",
            # A crash of the machine may lose the last writes. This data is recreated in seconds, and syncing every
            # write would cost more than everything else that a test of a thousand namespaces does.
            "--unsafe-no-fsync",
        ]
        for listener in ("", "peer-"):
            argv += [
                f"--{listener}cert-file={self._server.certificate}",
                f"--{listener}key-file={self._server.key}",
                f"--{listener}trusted-ca-file={authority}",
                f"--{listener}client-cert-auth=true",
            ]
        inputs = (authority, self._server.certificate)
        return Command(self.name, tuple(argv), ports=self._ports.of(self.name), inputs=inputs)

    def check(self) -> None:
        """Raise `NotYet` with the cause unless it is healthy."""
        http = HttpClient(self.address, self.authority.certificate_file, self.client)
        answer = json.loads(http.expect_ok("/health"))
        if answer.get("health") != "true":
            raise NotYet(f"{self.address}/health says {answer}")
