"""OpenBao: a real server with TLS and storage on disk, unsealed by us, with KV v2 and the two tokens of the project."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from local import toolchain
from local.controlplane.api import HttpClient
from local.controlplane.component import Component
from local.controlplane.files import private_folder, write_private
from local.controlplane.layout import OPENBAO, Layout
from local.controlplane.pki import LOOPBACK, SERVER, Authority, Subject
from local.controlplane.processes import Command
from local.controlplane.waiting import NotYet, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import hvac

    from local.controlplane.ports import Ports

KV_MOUNT = "secret"
_READY_DEADLINE = 30.0
_TOKEN_PERIOD = "8760h"  # noqa: S105 - a duration

# What Pulumi may do: declare where credentials stand and who may read them, and not read them itself.
_PLATFORM: dict[str, list[str]] = {
    # Without `delete`, which would destroy the credential with its metadata.
    f"{KV_MOUNT}/metadata/*": ["create", "read", "update", "patch"],
    "sys/policies/acl/pull-secrets-*": ["create", "read", "update", "delete"],
    # Auth mounts: `sudo` is what the server asks for on this path.
    "sys/auth": ["read"],
    "sys/auth/*": ["create", "read", "update", "delete", "sudo"],
    "sys/mounts/auth/*": ["create", "read", "update"],
    "auth/+/config": ["create", "read", "update", "delete"],
    "auth/+/role/*": ["create", "read", "update", "delete", "list"],
    "auth/token/lookup-self": ["read"],
    "auth/token/renew-self": ["update"],
    "auth/token/revoke-self": ["update"],
}
# What `pull-secrets seed` and `rotate` may do.
_SEEDER: dict[str, list[str]] = {
    f"{KV_MOUNT}/data/*": ["create", "read", "update", "patch"],
    f"{KV_MOUNT}/metadata/*": ["read", "list", "update", "patch"],
    f"{KV_MOUNT}/destroy/*": ["update"],
    f"{KV_MOUNT}/config": ["read"],
}
POLICIES = {"platform": _PLATFORM, "seeder": _SEEDER}


class KeyLost(Exception):  # noqa: N818 - says what happened
    """OpenBao's storage is sealed and the key that opens it is gone."""


class OpenBaoRefused(Exception):  # noqa: N818 - says what happened
    """OpenBao answered a request of the set-up with an error."""


class OpenBao(Component):
    """The Vault-compatible server."""

    name = OPENBAO

    def __init__(self, layout: Layout, ports: Ports) -> None:
        """Make its certificate.

        Args:
            layout: where things stand.
            ports: on which ports it listens.
        """
        self._layout = layout
        self._ports = ports
        self.authority = Authority(layout.pki / "openbao", "pull-secrets-local-openbao")
        self._server = self.authority.issue("server", Subject("openbao"), (SERVER,), LOOPBACK)
        self._unseal_key = layout.openbao / "unseal-key"
        self._root_token = layout.openbao / "root-token"

    @property
    def address(self) -> str:
        """URL of the API."""
        return f"https://127.0.0.1:{self._ports['openbao']}"

    def command(self) -> Command:
        """Write its configuration; return how it is started."""
        file = self._layout.openbao / "server.hcl"
        write_private(file, self._configuration())
        argv = (str(toolchain.binary("bao")), "server", f"-config={file}")
        inputs = (file, self.authority.certificate_file, self._server.certificate)
        return Command(self.name, argv, ports=self._ports.of(self.name), inputs=inputs)

    def check(self) -> None:
        """Raise `NotYet` with the cause unless it is unsealed and active."""
        HttpClient(self.address, self.authority.certificate_file).expect_ok("/v1/sys/health")

    def client(self, token_file: Path | None = None) -> hvac.Client:
        """Return a client with the token of a file, or without a token."""
        import hvac  # noqa: PLC0415 - slow to import, and not needed while everything runs
        import requests  # noqa: PLC0415

        session = requests.Session()
        # No proxy and no certificate bundle of the caller's environment.
        session.trust_env = False
        session.verify = str(self.authority.certificate_file)
        # An empty token, because None would make the client look for one in the environment.
        token = token_file.read_text().strip() if token_file else ""
        return hvac.Client(self.address, token=token, session=session)

    def settle(self) -> None:
        """Initialise it if it is new and unseal it if it is sealed; raise `NotYet` while it is not active.

        Raises:
            KeyLost: it was initialised before, and its key is not there.
        """
        http = HttpClient(self.address, self.authority.certificate_file)
        state = json.loads(http.expect_ok("/v1/sys/seal-status"))
        if not state["initialized"]:
            self._initialise()
        elif state["sealed"]:
            self._unseal()
        self.check()

    def _initialise(self) -> None:
        with _failures("initialise it"):
            answer = self.client().sys.initialize(secret_shares=1, secret_threshold=1)
        write_private(self._unseal_key, answer["keys_base64"][0])
        write_private(self._root_token, answer["root_token"])
        self._unseal()

    def _unseal(self) -> None:
        if not self._unseal_key.exists():
            raise KeyLost(
                f"OpenBao's data in {self._layout.openbao / 'data'} is sealed and {self._unseal_key} is missing:"
                f" run `make down`, remove {self._layout.openbao} and start again (stored credentials are lost)"
            )
        with _failures("unseal it"):
            self.client().sys.submit_unseal_key(self._unseal_key.read_text())

    def configure(self) -> None:
        """Bring KV v2, the policies and the tokens to what they should be; keep what already is."""
        tokens = {"platform": self._layout.platform_token, "seeder": self._layout.seeder_token}
        with _failures("set it up"):
            root = self.client(self._root_token)
            if f"{KV_MOUNT}/" not in root.sys.list_mounted_secrets_engines()["data"]:
                root.sys.enable_secrets_engine("kv", path=KV_MOUNT, options={"version": "2"})
            for name, paths in POLICIES.items():
                root.sys.create_or_update_acl_policy(name, policy_document(paths))
                if not self._is_valid(tokens[name]):
                    self._make_token(root, name, tokens[name])
            until(lambda: self._require_kv(root), _READY_DEADLINE, f"KV v2 at {KV_MOUNT}/ ready")

    def _is_valid(self, token_file: Path) -> bool:
        from hvac.exceptions import Forbidden  # noqa: PLC0415

        if not token_file.exists():
            return False
        try:
            self.client(token_file).auth.token.renew_self()
        except Forbidden:
            return False
        return True

    def _make_token(self, root: hvac.Client, policy: str, file: Path) -> None:
        # Orphan: it outlives the root token. Periodic: it lives as long as each start renews it.
        answer: dict[str, Any] = root.auth.token.create(
            policies=[policy], period=_TOKEN_PERIOD, no_parent=True, renewable=True, display_name=policy
        )
        write_private(file, answer["auth"]["client_token"])

    def _require_kv(self, root: hvac.Client) -> None:
        from hvac.exceptions import InvalidRequest, VaultDown  # noqa: PLC0415

        try:
            root.secrets.kv.v2.read_configuration(mount_point=KV_MOUNT)
        except (InvalidRequest, VaultDown) as error:
            raise NotYet(str(error)) from error

    def _configuration(self) -> str:
        data = private_folder(self._layout.openbao / "data")
        quoted = {name: json.dumps(value) for name, value in {
            "data": str(data),
            "audit": str(self._layout.logs / "openbao-audit.log"),
            "certificate": str(self._server.certificate),
            "key": str(self._server.key),
            "listener": f"127.0.0.1:{self._ports['openbao']}",
            "cluster_listener": f"127.0.0.1:{self._ports['openbao-cluster']}",
            "api": self.address,
            "cluster": f"https://127.0.0.1:{self._ports['openbao-cluster']}",
            "life": _TOKEN_PERIOD,
        }.items()}  # fmt: skip
        return _CONFIGURATION.format(**quoted)


@contextmanager
def _failures(what: str) -> Iterator[None]:
    """Turn errors of the client into one that says what was tried."""
    import requests  # noqa: PLC0415
    from hvac.exceptions import VaultError  # noqa: PLC0415

    try:
        yield
    except (VaultError, requests.RequestException) as error:
        raise OpenBaoRefused(f"OpenBao did not let us {what}: {error}") from error


# One node needs no patience with a leader: without the multiplier the first start takes 8 s instead of 2.
# The audit log holds HMACs of credentials, never themselves.
_CONFIGURATION = """\
storage "raft" {{
  path                   = {data}
  node_id                = "local"
  performance_multiplier = 1
}}

listener "tcp" {{
  address         = {listener}
  cluster_address = {cluster_listener}
  tls_cert_file   = {certificate}
  tls_key_file    = {key}
}}

audit "file" "file" {{
  options {{
    file_path = {audit}
  }}
}}

api_addr      = {api}
cluster_addr  = {cluster}
max_lease_ttl = {life}
"""


def policy_document(paths: dict[str, list[str]]) -> str:
    """Return a policy: for each path its capabilities."""
    return "\n".join(
        f"path {json.dumps(path)} {{\n  capabilities = {json.dumps(capabilities)}\n}}"
        for path, capabilities in paths.items()
    )
