"""One request to Vault: where it is from this machine, what its certificate is judged by, and its answer as it is."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache, cached_property
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, cast
from urllib.parse import quote

import requests

from pullsecrets.errors import BadInputError
from pullsecrets.files import at_exit

CONNECT_SECONDS = 5
READ_SECONDS = 10
MERGE_PATCH = "application/merge-patch+json"

_CONNECTION_REASONS = {
    "Connection refused": "connection refused",
    "Name or service not known": "its name does not resolve",
    "Temporary failure in name resolution": "its name does not resolve",
    "No route to host": "no route to it",
    "Network is unreachable": "the network is unreachable",
}


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
        return ", ".join(" ".join(str(item).split()) for item in found) or f"status {self.status}"


@dataclass(frozen=True)
class Endpoint:
    """Where Vault is and what its certificate is judged by."""

    address: str
    ca_bundle: str | None = None
    """PEM certificates; None for the system's."""
    source: str = ""
    """Where both were read, for evidence."""
    timeout: tuple[float, float] = (CONNECT_SECONDS, READ_SECONDS)
    """Seconds to connect, and between two parts of the answer."""

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        token: str | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request and return whatever Vault answers; the body of a PATCH is a merge patch.

        As Vault's own command line does, it marks the request for an agent that wants X-Vault-Request, and shows the
        client certificate of VAULT_CLIENT_CERT and VAULT_CLIENT_KEY
        (https://developer.hashicorp.com/vault/docs/commands#configure-environment-variables).

        Raises:
            requests.RequestException: when there is no answer.
            OSError: when the certificates to trust cannot be read.
        """
        headers = {"X-Vault-Request": "true"}
        if token:
            headers["X-Vault-Token"] = token
        if method == "PATCH":
            headers["Content-Type"] = MERGE_PATCH
        certificate = os.environ.get("VAULT_CLIENT_CERT")
        response = self._session.request(
            method,
            f"{self.address.rstrip('/')}/v1/{quote(path)}",
            params=params,
            json=body,
            headers=headers,
            timeout=self.timeout,
            # Given with each request, because REQUESTS_CA_BUNDLE would go before a session's own.
            verify=_certificate_file(self.ca_bundle) if self.ca_bundle else True,
            cert=(certificate, os.environ.get("VAULT_CLIENT_KEY", "")) if certificate else None,
        )
        return Answer(response.status_code, _json(response), _date(response))

    @cached_property
    def _session(self) -> requests.Session:
        return requests.Session()


def way_from_here(address: str, ca_bundle: str | None) -> tuple[str, str | None]:
    """Return the address and PEM certificates by which this machine reaches a Vault.

    VAULT_ADDR and VAULT_CACERT tell, as they tell Vault's own command line: a port-forward, or a name that only
    resolves outside. They never tell where the cluster finds Vault.

    Args:
        address: how the cluster reaches it.
        ca_bundle: what the cluster trusts; None for the system's certificates.

    Raises:
        BadInputError: when VAULT_CACERT names no file of text.
    """
    file = os.environ.get("VAULT_CACERT")
    return (os.environ.get("VAULT_ADDR") or address).rstrip("/"), _certificates(Path(file)) if file else ca_bundle


def tls_reason(error: Exception) -> str:
    """Return what is wrong with a certificate, without the addresses of Python objects."""
    text = str(error)
    start = text.find("certificate verify failed")
    return text[start:].partition(" (")[0] if start >= 0 else "the TLS handshake failed"


def connection_reason(error: Exception) -> str:
    """Return why there is no answer, in words that do not depend on the library."""
    text = str(error)
    found = next((reason for part, reason in _CONNECTION_REASONS.items() if part in text), None)
    if found is None and isinstance(error, requests.exceptions.Timeout):
        return f"no answer within {READ_SECONDS} s"
    return found or type(error).__name__


def _certificates(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "found bytes that are not UTF-8"
        raise BadInputError(f"VAULT_CACERT={file}: {cause}; name a file of PEM certificates") from None


@cache
def _certificate_file(ca_bundle: str) -> str:
    """Requests takes trusted certificates from a file only; it lives as long as the process."""
    with NamedTemporaryFile("w", prefix="pull-secrets-ca-", suffix=".pem", delete=False) as file:
        file.write(ca_bundle)
    at_exit(Path(file.name).unlink, True)
    return file.name


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
