"""Logging in to Vault with a Kubernetes ServiceAccount's token, and asking Vault before there is any login."""

import atexit
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, cast

import requests

from pullsecrets import redaction
from pullsecrets.config import StackConfig
from pullsecrets.credential.vault import VaultClient, certificate_file, way_from_here
from pullsecrets.data import mapping
from pullsecrets.errors import BadInputError, UnreachableError

CONNECT_SECONDS = 5
READ_SECONDS = 10

ROLE_VARIABLE = "VAULT_KUBERNETES_ROLE"
TOKEN_FILE_VARIABLE = "VAULT_KUBERNETES_TOKEN_FILE"  # noqa: S105 - a variable's name
DEFAULT_TOKEN_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 - a path
"""Where the kubelet puts the token of a Pod's ServiceAccount."""


@dataclass(frozen=True)
class Answer:
    """Vault's answer to one request."""

    status: int
    content: Mapping[str, Any]
    date: datetime | None
    """The server's clock."""

    @property
    def errors(self) -> str:
        """Vault's own words for what went wrong, in one line."""
        found = cast("list[Any]", self.content.get("errors") or [])
        return " ".join(" ".join(str(item) for item in found).split()) or f"status {self.status}"


@dataclass(frozen=True)
class Endpoint:
    """Where Vault is and what its certificate is judged by."""

    address: str
    ca_bundle: str | None
    source: str
    """Where both were read, for evidence."""

    def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, token: str | None = None
    ) -> Answer:
        """Send one request and return whatever Vault answers.

        Raises:
            requests.RequestException: when there is no answer.
            OSError: when the certificates to trust cannot be read.
        """
        session = requests.Session()
        if self.ca_bundle:
            # A bundle of the caller's environment is not what ESO trusts.
            session.trust_env = False
            session.verify = certificate_file(self.ca_bundle)
        with session:
            response = session.request(
                method,
                f"{self.address.rstrip('/')}/v1/{path}",
                json=body,
                headers={"X-Vault-Token": token} if token else None,
                timeout=(CONNECT_SECONDS, READ_SECONDS),
                allow_redirects=True,
            )
        return Answer(response.status_code, _json(response), _date(response))


def log_in(endpoint: Endpoint, mount: str, role: str, jwt: str) -> Answer:
    """Ask for a Vault token in exchange for a ServiceAccount's; the answer is Vault's, a refusal too.

    Raises:
        requests.RequestException: when there is no answer.
        OSError: when the certificates to trust cannot be read.
        UnreachableError: when what grants the login is no Vault.
    """
    answer = endpoint.request("POST", f"auth/{mount}/login", {"role": role, "jwt": jwt})
    if answer.status == 200:
        token = mapping(answer.content.get("auth")).get("client_token")
        if not token:
            raise UnreachableError(
                f"{endpoint.address}: answers the Kubernetes login with status 200 and no token, so there is no Vault, "
                "but perhaps a proxy or a page to sign in; check vault.address"
            )
        redaction.register(str(token))
    return answer


def revoke(endpoint: Endpoint, token: str) -> None:
    """Give a token of `log_in` back.

    Raises:
        requests.RequestException: when there is no answer.
    """
    endpoint.request("POST", "auth/token/revoke-self", token=token)


def open_vault(config: StackConfig, token: str | None = None) -> VaultClient:
    """Return a client for the stack's Vault, by the way that leads there from this machine.

    Args:
        config: the stack's configuration.
        token: for callers that hold one. By default VAULT_TOKEN, then a login by the stack's Kubernetes auth mount
            where VAULT_KUBERNETES_ROLE names a role, then the token of `vault login`.

    Raises:
        BadInputError: when there is no token and nothing to log in with.
        UnreachableError: when Vault refuses the login.
    """
    vault = config.vault
    address, certificates = way_from_here(vault.address, vault.ca_bundle)
    found = token or token_of_environment(address, certificates, vault.auth.mount)
    return VaultClient(address, certificates, found)


def token_of_environment(address: str, ca_bundle: str | None, mount: str) -> str | None:
    """Log in as VAULT_KUBERNETES_ROLE says and return a token that is revoked when the process ends.

    The ServiceAccount's token is read from VAULT_KUBERNETES_TOKEN_FILE, by default the one that a Pod has anyway.

    Args:
        address: https URL of the server.
        ca_bundle: PEM certificates to trust; the system's own by default.
        mount: Vault's Kubernetes auth mount.

    Returns:
        None where VAULT_TOKEN is set, which comes first, or VAULT_KUBERNETES_ROLE is not.

    Raises:
        BadInputError: when there is no ServiceAccount's token.
        UnreachableError: when Vault does not answer, or refuses the login, or something else answers.
    """
    role = os.environ.get(ROLE_VARIABLE)
    if not role or os.environ.get("VAULT_TOKEN"):
        return None
    file = Path(os.environ.get(TOKEN_FILE_VARIABLE) or DEFAULT_TOKEN_FILE)
    jwt = _read(file, f"name the ServiceAccount's token in {TOKEN_FILE_VARIABLE}, or set VAULT_TOKEN").strip()
    redaction.register(jwt)
    endpoint = Endpoint(address, ca_bundle, "the stack")
    token = _exchange(endpoint, mount, role, jwt)
    atexit.register(_revoke_quietly, endpoint, token)
    return token


def _exchange(endpoint: Endpoint, mount: str, role: str, jwt: str) -> str:
    where = f"Vault at {endpoint.address}"
    try:
        answer = log_in(endpoint, mount, role, jwt)
    except (requests.exceptions.RequestException, OSError) as error:
        raise UnreachableError(
            f"{where} does not answer the Kubernetes login ({type(error).__name__}); check vault.address, "
            "vault.caBundle and the network"
        ) from None
    if answer.status != 200:
        raise UnreachableError(
            f"{where} refuses the Kubernetes login to role {role!r} ({ROLE_VARIABLE}) of mount {mount!r}: "
            f"{answer.errors}; the role must name this ServiceAccount, its namespace and the token's audience, and "
            "Vault must be able to review the token: `pulumi up` with monitoring.enabled declares all of it"
        )
    return str(answer.content["auth"]["client_token"])


def _revoke_quietly(endpoint: Endpoint, token: str) -> None:
    # The token's short life ends it too.
    with suppress(requests.exceptions.RequestException, OSError):
        revoke(endpoint, token)


def _read(file: Path, fix: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInputError(f"{file}: {error.strerror}; {fix}") from None


def _json(response: requests.Response) -> Mapping[str, Any]:
    try:
        content = response.json()
    except ValueError:
        return {}
    return cast("dict[str, Any]", content) if isinstance(content, dict) else {}


def _date(response: requests.Response) -> datetime | None:
    try:
        return parsedate_to_datetime(response.headers["Date"])
    except (KeyError, ValueError):
        return None
