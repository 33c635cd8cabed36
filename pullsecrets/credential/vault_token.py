"""Logging in to Vault with a Kubernetes ServiceAccount's token."""

import os
from contextlib import suppress
from pathlib import Path

import requests

from pullsecrets import redaction
from pullsecrets.config import StackConfig
from pullsecrets.credential.vault import VaultClient
from pullsecrets.credential.vault_transport import Answer, Endpoint, way_from_here
from pullsecrets.data import mapping
from pullsecrets.errors import BadInputError, UnreachableError
from pullsecrets.files import at_exit

ROLE_VARIABLE = "VAULT_KUBERNETES_ROLE"
TOKEN_FILE_VARIABLE = "VAULT_KUBERNETES_TOKEN_FILE"  # noqa: S105 - a variable's name
DEFAULT_TOKEN_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 - a path
"""Where the kubelet puts the token of a Pod's ServiceAccount."""


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


def open_vault_of(config: StackConfig) -> VaultClient | None:
    """Return a client for the stack's Vault, as `open_vault`; None for a stack that reads none."""
    return open_vault(config) if config.has_vault else None


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
    endpoint = Endpoint(address, ca_bundle)
    token = _exchange(endpoint, mount, role, jwt)
    at_exit(_revoke_quietly, endpoint, token)
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
