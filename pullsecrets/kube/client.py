"""A thin client of the Kubernetes API: plain objects in and out, errors that say what to do."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache, partial
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

import urllib3

from pullsecrets.errors import PullSecretsError, UnreachableError
from pullsecrets.kube.kubeconfig import CURRENT, Reach, read_access
from pullsecrets.kube.refusal import Refusal, Refuser, read_refusal

FIELD_MANAGER = "pull-secrets"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
METADATA_EVENTS = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
PAGE_SIZE = 500
Value = TypeVar("Value")

_LASTING = (Refuser.POLICY, Refuser.WEBHOOK, Refuser.QUOTA)

_NO_OBJECT = {"reason": "NotKubernetes", "message": "the answer is no JSON object; is this a Kubernetes API server?"}


class KubernetesApiError(PullSecretsError):
    """The API server refused a request; carries the status code and the server's own reason."""

    def __init__(self, method: str, path: str, status: int, reason: str, message: str) -> None:
        """Keep the status and reason for callers that tell cases apart."""
        self.status = status
        self.reason = reason
        self.server_message = message
        self.refusal: Refusal | None = read_refusal(message)
        super().__init__(f"Kubernetes API: {method} {path}: {status} {reason}: {message}{self._advice()}")

    def _advice(self) -> str:
        if self.refusal is None or self.refusal.refuser not in _LASTING:
            return ""
        return f"; {self.refusal} refuses it, now and later: have its owners allow it, then run the command again"


class KubernetesClient:
    """Requests to one cluster, as the kubeconfig (or the Pod's ServiceAccount) identifies us. Safe across threads."""

    def __init__(self, reach: Reach = CURRENT) -> None:
        """Find the cluster and the identity; those of the kubeconfig's current context by default.

        Raises:
            BadInputError: when there is no kubeconfig, or no such context in it.
        """
        self._access = read_access(reach)
        self._requests = 0
        self._requests_lock = threading.Lock()

    @property
    def requests(self) -> int:
        """How many requests were sent so far, each page of a list and each watch being one."""
        return self._requests

    @property
    def server(self) -> str:
        """URL of the API server."""
        return self._access.cluster.server

    @property
    def certificate_authority(self) -> str | None:
        """PEM certificates that sign the API server's certificate; None when the system's own are used."""
        return self._access.cluster.authority

    def clock(self) -> tuple[datetime, datetime]:
        """Return the API server's time and ours, both of the moment of one answer.

        Raises:
            UnreachableError: when the server does not answer.
            PullSecretsError: when it does not tell its time.
        """
        response = self._send("GET", "/version", None, None, {"Accept": "application/json"})
        try:
            return parsedate_to_datetime(response.headers["Date"]), datetime.now(UTC)
        except (KeyError, ValueError):
            raise PullSecretsError(f"Kubernetes API at {self.server}: its answers have no Date header") from None

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return one object, or one list as the server gives it."""
        return self.request("GET", path, query)

    def find(self, path: str) -> dict[str, Any] | None:
        """Return one object, or None when it does not exist."""
        return unless_refused(lambda: self.get(path), 404)

    def items(
        self, path: str, query: Mapping[str, str] | None = None, *, metadata_only: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Yield every object of a list, page by page.

        Args:
            path: the collection, such as `/api/v1/namespaces`.
            query: selectors.
            metadata_only: ask for metadata alone, so that the content of a Secret never leaves the server.
        """
        for page in self._pages(path, query, metadata_only=metadata_only):
            yield from page.get("items") or ()

    def snapshot(
        self, path: str, query: Mapping[str, str] | None = None, *, metadata_only: bool = False
    ) -> tuple[list[dict[str, Any]], str]:
        """Return every object of a list and the resourceVersion from which a watch goes on without a gap."""
        pages = list(self._pages(path, query, metadata_only=metadata_only))
        return [item for page in pages for item in page.get("items") or ()], pages[-1]["metadata"]["resourceVersion"]

    def merge_patch(self, path: str, change: Mapping[str, Any]) -> dict[str, Any]:
        """Merge a change into an object under our field manager and return the object that results."""
        query = {"fieldManager": FIELD_MANAGER}
        return self.request("PATCH", path, query, body=change, content_type=MERGE_PATCH)

    def _pages(self, path: str, query: Mapping[str, str] | None, *, metadata_only: bool) -> Iterator[dict[str, Any]]:
        page = {"limit": str(PAGE_SIZE), **(query or {})}
        accept = METADATA_ONLY if metadata_only else "application/json"
        while True:
            found = self.request("GET", path, page, accept=accept)
            yield found
            following = found["metadata"].get("continue")
            if not following:
                return
            page = {**page, "continue": following}

    def probe(self, path: str) -> tuple[int, str]:
        """Return the status of a GET and the server's reason for it, whatever answers behind the API server."""
        response = self._send("GET", path, None, None, {"Accept": "*/*"})
        return response.status, str((_decode(response.data) or {}).get("message", ""))

    def json_patch(self, path: str, operations: list[dict[str, Any]]) -> dict[str, Any]:
        """Apply JSON Patch operations under our field manager and return the object that results."""
        query = {"fieldManager": FIELD_MANAGER}
        return self.request("PATCH", path, query, body=operations, content_type=JSON_PATCH)

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> dict[str, Any]:
        """Send one request and return the decoded answer.

        Raises:
            UnreachableError: when the server does not answer, rejects our credentials (401), or is not what answers.
            KubernetesApiError: for any other refusal.
        """
        response = self._send(method, path, query, body, {"Content-Type": content_type, "Accept": accept})
        return self._object(method, path, response)

    def watch(
        self, path: str, query: Mapping[str, str], seconds: int, *, metadata_only: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Yield the events of a watch until the server ends it after the given number of seconds.

        Raises:
            UnreachableError: when the connection is lost before that, or as for `request`.
            KubernetesApiError: when the server refuses the watch.
        """
        query = {**query, "watch": "true", "timeoutSeconds": str(seconds)}
        accept = METADATA_EVENTS if metadata_only else "application/json"
        # Leaving the block closes the connection, so that a caller may stop before the server does.
        with self._send("GET", path, query, None, {"Accept": accept}, seconds + READ_SECONDS) as response:
            if response.status != 200:
                self._object("GET", path, response)
            for line in self._lines(response):
                event = _decode(line)
                if event is None or "object" not in event:
                    raise self._not_kubernetes("GET", path, response.status)
                yield event

    def _object(self, method: str, path: str, response: urllib3.BaseHTTPResponse) -> dict[str, Any]:
        """Return the object that an answer holds, or raise as `request` says."""
        content = _decode(response.data)
        if response.status == 401:
            raise UnreachableError(
                f"Kubernetes API at {self.server}: 401 Unauthorized: the kubeconfig's credentials are not accepted; "
                "log in again, or name another context in cluster.context"
            )
        if response.status >= 400:
            known = _NO_OBJECT if content is None else content
            raise KubernetesApiError(
                method, path, response.status, str(known.get("reason", "")), str(known.get("message", ""))
            )
        # Each object and list names its kind; of all answers that are asked for only the version is without.
        if content is None or not content.keys() & {"kind", "gitVersion"}:
            raise self._not_kubernetes(method, path, response.status)
        return content

    def _not_kubernetes(self, method: str, path: str, status: int) -> UnreachableError:
        return UnreachableError(
            f"Kubernetes API at {self.server}: {method} {path} answers {status} and no Kubernetes object; is there a "
            "proxy that requires a login? Log in there, or check the kubeconfig's server"
        )

    def _lines(self, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        pending = b""
        try:
            for chunk in response.stream(decode_content=True):
                *lines, pending = (pending + chunk).split(b"\n")
                yield from lines
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(error) from None

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Any,
        headers: dict[str, str],
        streamed_seconds: float = 0,
    ) -> urllib3.BaseHTTPResponse:
        url = f"{self.server}{path}" + (f"?{urlencode(query)}" if query else "")
        with self._requests_lock:
            self._requests += 1
        sent = partial(
            self._access.pool.request,
            method,
            url,
            body=None if body is None else json.dumps(body).encode(),
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=streamed_seconds or READ_SECONDS),
            retries=urllib3.Retry(total=None, connect=1, read=0, redirect=0, status=0, other=0),
            preload_content=not streamed_seconds,
            # A redirect is an answer: a service may give it, and our credentials go nowhere else.
            redirect=False,
        )
        try:
            response = sent(headers=self._headers(headers))
            # An exec plugin's credential may end before it says so.
            if response.status == 401 and self._access.renew():
                response = sent(headers=self._headers(headers))
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(error) from None
        return response

    def _headers(self, headers: Mapping[str, str]) -> urllib3.HTTPHeaderDict:
        found = self._access.headers()
        found.update({**headers, "User-Agent": FIELD_MANAGER})
        return found

    def _unreachable(self, error: Exception) -> UnreachableError:
        return UnreachableError(
            f"Kubernetes API at {self.server} does not answer ({_cause(error)}); check the kubeconfig's server "
            "and context (cluster.context), the network and the cluster"
        )


def unless_refused(read: Callable[[], Value], *statuses: int) -> Value | None:
    """Return what is read; None where the API server refuses it with one of these statuses."""
    try:
        return read()
    except KubernetesApiError as error:
        if error.status not in statuses:
            raise
        return None


def may(cluster: KubernetesClient, verb: str, resource: str, **attributes: str) -> bool:
    """Ask the API server whether the caller may do something, by a SelfSubjectAccessReview with these attributes."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": verb, "resource": resource, **attributes}},
    }
    answer = cluster.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=review)
    return bool(answer["status"].get("allowed"))


def served_kinds(cluster: KubernetesClient, group_version: str) -> set[str]:
    """Return the kinds that a cluster serves at a path such as `/apis/apps/v1`; none where it serves no such path."""
    found = cluster.find(group_version) or {"resources": []}
    return {item["kind"] for item in found["resources"]}


def last_seen(event: Mapping[str, Any]) -> str:
    """Return the RFC 3339 time at which an event was last seen; empty when it does not say."""
    series = cast("Mapping[str, str]", event.get("series") or {})
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((str(time) for time in times if time), "")


@cache
def shared_client(context: str | None) -> KubernetesClient:
    """Return this process's client of a kubeconfig context, with its open connections."""
    return KubernetesClient(Reach(context=context))


def _decode(data: bytes) -> dict[str, Any] | None:
    """Return a JSON object; None for whatever else a server may send."""
    try:
        content: Any = json.loads(data)
    except ValueError:
        return None
    return cast("dict[str, Any]", content) if isinstance(content, dict) else None


def _cause(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason if isinstance(reason, Exception) else error).partition("\n")[0]
