"""The Vault API as this project uses it: KV v2 metadata, check-and-set writes, and errors that tell cases apart."""

import atexit
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, cast
from urllib.parse import quote

import hvac
import hvac.exceptions
import requests

from pullsecrets import redaction
from pullsecrets.errors import BadInputError, ConflictError, PullSecretsError, UnreachableError

TIMEOUT_SECONDS = 15
MERGE_PATCH = "application/merge-patch+json"

_FAILING_OVER = (
    hvac.exceptions.InternalServerError,
    hvac.exceptions.BadGateway,
    hvac.exceptions.RateLimitExceeded,
)
"""500 is also what a node says that was the active one a moment ago; 502 comes from a proxy, 429 from a quota."""


NEVER = "0s"
"""A `delete_version_after` that deletes nothing."""


class VaultDeniedError(PullSecretsError):
    """The token's policies do not permit a request."""


@dataclass(frozen=True)
class VersionState:
    """One version of a KV v2 path, without its value. Times are RFC 3339."""

    version: int
    created: str
    deleted: str = ""
    """When it was soft-deleted, or will be where the path has `delete_version_after`; empty when never."""
    destroyed: bool = False

    @property
    def created_at(self) -> datetime:
        """When it was written."""
        return _instant(self.created)

    @property
    def state(self) -> str:
        """`live`, `deleted` (its value can be undeleted) or `destroyed` (its value is gone)."""
        if self.destroyed:
            return "destroyed"
        return "deleted" if self.deleted and _instant(self.deleted) <= datetime.now(UTC) else "live"


@dataclass(frozen=True)
class EntryMetadata:
    """What KV v2 tells of a path without its value."""

    current_version: int
    live: bool
    cas_required: bool
    max_versions: int
    custom: Mapping[str, str]
    versions: tuple[VersionState, ...] = ()
    """The versions that Vault still knows, oldest first."""
    delete_version_after: str = NEVER
    """How long after its creation each version of the path is deleted, as Vault writes it."""


@dataclass(frozen=True)
class MountSettings:
    """What a KV v2 mount does to every path."""

    max_versions: int
    """Versions that are kept of a path; 0 for Vault's default."""
    delete_version_after: str


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


def _certificates(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "found bytes that are not UTF-8"
        raise BadInputError(f"VAULT_CACERT={file}: {cause}; name a file of PEM certificates") from None


class VaultClient:
    """One Vault or OpenBao server, with the caller's token."""

    def __init__(self, address: str, ca_bundle: str | None = None, token: str | None = None) -> None:
        """Take the token from the argument, VAULT_TOKEN or the file that `vault login` leaves.

        Args:
            address: https URL of the server.
            ca_bundle: PEM certificates to trust; the system's own by default.
            token: only for callers that hold one already; never from a command line.

        Raises:
            BadInputError: when there is no token.
        """
        self.address = address
        found = token or os.environ.get("VAULT_TOKEN") or _token_file()
        if not found:
            raise BadInputError(
                f"Vault at {address}: no token; set VAULT_TOKEN, or run `vault login` so that ~/.vault-token "
                "exists, or set VAULT_KUBERNETES_ROLE in a Pod"
            )
        redaction.register(found)
        verify = certificate_file(ca_bundle) if ca_bundle else True
        self._client = hvac.Client(url=address, token=found, verify=verify, timeout=TIMEOUT_SECONDS)

    def read_metadata(self, mount: str, path: str) -> EntryMetadata | None:
        """Return what is known of a path without its value, or None when the path was never written."""
        answer = self._request("GET", f"{mount}/metadata/{path}", absent_ok=True)
        if answer is None:
            return None
        data = cast("dict[str, Any]", answer["data"])
        version = int(data["current_version"])
        versions = _versions(cast("dict[str, dict[str, Any]]", data.get("versions") or {}))
        return EntryMetadata(
            current_version=version,
            live=any(item.version == version and item.state == "live" for item in versions),
            cas_required=bool(data["cas_required"]),
            max_versions=int(data["max_versions"]),
            custom=dict(data.get("custom_metadata") or {}),
            versions=versions,
            delete_version_after=str(data.get("delete_version_after") or NEVER),
        )

    def read_version(self, mount: str, path: str, version: int) -> dict[str, Any]:
        """Return the data of one version of a KV v2 path as it was written, for writing it again; never to be shown.

        Raises:
            PullSecretsError: when that version has no value any more, or never had one.
        """
        answer = self._request("GET", f"{mount}/data/{path}", params={"version": str(version)}, absent_ok=True)
        found = cast("dict[str, Any]", (answer or {}).get("data") or {})
        data = cast("dict[str, Any] | None", found.get("data"))
        if data is None:
            raise PullSecretsError(f"Vault path {mount}/{path}: version {version} holds no value: deleted or destroyed")
        redaction.register(*(value for value in data.values() if isinstance(value, str)))
        return data

    def patch_metadata(
        self, mount: str, path: str, custom: Mapping[str, str | None], settings: Mapping[str, Any] | None = None
    ) -> None:
        """Merge into a path's metadata, creating it when it is not there; None removes a custom key.

        Two writers share a path: the program declares owner, hosts and cluster, `seed` records digest and time. A
        merge lets each keep its own keys.
        """
        body: dict[str, Any] = {"custom_metadata": dict(custom), **(settings or {})}
        where = f"{mount}/metadata/{path}"
        if self._request("PATCH", where, body, absent_ok=True) is None:
            body["custom_metadata"] = {key: value for key, value in custom.items() if value is not None}
            self._request("POST", where, body)
        elif settings:
            # A merge leaves `delete_version_after` as it was when it is to be 0s again (OpenBao 2.7.2).
            self._request("POST", where, settings)

    def write_with_cas(self, mount: str, path: str, data: Mapping[str, Any], version: int) -> int:
        """Write a new version if the current one is still `version`, and return the new version.

        Raises:
            ConflictError: when somebody else wrote in between; nothing was changed.
        """
        body = {"data": dict(data), "options": {"cas": version}}
        try:
            answer = self._request("POST", f"{mount}/data/{path}", body)
        except hvac.exceptions.InvalidRequest as error:
            if "check-and-set" in str(error):
                raise ConflictError(
                    f"Vault path {mount}/{path}: another write came in after version {version}; nothing was "
                    "changed; look at who wrote it, then run the command again"
                ) from None
            raise PullSecretsError(f"Vault path {mount}/{path}: the write was refused: {_reason(error)}") from None
        return int(cast("dict[str, Any]", answer)["data"]["version"])

    def destroy_versions(self, mount: str, path: str, versions: Sequence[int]) -> None:
        """Destroy the values of some versions of a path for good; the others and the metadata stay."""
        self._request("POST", f"{mount}/destroy/{path}", {"versions": list(versions)})

    def list_names(self, mount: str, path: str) -> tuple[str, ...]:
        """Return what stands directly below a KV v2 path, folders with a trailing slash; nothing where it is absent."""
        answer = self._request("GET", f"{mount}/metadata/{path}", params={"list": "true"}, absent_ok=True)
        return tuple(cast("dict[str, Any]", (answer or {}).get("data") or {}).get("keys") or ())

    def mount_settings(self, mount: str) -> MountSettings | None:
        """Return what a KV v2 mount does to every path; None where the token may not read it."""
        try:
            answer = self._request("GET", f"{mount}/config")
        except VaultDeniedError:
            return None
        data = cast("dict[str, Any]", (answer or {})["data"])
        return MountSettings(int(data.get("max_versions") or 0), str(data.get("delete_version_after") or NEVER))

    def token_seconds(self) -> int | None:
        """Return how long the caller's token lives on unless it is renewed; None for one that does not end."""
        data = cast("dict[str, Any]", self._request("GET", "auth/token/lookup-self"))["data"]
        return int(data["ttl"]) if data.get("expire_time") else None

    def auth_mounts(self) -> dict[str, dict[str, Any]]:
        """Return the auth mounts by path, without the trailing slash."""
        answer = cast("dict[str, Any]", self._request("GET", "sys/auth"))
        return {path.rstrip("/"): mount for path, mount in answer["data"].items()}

    def read_policy(self, name: str) -> str | None:
        """Return the text of an ACL policy, or None when there is none of that name."""
        answer = self._request("GET", f"sys/policies/acl/{name}", absent_ok=True)
        return None if answer is None else str(cast("dict[str, Any]", answer["data"])["policy"])

    def read_role(self, mount: str, name: str) -> dict[str, Any] | None:
        """Return a role of an auth mount, or None when there is none of that name."""
        answer = self._request("GET", f"auth/{mount}/role/{name}", absent_ok=True)
        return None if answer is None else cast("dict[str, Any]", answer["data"])

    def read_auth_config(self, mount: str) -> dict[str, Any] | None:
        """Return the configuration of an auth mount, or None when it has none yet."""
        answer = self._request("GET", f"auth/{mount}/config", absent_ok=True)
        return None if answer is None else cast("dict[str, Any]", answer["data"])

    def mount_version(self, mount: str) -> str | None:
        """Return the KV version of a secrets mount (`1` or `2`), or None when it is no KV mount."""
        answer = self._request("GET", f"sys/internal/ui/mounts/{mount}", absent_ok=True)
        data = cast("dict[str, Any]", (answer or {}).get("data", {}))
        options = cast("dict[str, Any]", data.get("options") or {})
        return str(options.get("version", "1")) if data.get("type") in {"kv", "generic"} else None

    def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        absent_ok: bool = False,
    ) -> dict[str, Any] | None:
        headers = {"Content-Type": MERGE_PATCH} if method == "PATCH" else None
        try:
            answer = cast("Any", self._client.adapter).request(
                method, f"/v1/{quote(path)}", json=body, params=params, headers=headers
            )
        except hvac.exceptions.InvalidPath:
            if absent_ok:
                return None
            raise PullSecretsError(
                f"Vault at {self.address}: {path}: not found; is the mount there (`vault secrets list`)?"
            ) from None
        except hvac.exceptions.Forbidden:
            raise VaultDeniedError(
                f"Vault at {self.address}: {method} {path}: permission denied; the token lacks the capability, or "
                "has expired (`vault token lookup`)"
            ) from None
        except hvac.exceptions.VaultDown:
            raise UnreachableError(f"Vault at {self.address} is sealed or on standby; unseal it first") from None
        except _FAILING_OVER as error:
            raise UnreachableError(
                f"Vault at {self.address}: {method} {path}: {_reason(error)}; it fails over or is broken; look at "
                "`vault status` and its log, then run this again"
            ) from None
        except hvac.exceptions.InvalidRequest:
            raise
        except hvac.exceptions.VaultError as error:
            raise PullSecretsError(f"Vault at {self.address}: {method} {path}: {_reason(error)}") from None
        except requests.exceptions.SSLError as error:
            raise UnreachableError(
                f"Vault at {self.address}: its certificate is not trusted ({_tls_reason(error)}); "
                "name the CA's PEM file in VAULT_CACERT"
            ) from None
        except requests.exceptions.RequestException as error:
            raise UnreachableError(
                f"Vault at {self.address} does not answer ({type(error).__name__}); check vault.address, "
                "VAULT_ADDR and the network"
            ) from None
        return cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}


def _versions(found: Mapping[str, Mapping[str, Any]]) -> tuple[VersionState, ...]:
    states = [
        VersionState(int(number), item["created_time"], item["deletion_time"], destroyed=bool(item["destroyed"]))
        for number, item in found.items()
    ]
    return tuple(sorted(states, key=lambda state: state.version))


def _instant(text: str) -> datetime:
    # Vault writes nanoseconds, which Python does not read.
    return datetime.fromisoformat(re.sub(r"\.\d+", "", text).replace("Z", "+00:00"))


@cache
def certificate_file(ca_bundle: str) -> str:
    """Requests takes trusted certificates from a file only; it lives as long as the process."""
    with NamedTemporaryFile("w", prefix="pull-secrets-ca-", suffix=".pem", delete=False) as file:
        file.write(ca_bundle)
    atexit.register(Path(file.name).unlink, missing_ok=True)
    return file.name


def _token_file() -> str:
    try:
        return (Path.home() / ".vault-token").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _reason(error: Exception) -> str:
    return str(error).partition(", on ")[0]


def _tls_reason(error: Exception) -> str:
    text = str(error)
    return text[text.find("certificate verify failed") :].partition(" (")[0] if "certificate" in text else "TLS failed"
