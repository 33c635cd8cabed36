"""A small API server in memory, for tests of what the plugin sends and how it takes the answers."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

NAMESPACED = {"configmaps": "ConfigMap", "secrets": "Secret", "serviceaccounts": "ServiceAccount"}
CLUSTER_WIDE = {"namespaces": "Namespace"}


@dataclass(frozen=True)
class Request:
    """What the plugin sent."""

    method: str
    path: str
    query: dict[str, str]
    body: Any


@dataclass
class FakeApiServer:
    """Keeps objects by path. `refusals` answers before the objects do: a status object for a request, or None."""

    objects: dict[str, Any] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    refusals: list[Callable[[Request], dict[str, Any] | None]] = field(default_factory=list)
    groups: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Serves on a free loopback port."""
        kinds = [{"name": n, "kind": k, "namespaced": True} for n, k in NAMESPACED.items()]
        kinds += [{"name": n, "kind": k, "namespaced": False} for n, k in CLUSTER_WIDE.items()]
        self.groups.setdefault("/api/v1", kinds)
        self.changed = threading.Condition()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def kubeconfig(self) -> str:
        """A kubeconfig that leads here."""
        return json.dumps(
            {
                "current-context": "fake",
                "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
                "clusters": [{"name": "fake", "cluster": {"server": f"http://127.0.0.1:{self.server.server_port}"}}],
                "users": [{"name": "fake", "user": {}}],
            },
            indent=1,
        )

    def close(self) -> None:
        """Stops serving."""
        self.server.shutdown()
        self.server.server_close()

    def of_objects(self) -> list[Request]:
        """The requests about objects, without discovery and version."""
        return [r for r in self.requests if r.path not in ("/version", *self.groups)]

    def put(self, path: str, obj: dict[str, Any]) -> None:
        """Changes an object as a controller would."""
        with self.changed:
            self.objects[path] = obj
            self.changed.notify_all()

    def remove(self, path: str) -> None:
        """Removes an object as a controller would."""
        with self.changed:
            del self.objects[path]
            self.changed.notify_all()

    def answer(self, request: Request) -> tuple[int, dict[str, Any]]:
        """Answers a request."""
        self.requests.append(request)
        for refusal in self.refusals:
            status = refusal(request)
            if status is not None:
                return status["code"], status
        if request.path == "/version":
            return 200, {"gitVersion": "v1.36.3"}
        if request.path in self.groups:
            return 200, {"resources": self.groups[request.path]}
        dry = "dryRun" in request.query
        with self.changed:
            return getattr(self, f"_{request.method.lower()}")(request, dry)

    def _get(self, request: Request, _dry: bool) -> tuple[int, dict[str, Any]]:
        found = self.objects.get(request.path)
        return (200, found) if found else not_found(request.path)

    def _post(self, request: Request, dry: bool) -> tuple[int, dict[str, Any]]:
        path = f"{request.path}/{request.body['metadata']['name']}"
        if path in self.objects:
            return refusal(409, "AlreadyExists", f"{path} already exists")
        return 201, self._store(path, request.body, dry)

    def _patch(self, request: Request, dry: bool) -> tuple[int, dict[str, Any]]:
        if isinstance(request.body, list):
            return 200, self.objects[request.path]
        return 200, self._store(request.path, {**self.objects.get(request.path, {}), **request.body}, dry)

    def _delete(self, request: Request, _dry: bool) -> tuple[int, dict[str, Any]]:
        if request.path not in self.objects:
            return not_found(request.path)
        if not self.objects[request.path]["metadata"].get("finalizers"):
            del self.objects[request.path]
        return 200, {"kind": "Status", "status": "Success"}

    def _store(self, path: str, body: dict[str, Any], dry: bool) -> dict[str, Any]:
        stored = {**body, "metadata": {**body["metadata"], "uid": "some-uid", "resourceVersion": "7"}}
        if not dry:
            self.objects[path] = stored
            self.changed.notify_all()
        return stored


def refusal(code: int, reason: str, message: str, **details: Any) -> tuple[int, dict[str, Any]]:
    """A refusal as the API server words it."""
    return code, {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}


def not_found(path: str) -> tuple[int, dict[str, Any]]:
    """The refusal of what is not there."""
    return refusal(404, "NotFound", f"{path} not found")


def _handler(fake: FakeApiServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if "watch" in query:
                self._watch(parts.path)
                return
            request = Request(self.command, parts.path, query, json.loads(body) if body else None)
            code, answer = fake.answer(request)
            data = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _watch(self, collection: str) -> None:
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            seen: dict[str, Any] = {}
            while True:
                with fake.changed:
                    now = {p: o for p, o in fake.objects.items() if p.rpartition("/")[0] == collection}
                    events = [{"type": "MODIFIED", "object": o} for p, o in now.items() if seen.get(p) != o]
                    events += [{"type": "DELETED", "object": o} for p, o in seen.items() if p not in now]
                    if not events:
                        fake.changed.wait(0.2)
                        continue
                seen = now
                for event in events:
                    self.wfile.write(json.dumps(event).encode() + b"\n")
                self.wfile.flush()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve  # noqa: N815

    return Handler
