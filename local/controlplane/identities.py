"""Who may call the API server, and the kubeconfig of each: users by client certificate, ServiceAccounts by token."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

from local.controlplane.files import private_folder, write_private
from local.controlplane.layout import CONTROLLER_MANAGER, KWOK, NODE, SCHEDULER, Layout
from local.controlplane.pki import CLIENT, KeyPair, Subject
from local.controlplane.rbac import DEPLOYERS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from local.controlplane.api import KubernetesApi
    from local.controlplane.kubernetes import ApiServer

ADMIN = "admin"
PULUMI = "pulumi"
KWOK_USER = "kwok-controller"
NODE_NAME = "real-node"
_CLUSTER = "pull-secrets-local"
# Nothing renews the token while the control plane runs for weeks; each start does.
_TOKEN_SECONDS = 365 * 24 * 3600
_SERVICE_ACCOUNT = re.compile(r"system:serviceaccount:(?P<namespace>[^:]+):(?P<name>[^:]+)")
_USERS: dict[str, tuple[str, tuple[str, ...]]] = {
    PULUMI: ("pulumi", (DEPLOYERS,)),
    CONTROLLER_MANAGER: ("system:kube-controller-manager", ()),
    SCHEDULER: ("system:kube-scheduler", ()),
    KWOK: (KWOK_USER, ()),
    # What the Node authorizer asks for: https://kubernetes.io/docs/reference/access-authn-authz/node/
    NODE: (f"system:node:{NODE_NAME}", ("system:nodes",)),
}


class UnknownIdentity(Exception):  # noqa: N818 - says what it is
    """There is no kubeconfig for an identity."""


def kubeconfig_of(layout: Layout, identity: str) -> Path:
    """Return the kubeconfig of an identity.

    Raises:
        UnknownIdentity: there is none; the message names those that there are.
    """
    path = layout.kubeconfig(identity)
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in layout.kubeconfigs.glob("*.yaml")))
        raise UnknownIdentity(
            f"no kubeconfig for identity {identity!r}: "
            + (f"there are {known}" if known else "the control plane was never up, run `make up`")
        )
    return path


class Identities:
    """The identities of one control plane. All but the built-in ones are remembered in a file, to be written anew."""

    def __init__(self, layout: Layout, api_server: ApiServer) -> None:
        """Use the authority and the address of this API server; writes nothing."""
        self._layout = layout
        self._api_server = api_server
        self._kept = layout.kubeconfigs / "identities.json"

    def write_users(self) -> None:
        """Write the kubeconfig of every user: those that are always there, and those that were added."""
        self._write_certificate(ADMIN, self._api_server.admin)
        for identity, (user, groups) in {**_USERS, **self._added_users()}.items():
            self._write_user(identity, user, groups)

    def add(self, user: str, groups: Sequence[str], api: KubernetesApi) -> Path:
        """Write a kubeconfig for any user, and keep it current from now on.

        Args:
            user: a user name; `system:serviceaccount:<namespace>:<name>` gets a token of that ServiceAccount, which is
                made with its namespace where missing.
            groups: of a user; a ServiceAccount's are given by the cluster.
            api: the API server as admin.

        Returns:
            The kubeconfig.
        """
        identity = re.sub(r"[^a-z0-9.]+", "-", user.lower()).strip("-")
        account = _SERVICE_ACCOUNT.fullmatch(user)
        if account is None:
            self._remember(identity, {"user": user, "groups": list(groups)})
            self._write_user(identity, user, groups)
        else:
            namespace, name = account["namespace"], account["name"]
            api.apply(_object("Namespace", {"name": namespace}))
            api.apply(_object("ServiceAccount", {"name": name, "namespace": namespace}))
            self.add_service_account(identity, namespace, name, api)
        return self._layout.kubeconfig(identity)

    def add_service_account(self, identity: str, namespace: str, name: str, api: KubernetesApi) -> Path:
        """Write a kubeconfig with a fresh token of an existing ServiceAccount, and keep it current from now on.

        The token stands in a file of its own, which clients read again every minute: a new one needs no restart.
        """
        self._remember(identity, {"namespace": namespace, "name": name})
        token_file = self._layout.kubeconfigs / f"{identity}.token"
        write_private(token_file, api.service_account_token(namespace, name, _TOKEN_SECONDS))
        self._write(identity, {"tokenFile": str(token_file)})
        return self._layout.kubeconfig(identity)

    def renew_service_accounts(self, api: KubernetesApi) -> None:
        """Give every ServiceAccount that was added a fresh token, where it still exists."""
        accounts = api.call("GET", "/api/v1/serviceaccounts")["items"]
        existing = {(item["metadata"]["namespace"], item["metadata"]["name"]) for item in accounts}
        for identity, kept in self._added().items():
            if (kept.get("namespace"), kept.get("name")) in existing:
                self.add_service_account(identity, kept["namespace"], kept["name"], api)

    def _write_user(self, identity: str, user: str, groups: Sequence[str]) -> None:
        subject = Subject(user, tuple(groups))
        self._write_certificate(identity, self._api_server.authority.issue(f"clients/{identity}", subject, (CLIENT,)))

    def _write_certificate(self, identity: str, pair: KeyPair) -> None:
        self._write(
            identity,
            {"client-certificate-data": _encoded(pair.certificate), "client-key-data": _encoded(pair.key)},
        )

    def _write(self, identity: str, credentials: dict[str, str]) -> None:
        cluster = {
            "server": self._api_server.address,
            "certificate-authority-data": _encoded(self._api_server.authority.certificate_file),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": _CLUSTER, "cluster": cluster}],
            "users": [{"name": identity, "user": credentials}],
            "contexts": [{"name": _CLUSTER, "context": {"cluster": _CLUSTER, "user": identity}}],
            "current-context": _CLUSTER,
        }
        # JSON is YAML, and needs no YAML writer.
        write_private(self._layout.kubeconfig(identity), json.dumps(config, indent=2) + "\n")

    def _added(self) -> dict[str, dict[str, Any]]:
        try:
            return json.loads(self._kept.read_text())
        except (OSError, ValueError):
            return {}

    def _added_users(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        kept = self._added().items()
        return {identity: (who["user"], tuple(who["groups"])) for identity, who in kept if "user" in who}

    def _remember(self, identity: str, who: dict[str, Any]) -> None:
        if identity in {ADMIN, *_USERS}:
            raise UnknownIdentity(f"identity {identity!r} is built in: choose another user name")
        private_folder(self._layout.kubeconfigs)
        write_private(self._kept, json.dumps({**self._added(), identity: who}, indent=2) + "\n")


def _object(kind: str, metadata: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata}


def _encoded(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
