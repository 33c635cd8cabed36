"""A Vault login of doctor itself, exactly as External Secrets Operator logs in, to see what would be refused."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, cast

import requests

from pullsecrets import redaction
from pullsecrets.config import StackConfig, VaultStore
from pullsecrets.credential.vault import EntryMetadata, VaultClient
from pullsecrets.credential.vault_token import log_in, revoke
from pullsecrets.credential.vault_transport import Answer, Endpoint
from pullsecrets.doctor.vault_server import VaultServer, provider_of
from pullsecrets.errors import PullSecretsError, UnreachableError
from pullsecrets.kube.client import KubernetesApiError, KubernetesClient
from pullsecrets.manifests.builders import StoreSpec

TOKEN_SECONDS = 600
"""The shortest life that the API server gives a token."""

_UNKNOWN_ROLE = "pull-secrets-doctor-no-such-role"


class Refusal(StrEnum):
    """Why Vault refused the login."""

    MOUNT = "no auth mount"
    ROLE = "no such role"
    ACCOUNT = "role bound to another ServiceAccount"
    NAMESPACE = "role bound to another namespace"
    AUDIENCE = "role bound to another audience"
    REVIEW = "token review refused"
    OTHER = "refused"


BOUND_ELSEWHERE = frozenset({Refusal.ACCOUNT, Refusal.NAMESPACE, Refusal.AUDIENCE})


class TokenUnavailableError(PullSecretsError):
    """A token for ESO's ServiceAccount cannot be had, so what it may do in Vault cannot be tried."""


@dataclass(frozen=True)
class Login:
    """How ESO logs in through the store."""

    mount: str
    role: str
    namespace: str
    service_account: str
    audiences: tuple[str, ...]

    @property
    def account(self) -> str:
        """The ServiceAccount with its namespace."""
        return f"{self.namespace}/{self.service_account}"


@dataclass(frozen=True)
class StoreAccess:
    """What the login gave: a refusal, or what the token may read."""

    login: Login
    refusal: Refusal | None = None
    message: str = ""
    """Vault's own words for the refusal."""
    policies: tuple[str, ...] = ()
    readable: Mapping[str, bool] = field(default_factory=dict[str, bool])
    """By registry, whether its path's value may be read; it is asked and not read."""
    entries: Mapping[str, EntryMetadata | PullSecretsError | None] = field(
        default_factory=dict[str, "EntryMetadata | PullSecretsError | None"]
    )

    def metadata(self, registry: str) -> EntryMetadata | None:
        """Return the metadata of a registry's path as ESO may read it.

        Raises:
            PullSecretsError: when it may not.
        """
        if self.refusal:
            raise PullSecretsError(f"Vault refuses {self.login.account}: {self.message}")
        found = self.entries[registry]
        if isinstance(found, PullSecretsError):
            raise found
        return found


def open_as_eso(
    config: StackConfig,
    store: VaultStore,
    live: Mapping[str, Any] | None,
    cluster: KubernetesClient,
    server: VaultServer,
) -> StoreAccess:
    """Log in as the store says, ask what the token may read of its registries, and revoke it again.

    Raises:
        UnreachableError: when Vault does not answer or is sealed.
        TokenUnavailableError: when a token for ESO's ServiceAccount cannot be had.
    """
    if not server.healthy:
        raise UnreachableError(str(server))
    login = login_of(config, store, live)
    jwt = _service_account_token(cluster, login)
    with _answers(server):
        answer = log_in(server.endpoint, login.mount, login.role, jwt)
        if answer.status != 200:
            # A mount that is not there and a token that cannot be reviewed are refused in the same words. A role that
            # nobody has made is answered only by a mount that is there.
            other = log_in(server.endpoint, login.mount, _UNKNOWN_ROLE, jwt)
            return StoreAccess(login, refusal_of(answer, other), answer.errors)
        return _look_around(config, store, server.endpoint, login, cast("dict[str, Any]", answer.content["auth"]))


def login_of(config: StackConfig, store: VaultStore, live: Mapping[str, Any] | None) -> Login:
    """Return how the live store logs in; where there is no store, what the stack declares."""
    declared = StoreSpec.of(config, store)
    methods = cast("dict[str, Any]", provider_of(live).get("auth") or {})
    auth = cast("dict[str, Any]", methods.get("kubernetes") or {})
    account = cast("dict[str, Any]", auth.get("serviceAccountRef") or {})
    if not account:
        return Login(
            declared.auth_mount, declared.role, declared.namespace, declared.service_account, tuple(declared.audiences)
        )
    return Login(
        mount=str(auth.get("mountPath", declared.auth_mount)),
        role=str(auth.get("role", "")),
        namespace=str(account.get("namespace", declared.namespace)),
        service_account=str(account["name"]),
        audiences=tuple(cast("list[str]", account.get("audiences") or [])),
    )


def refusal_of(answer: Answer, unknown_role: Answer) -> Refusal:
    """Tell refused logins apart by Vault's words.

    Args:
        unknown_role: the answer to a login to a role that does not exist.
    """
    words = {
        "invalid role name": Refusal.ROLE,
        "service account name not authorized": Refusal.ACCOUNT,
        "namespace not authorized": Refusal.NAMESPACE,
        "audience": Refusal.AUDIENCE,
        "lookup failed": Refusal.REVIEW,
        "no handler for route": Refusal.MOUNT,
    }
    found = next((refusal for text, refusal in words.items() if text in answer.errors), None)
    if found is None and answer.status == 403:
        return Refusal.REVIEW if "invalid role name" in unknown_role.errors else Refusal.MOUNT
    return found or Refusal.OTHER


def _service_account_token(cluster: KubernetesClient, login: Login) -> str:
    path = f"/api/v1/namespaces/{login.namespace}/serviceaccounts/{login.service_account}/token"
    wanted = {"audiences": list(login.audiences), "expirationSeconds": TOKEN_SECONDS}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": wanted}
    try:
        token = str(cluster.request("POST", path, body=body)["status"]["token"])
    except KubernetesApiError as error:
        if error.status == 404:
            raise TokenUnavailableError(
                f"ServiceAccount {login.account} does not exist, so neither ESO nor doctor can log in to Vault with it"
            ) from None
        if error.status == 403:
            raise TokenUnavailableError(
                f"creating a token for ServiceAccount {login.account} is not permitted to you, so what ESO may do in "
                "Vault cannot be tried; the diagnostician's role (`pull-secrets roles`) permits it"
            ) from None
        raise
    redaction.register(token)
    return token


def _look_around(
    config: StackConfig, store: VaultStore, endpoint: Endpoint, login: Login, auth: Mapping[str, Any]
) -> StoreAccess:
    token = str(auth["client_token"])
    try:
        client = VaultClient(endpoint.address, endpoint.ca_bundle, token)
        return StoreAccess(
            login=login,
            policies=tuple(str(name) for name in auth.get("policies") or ()),
            readable=_readable(config, store, endpoint, token),
            entries={item.name: _entry(client, config, item.path) for item in store.registries},
        )
    finally:
        revoke(endpoint, token)


def _readable(config: StackConfig, store: VaultStore, endpoint: Endpoint, token: str) -> dict[str, bool]:
    paths = {item.name: f"{config.vault.mount}/data/{item.path}" for item in store.registries}
    answer = endpoint.request("POST", "sys/capabilities-self", {"paths": list(paths.values())}, token)
    if answer.status != 200:
        raise PullSecretsError(
            f"Vault at {endpoint.address}: the capabilities of ESO's token cannot be read: {answer.errors}"
        )
    granted = cast("dict[str, list[str]]", answer.content["data"])
    return {name: bool({"read", "root"} & set(granted.get(path) or ())) for name, path in paths.items()}


def _entry(client: VaultClient, config: StackConfig, path: str) -> EntryMetadata | PullSecretsError | None:
    try:
        return client.read_metadata(config.vault.mount, path)
    except PullSecretsError as error:
        return error


@contextmanager
def _answers(server: VaultServer) -> Generator[None]:
    try:
        yield
    except (requests.exceptions.RequestException, OSError) as error:
        raise UnreachableError(
            f"Vault at {server.endpoint.address} stopped answering ({type(error).__name__}); run doctor again"
        ) from None
