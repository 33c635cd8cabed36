"""A small client of the local API server for set-up and health: server-side apply, tokens, plain requests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import urllib3

from local.controlplane.waiting import NotYet

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from local.controlplane.pki import KeyPair

FIELD_MANAGER = "pull-secrets-local"
# Plural and whether namespaced, of all that is applied here: asking the server would cost a round trip each.
_RESOURCES = {
    "Namespace": ("namespaces", False),
    "ServiceAccount": ("serviceaccounts", True),
    "ClusterRole": ("clusterroles", False),
    "ClusterRoleBinding": ("clusterrolebindings", False),
    "Role": ("roles", True),
    "RoleBinding": ("rolebindings", True),
    "Node": ("nodes", False),
    "Pod": ("pods", True),
    "Deployment": ("deployments", True),
    "StatefulSet": ("statefulsets", True),
    "DaemonSet": ("daemonsets", True),
    "Job": ("jobs", True),
    "PodDisruptionBudget": ("poddisruptionbudgets", True),
}


class RequestRefused(Exception):  # noqa: N818 - says what happened
    """The API server answered a request with an error; the message holds its reason."""

    def __init__(self, status: int, message: str) -> None:
        """Keep the HTTP status."""
        super().__init__(message)
        self.status = status


class HttpClient:
    """Requests to one local server; HTTPS is verified against an authority, and a client certificate may be shown."""

    def __init__(self, address: str, authority: Path | None = None, identity: KeyPair | None = None) -> None:
        """Connect lazily.

        Args:
            address: scheme, host and port.
            authority: PEM file with the certificate authority of an HTTPS server.
            identity: client certificate, if the server wants one.
        """
        self.address = address
        self._pool = urllib3.PoolManager(
            maxsize=16,
            ca_certs=str(authority) if authority else None,
            cert_file=str(identity.certificate) if identity else None,
            key_file=str(identity.key) if identity else None,
            retries=False,
        )

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        patience: float = 30,
    ) -> tuple[int, bytes]:
        """Send a request.

        Args:
            method: HTTP method.
            path: path and query.
            body: what to send.
            headers: HTTP headers.
            patience: seconds to wait for the answer.

        Returns:
            Status and body.

        Raises:
            NotYet: the server cannot be reached; the message is the cause.
        """
        try:
            answer = self._pool.request(
                method,
                f"{self.address}{path}",
                body=body,
                headers=dict(headers or {}),
                timeout=urllib3.Timeout(connect=2, read=patience),
            )
        except urllib3.exceptions.HTTPError as error:
            raise NotYet(f"{self.address}: {error}") from error
        return answer.status, answer.data

    def expect_ok(self, path: str) -> bytes:
        """Get a health endpoint.

        Returns:
            The body.

        Raises:
            NotYet: unreachable, or not a 200; the message holds what was answered.
        """
        status, body = self.request("GET", path, patience=5)
        if status != 200:
            raise NotYet(f"{self.address}{path} answers {status}: {_failing(body.decode(errors='replace'))}")
        return body


class KubernetesApi:
    """The API server as one identity."""

    def __init__(self, address: str, authority: Path, identity: KeyPair) -> None:
        """Use this server as this identity."""
        self.http = HttpClient(address, authority, identity)

    def call(
        self, method: str, path: str, body: object = None, content_type: str = "application/json"
    ) -> dict[str, Any]:
        """Send a request.

        Args:
            method: HTTP method.
            path: path and query.
            body: an object that is sent as JSON, or bytes that are sent as they are.
            content_type: of the body.

        Returns:
            The answer.

        Raises:
            RequestRefused: the server answered with an error.
            NotYet: it cannot be reached.
        """
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        status, answer = self.http.request(method, path, data, {"Content-Type": content_type})
        if status >= 400:
            raise RequestRefused(status, f"{method} {path}: {_reason(answer)} (HTTP {status})")
        return json.loads(answer)

    def apply(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Apply an object of a kind that set-up knows, server-side; return it as stored."""
        return self.apply_raw(path_of(manifest), json.dumps(manifest).encode())

    def apply_raw(self, path: str, manifest: bytes) -> dict[str, Any]:
        """Apply a manifest (YAML or JSON, one object) server-side at its path; return the object as stored."""
        query = f"{path}?fieldManager={FIELD_MANAGER}&force=true"
        return self.call("PATCH", query, manifest, "application/apply-patch+yaml")

    def service_account_token(self, namespace: str, name: str, seconds: int) -> str:
        """Return a token of a ServiceAccount for the API server, valid for so many seconds."""
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        answer = self.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", request)
        return answer["status"]["token"]


def path_of(manifest: Mapping[str, Any]) -> str:
    """Return the path of an object of a kind that `KubernetesApi.apply` knows."""
    version, kind = manifest["apiVersion"], manifest["kind"]
    plural, namespaced = _RESOURCES[kind]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    scope = f"/namespaces/{manifest['metadata']['namespace']}" if namespaced else ""
    return f"{root}{scope}/{plural}/{manifest['metadata']['name']}"


def _failing(answer: str) -> str:
    """Return the failing checks of a Kubernetes health endpoint, or the start of any other answer."""
    failing = [line.strip() for line in answer.splitlines() if line.startswith("[-]")]
    return "; ".join(failing) or answer[:600].strip()


def _reason(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["message"])
    except (ValueError, KeyError, TypeError):
        return answer[:300].decode(errors="replace")
