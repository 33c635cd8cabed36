"""The Vault API as this project uses it: KV v2 metadata, check-and-set writes, and errors that tell cases apart."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import requests

from pullsecrets import redaction
from pullsecrets.credential.vault_transport import Answer, Endpoint, tls_reason
from pullsecrets.errors import BadInputError, ConflictError, PullSecretsError, UnreachableError

TIMEOUT_SECONDS = 15

_FAILING_OVER = (429, 500, 502)
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
        self._token = found
        self._endpoint = Endpoint(address, ca_bundle, timeout=(TIMEOUT_SECONDS, TIMEOUT_SECONDS))

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
            ConflictError: when another client wrote in between; nothing was changed.
        """
        where = f"{mount}/data/{path}"
        answer = self._send("POST", where, {"data": dict(data), "options": {"cas": version}})
        if answer.status == 400 and "check-and-set" in answer.errors:
            raise ConflictError(
                f"Vault path {mount}/{path}: another write came in after version {version}; nothing was "
                "changed; find out who wrote it, then run the command again"
            )
        return int(self._accepted("POST", where, answer)["data"]["version"])

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

    def capabilities(self, paths: Iterable[str]) -> dict[str, list[str]]:
        """Return by path what the caller's token may do with it."""
        body = {"paths": list(paths)}
        return dict(cast("dict[str, Any]", self._request("POST", "sys/capabilities-self", body))["data"])

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
    ) -> Mapping[str, Any] | None:
        answer = self._send(method, path, body, params)
        return None if absent_ok and answer.status == 404 else self._accepted(method, path, answer)

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        try:
            return self._endpoint.request(method, path, body, self._token, params)
        except requests.exceptions.SSLError as error:
            raise UnreachableError(
                f"Vault at {self.address}: its certificate is not trusted ({tls_reason(error)}); "
                "name the CA's PEM file in VAULT_CACERT"
            ) from None
        except requests.exceptions.RequestException as error:
            raise UnreachableError(
                f"Vault at {self.address} does not answer ({type(error).__name__}); check vault.address, "
                "VAULT_ADDR and the network"
            ) from None

    def _accepted(self, method: str, path: str, answer: Answer) -> Mapping[str, Any]:
        """Return the content of an answer, and raise what each refusal means."""
        where = f"Vault at {self.address}"
        if answer.status < 400:
            return answer.content
        if answer.status == 403:
            raise VaultDeniedError(
                f"{where}: {method} {path}: permission denied; the token lacks the capability, or has expired "
                "(`vault token lookup`)"
            )
        if answer.status == 404:
            raise PullSecretsError(f"{where}: {path}: not found; is the mount there (`vault secrets list`)?")
        if answer.status == 503:
            raise UnreachableError(f"{where} is sealed or on standby; unseal it first")
        if answer.status in _FAILING_OVER:
            raise UnreachableError(
                f"{where}: {method} {path}: {answer.errors}; it fails over or is broken; look at `vault status` "
                "and its log, then run this again"
            )
        raise PullSecretsError(f"{where}: {method} {path}: {answer.errors}")


def _versions(found: Mapping[str, Mapping[str, Any]]) -> tuple[VersionState, ...]:
    states = [
        VersionState(int(number), item["created_time"], item["deletion_time"], destroyed=bool(item["destroyed"]))
        for number, item in found.items()
    ]
    return tuple(sorted(states, key=lambda state: state.version))


def _instant(text: str) -> datetime:
    # Vault writes nanoseconds, which Python does not read.
    return datetime.fromisoformat(re.sub(r"\.\d+", "", text).replace("Z", "+00:00"))


def _token_file() -> str:
    try:
        return (Path.home() / ".vault-token").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
