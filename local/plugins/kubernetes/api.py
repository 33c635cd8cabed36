"""Talks to the API server: requests, its errors, and what it serves."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlencode

import urllib3

from local.plugins.kubernetes.kinds import Kind
from local.plugins.kubernetes.kubeconfig import Access
from local.plugins.kubernetes.values import Object

_CONNECT_SECONDS = 30.0
_CONNECTIONS = 64
_RETRIES = 10
_RETRIED = frozenset({429, 500, 502, 503, 504})
_USER_AGENT = "pull-secrets-kubernetes-stand-in"


class ApiError(Exception):
    """The server refused a request. The text is the server's message."""

    def __init__(self, status: int, body: Object) -> None:
        """Reads the server's `Status` object."""
        super().__init__(body.get("message") or f"the server answered with HTTP status {status}")
        self.status = status
        self.reason: str = body.get("reason") or ""
        self.details: Object = body.get("details") or {}

    @property
    def is_not_found(self) -> bool:
        """The object, or the place it belongs to, is not there."""
        return self.status == 404

    @property
    def is_namespace_missing(self) -> bool:
        """The object's namespace is not there."""
        return self.is_not_found and self.details.get("kind") == "namespaces"

    @property
    def is_forbidden(self) -> bool:
        """The user may not do this."""
        return self.status == 403

    @property
    def already_exists(self) -> bool:
        """An object of that name is there already."""
        return self.reason == "AlreadyExists"

    @property
    def is_conflict(self) -> bool:
        """Another manager holds a field, or the object has changed since it was read."""
        return self.status == 409 and not self.already_exists

    @property
    def is_invalid(self) -> bool:
        """The object breaks a rule of its kind."""
        return self.status == 422

    @property
    def refuses_dry_run(self) -> bool:
        """The server, or a webhook, cannot try this without doing it."""
        return self.status == 400 and "does not support dry run" in str(self)


class NotServedError(Exception):
    """The server does not know a kind, for example because its CustomResourceDefinition is not there yet."""

    def __init__(self, kind: Kind) -> None:
        """Says it in the server's words."""
        super().__init__(f'no matches for kind "{kind.name}" in version "{kind.api_version}"')


class UnreachableError(Exception):
    """No answer came from the server. The text says which server and why."""


class Resource(NamedTuple):
    """How the server serves a kind."""

    plural: str
    namespaced: bool


class _Throttle:
    """Lets through `rate` requests a second, and `burst` at once, as Kubernetes clients do to spare the server."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._at = time.monotonic()
        self._lock = threading.Lock()

    def wait(self) -> None:
        with self._lock:
            now = time.monotonic()
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) - 1
            self._at = now
            delay = -self._tokens / self._rate
        if delay > 0:
            time.sleep(delay)


class Server:
    """One API server, used by many threads at a time."""

    def __init__(self, access: Access, rate: float, burst: int, timeout: float | None) -> None:
        """Makes a client; nothing is asked yet.

        Args:
            access: where the server is and who asks.
            rate: requests a second, zero or less for no limit.
            burst: requests at once.
            timeout: seconds to wait for an answer, None for as long as it takes.
        """
        self._access = access
        self._throttle = _Throttle(rate, burst) if rate > 0 else None
        options: dict[str, Any] = {
            "maxsize": _CONNECTIONS,
            "block": False,
            "ssl_context": access.tls,
            "timeout": urllib3.Timeout(connect=_CONNECT_SECONDS, read=timeout),
            "retries": urllib3.Retry(connect=2, read=0, redirect=0, other=0, status=0),
        }
        if access.server_name:
            options |= {"server_hostname": access.server_name, "assert_hostname": access.server_name}
        self._pool = urllib3.ProxyManager(access.proxy, **options) if access.proxy else urllib3.PoolManager(**options)
        self._served: dict[tuple[str, str], dict[str, Resource]] = {}
        self._served_lock = threading.Lock()

    @property
    def namespace(self) -> str:
        """Where namespaced objects go that name no namespace."""
        return self._access.namespace

    def version(self) -> str:
        """The server's version, as `v1.36.3`.

        Raises:
            ApiError: the server refuses to tell.
            UnreachableError: no answer came.
        """
        return str(self._send("GET", "/version")["gitVersion"])

    def resource(self, kind: Kind, *, refresh: bool = False) -> Resource:
        """How the server serves a kind. What was learned of a group's version is kept.

        Args:
            kind: the kind.
            refresh: ask again if the kind is not among what was learned.

        Raises:
            NotServedError: the server does not know the kind.
            ApiError: the server refuses to tell.
            UnreachableError: no answer came.
        """
        key = (kind.group, kind.version)
        with self._served_lock:
            if key not in self._served or (refresh and kind.name not in self._served[key]):
                self._served[key] = self._discover(kind)
            found = self._served[key].get(kind.name)
        if found is None:
            raise NotServedError(kind)
        return found

    def forget(self) -> None:
        """Drops what was learned about kinds: a CustomResourceDefinition came or went."""
        with self._served_lock:
            self._served.clear()

    def path(self, kind: Kind, namespace: str = "", name: str = "", *, refresh: bool = False) -> str:
        """The path of a collection or, with a name, of an object; errors as `resource`."""
        resource = self.resource(kind, refresh=refresh)
        place = f"/namespaces/{namespace or 'default'}" if resource.namespaced else ""
        return f"{_root(kind)}{place}/{resource.plural}" + (f"/{name}" if name else "")

    def get(self, path: str) -> Object:
        """Reads an object; errors as `send`."""
        return self.send("GET", path)

    def send(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **query: str | None
    ) -> Object:
        """Sends a request about an object, under the client's own limits.

        Args:
            method: HTTP method.
            path: the path on the server.
            body: what to send, as plain values.
            content_type: the kind of body; patches have several.
            query: parameters; those that are None are left out.

        Raises:
            ApiError: the server refuses.
            UnreachableError: no answer came.
        """
        if self._throttle is not None:
            self._throttle.wait()
        return self._send(method, path, body, content_type, {k: v for k, v in query.items() if v is not None})

    def watch(self, path: str, resource_version: str | None, seconds: int) -> Iterator[Object]:
        """Opens a watch on a collection and yields its events until the server ends it; errors as `send`.

        Nothing is asked before the first event is wanted. The first thing yielded is an event of type `OPENED`.
        """
        query = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        if resource_version:
            query["resourceVersion"] = resource_version
        response = self._exchange("GET", path, None, "application/json", query, stream=True)
        try:
            yield {"type": "OPENED"}
            rest = b""
            for chunk in response.stream(65536):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line:
                        yield json.loads(line)
        except (urllib3.exceptions.HTTPError, OSError):
            # The connection broke: whoever watches opens another.
            return
        finally:
            response.close()

    def _discover(self, kind: Kind) -> dict[str, Resource]:
        try:
            listed = self._send("GET", _root(kind))
        except ApiError as error:
            if error.is_not_found:
                return {}
            raise
        return {
            entry["kind"]: Resource(entry["name"], entry["namespaced"])
            for entry in listed.get("resources") or []
            if "/" not in entry["name"]
        }

    def _send(
        self,
        method: str,
        path: str,
        body: Any = None,
        content_type: str = "application/json",
        query: dict[str, str] | None = None,
    ) -> Object:
        response = self._exchange(method, path, body, content_type, query or {}, stream=False)
        found = json.loads(response.data)
        return found if isinstance(found, dict) else {}

    def _exchange(
        self, method: str, path: str, body: Any, content_type: str, query: dict[str, str], *, stream: bool
    ) -> Any:
        """Sends until the server no longer asks to come again later, and turns its refusals into errors."""
        headers = {
            "Accept": "application/json",
            "Content-Type": content_type,
            "User-Agent": _USER_AGENT,
            **self._access.headers(),
        }
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        url = self._access.server + path + (f"?{urlencode(query)}" if query else "")
        for attempt in range(_RETRIES):
            try:
                response = self._pool.request(method, url, body=data, headers=headers, preload_content=not stream)
            except urllib3.exceptions.HTTPError as error:
                raise UnreachableError(f"{self._access.server} did not answer: {_cause(error)}") from None
            later = response.headers.get("Retry-After", "")
            if response.status < 400:
                return response
            if response.status not in _RETRIED or not later.isdecimal() or attempt == _RETRIES - 1:
                raise ApiError(response.status, _status_object(response.data))
            response.drain_conn()
            time.sleep(int(later))
        raise AssertionError("the last attempt returns or raises")


def _root(kind: Kind) -> str:
    return f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"


def _status_object(data: bytes) -> Object:
    try:
        found = json.loads(data)
    except ValueError:
        return {"message": data.decode("utf-8", "replace").strip()}
    return found if isinstance(found, dict) else {}


def _cause(error: BaseException) -> str:
    """The innermost reason, without the request around it."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):
        return _cause(reason)
    return str(error.args[-1]) if error.args else type(error).__name__
