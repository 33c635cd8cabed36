"""Vault as External Secrets Operator sees it before any login: does it answer, is it trusted, is it unsealed?"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, cast

import requests

from pullsecrets.config import StackConfig
from pullsecrets.credential.vault_transport import (
    Answer,
    Endpoint,
    connection_reason,
    tls_reason,
    way_from_here,
)
from pullsecrets.errors import UnreachableError

_NO_CERTIFICATES = "no caBundle: the system's certificates"


class Condition(StrEnum):
    """What keeps a login from being tried, if anything."""

    HEALTHY = "answers and is unsealed"
    UNREACHABLE = "does not answer"
    UNTRUSTED = "shows a certificate that is not trusted"
    SEALED = "is sealed"
    UNINITIALIZED = "was never initialised"


@dataclass(frozen=True)
class VaultServer:
    """The server's condition at one moment."""

    endpoint: Endpoint
    condition: Condition
    message: str = ""
    """What the connection or the server said."""
    date: datetime | None = None
    asked_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def healthy(self) -> bool:
        """Whether a login can be tried."""
        return self.condition == Condition.HEALTHY

    def __str__(self) -> str:
        """Address and condition, for messages."""
        told = f" ({self.message})" if self.message else ""
        return f"Vault at {self.endpoint.address} {self.condition}{told}"


def probe(config: StackConfig, name: str, store: Mapping[str, Any] | None) -> VaultServer:
    """Ask Vault's seal status, which needs no token, at the address and with the certificates of the store.

    Raises:
        UnreachableError: when this machine's own way to Vault, in VAULT_ADDR, does not lead there: that says nothing
            of the cluster's.
    """
    named = _named(config, name, store)
    endpoint = endpoint_of(config, name, store)
    server = _ask(endpoint)
    if endpoint.address != named.address and server.condition in {Condition.UNREACHABLE, Condition.UNTRUSTED}:
        raise UnreachableError(
            f"{server}, which VAULT_ADDR names; that says nothing about how the cluster reaches {named.address}: open "
            "the port-forward again, or correct or unset VAULT_ADDR and VAULT_CACERT"
        )
    return server


def _ask(endpoint: Endpoint) -> VaultServer:
    try:
        answer = endpoint.request("GET", "sys/seal-status")
    except requests.exceptions.SSLError as error:
        return VaultServer(endpoint, Condition.UNTRUSTED, tls_reason(error))
    except requests.exceptions.RequestException as error:
        return VaultServer(endpoint, Condition.UNREACHABLE, connection_reason(error))
    except OSError:
        return VaultServer(endpoint, Condition.UNTRUSTED, f"{endpoint.source}: no PEM certificates")
    return VaultServer(endpoint, *judge(answer), date=answer.date)


def endpoint_of(config: StackConfig, name: str, store: Mapping[str, Any] | None) -> Endpoint:
    """Return how doctor reaches the Vault of the live store: as ESO does, unless VAULT_ADDR names another way."""
    named = _named(config, name, store)
    address, certificates = way_from_here(named.address, named.ca_bundle)
    if address == named.address:
        return named
    return Endpoint(address, certificates, f"VAULT_ADDR and VAULT_CACERT, and not {named.source}")


def _named(config: StackConfig, name: str, store: Mapping[str, Any] | None) -> Endpoint:
    """Return where the live store says Vault is; where there is no store, what the stack declares."""
    provider = provider_of(store)
    if not provider.get("server"):
        return Endpoint(config.vault.address, config.vault.ca_bundle, "vault.address and vault.caBundle of the stack")
    source = f"spec.provider.vault of ClusterSecretStore {name}"
    if provider.get("caBundle"):
        return Endpoint(provider["server"], _decoded(provider["caBundle"]), f"{source} (server and caBundle)")
    if provider.get("caProvider"):
        # It names a Secret or ConfigMap, which is not ours to read.
        return Endpoint(
            provider["server"], config.vault.ca_bundle, f"{source} (server) and vault.caBundle of the stack"
        )
    return Endpoint(provider["server"], None, f"{source} (server; {_NO_CERTIFICATES})")


def provider_of(store: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return a store's settings of the Vault provider; empty when it has none."""
    spec = cast("dict[str, Any]", (store or {}).get("spec") or {})
    provider = cast("dict[str, Any]", spec.get("provider") or {})
    return cast("dict[str, Any]", provider.get("vault") or {})


def judge(answer: Answer) -> tuple[Condition, str]:
    """Read the answer to a question for the seal status."""
    content = answer.content
    if answer.status != 200 or "sealed" not in content:
        return Condition.UNREACHABLE, f"{answer.errors}: this is no Vault, or a proxy before it"
    if not content.get("initialized", True):
        return Condition.UNINITIALIZED, ""
    if content["sealed"]:
        return Condition.SEALED, f"{content.get('progress', 0)} of {content.get('t', '?')} unseal keys given"
    return Condition.HEALTHY, ""


def _decoded(bundle: str) -> str:
    try:
        return base64.b64decode(bundle, validate=True).decode()
    except (binascii.Error, ValueError):
        return bundle
