"""The API server of the unit tests: in memory, behind the one way out of the client, all else of which is its own."""

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pullsecrets.kube.client import METADATA_ONLY, KubernetesApiError, KubernetesClient

Object = dict[str, Any]
Lists = Mapping[str, list[Object]]
_PLACE = re.compile(r"(?P<root>/api/v1|/apis/[^/]+/[^/]+)(?P<rest>/.*)?")


class FakeCluster(KubernetesClient):
    """Objects that stand under their paths, and lists of objects that need no names, which tests may change in place.

    A write needs what the API server needs of it: an object that is there, or is not yet; the resourceVersion that it
    names; the values that a JSON Patch tests. A read gives selected objects page by page, or their metadata alone.
    """

    server = "https://api.example.com:6443"  # pyright: ignore[reportAssignmentType,reportIncompatibleMethodOverride]

    def __init__(self, *objects: tuple[str, Object], lists: Lists | None = None) -> None:
        self.objects: dict[str, Object] = {"/version": {"gitVersion": "v1.36.3"}}
        self.objects.update((path, copy.deepcopy(item)) for path, item in objects)
        self.lists = dict(lists or {})
        self.refuse: dict[tuple[str, str], tuple[int, str]] = {}
        """By method, and by path or its last word: the status and the message that such a request gets."""
        self.failures: dict[tuple[str, str], list[Exception | None]] = {}
        """By method (`WATCH` too) and path: how the next such requests fail in turn; None lets one pass."""
        self.answers: dict[str, Callable[[str, Any], Object]] = {"eviction": lambda *_: {}}
        """By the last word of a path, such as `eviction`: what a POST with a path and a body gets."""
        self.before_write: Callable[[str, str], None] = lambda *_: None
        """Plays who acts between a read and a write: called with the method and the path of each write."""
        self.after_write: Callable[[str, str], None] = lambda *_: None
        """The same, when it was written."""
        self.before_read: Callable[[str], None] = lambda _: None
        """The same, called with the path of each read."""
        self.coming: list[tuple[str, Object | None] | Object | Exception] = []
        """What happens while somebody watches: an object is put under a path, or None takes it away; an event comes as
        it is, and an error ends that watch."""
        self.sent: list[tuple[str, str]] = []
        """What was written, by method and path."""
        self.watched: list[Mapping[str, str]] = []
        """What each watch asked for."""
        self.listed: list[str] = []
        """Collections that were read."""
        self.whole: set[str] = set()
        """Those of them of which more than metadata was asked for."""
        self._requests = 0

    def add(self, path: str, *items: Object) -> None:
        """Add objects to a list."""
        self.lists.setdefault(path, []).extend(items)

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Object:
        del content_type
        self._requests += 1
        if method != "GET":
            self.sent.append((method, path))
            self.before_write(method, path)
        else:
            self.before_read(path)
        self._fail(method, path)
        word = path.rpartition("/")[2]
        if refusal := self.refuse.get((method, path)) or self.refuse.get((method, word)):
            raise KubernetesApiError(method, path, refusal[0], "Forbidden", refusal[1])
        if method == "POST" and word in self.answers:
            return self.answers[word](path, body)
        if method == "GET" and _is_collection(path):
            return self._list(path, query or {}, whole=accept != METADATA_ONLY)
        found = self._one(method, path, query or {}, body)
        if method != "GET":
            self.after_write(method, path)
        return found

    def watch(
        self, path: str, query: Mapping[str, str], seconds: int, *, metadata_only: bool = False
    ) -> Iterator[Object]:
        """Give what exists unless a version is named, then all that is coming; the watch ends after that."""
        assert seconds > 0
        self._fail("WATCH", path)
        self.watched.append(query)
        if not metadata_only:
            self.whole.add(path)
        if "resourceVersion" not in query:
            yield from ({"type": "ADDED", "object": item} for item in self._standing(path) if _selected(item, query))
        while self.coming:
            event = self._next(self.coming.pop(0), path, query)
            if event and metadata_only and "metadata" in event["object"]:
                event["object"] = {"metadata": event["object"]["metadata"]}
            if event:
                yield event

    def _next(
        self, change: tuple[str, Object | None] | Object | Exception, path: str, query: Mapping[str, str]
    ) -> Object | None:
        """Let something happen, and return what a watch of a path sees of it."""
        if isinstance(change, Exception):
            raise change
        if isinstance(change, dict):
            return change
        where, item = change
        before = self.objects.pop(where, None)
        if item is not None:
            self.objects[where] = item
        seen, kind = item or before, "DELETED" if item is None else "MODIFIED" if before else "ADDED"
        if seen and _stands_in(path, where) and _selected(seen, query):
            return {"type": kind, "object": copy.deepcopy(seen)}
        return None

    def _fail(self, method: str, path: str) -> None:
        if waiting := self.failures.get((method, path)):
            failure = waiting.pop(0)
            if failure:
                raise failure

    def _list(self, path: str, query: Mapping[str, str], *, whole: bool) -> Object:
        self.listed.append(path)
        found = [item for item in self._standing(path) if _selected(item, query)]
        if whole:
            self.whole.add(path)
        else:
            found = [{"metadata": item["metadata"]} for item in found]
        start, limit = int(query.get("continue", 0)), int(query.get("limit", len(found)))
        following = str(start + limit) if start + limit < len(found) else ""
        return {"metadata": {"continue": following, "resourceVersion": "1"}, "items": found[start : start + limit]}

    def _standing(self, path: str) -> list[Object]:
        """Return what stands in a collection, of one namespace or of all."""
        found = [copy.deepcopy(item) for where, item in sorted(self.objects.items()) if _stands_in(path, where)]
        return [*self._listed(path), *found]

    def _listed(self, path: str) -> list[Object]:
        namespace = re.search(r"/namespaces/([^/]+)(?=/)", path)
        everywhere = path.replace(namespace[0], "") if namespace else path
        if not namespace or path in self.lists:
            return self.lists.get(path, [])
        items = self.lists.get(everywhere, [])
        return [item for item in items if item["metadata"].get("namespace") == namespace[1]]

    def _one(self, method: str, path: str, query: Mapping[str, str], body: Any) -> Object:
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            before: Object = {}
            if self._find(path) is not None:
                raise KubernetesApiError(method, path, 409, "AlreadyExists", "already exists")
        else:
            found = self._find(path)
            if found is None:
                raise KubernetesApiError(method, path, 404, "NotFound", "not found")
            before = found
            _require_version(method, path, before, body)
        if method == "GET" or (method == "DELETE" and query.get("dryRun")):
            return copy.deepcopy(before)
        result = before if method == "DELETE" else _written(method, path, before, body)
        if not query.get("dryRun"):
            self._drop(path, before)
        if not query.get("dryRun") and method != "DELETE":
            self.objects[path] = result
        return copy.deepcopy(result)

    def _drop(self, path: str, item: Object) -> None:
        self.objects.pop(path, None)
        for items in self.lists.values():
            items[:] = [other for other in items if other is not item]

    def _find(self, path: str) -> Object | None:
        if path in self.objects:
            return self.objects[path]
        collection, _, name = path.rpartition("/")
        return next((item for item in self._listed(collection) if item["metadata"].get("name") == name), None)


def _require_version(method: str, path: str, before: Object, body: Any) -> None:
    if not isinstance(body, Mapping):
        return
    found = before.get("metadata", {})
    wanted = {**body.get("metadata", {}), **body.get("preconditions", {})}
    for key in ("resourceVersion", "uid"):
        if key in wanted and key in found and wanted[key] != found[key]:
            raise KubernetesApiError(method, path, 409, "Conflict", f"{key} is {found[key]}")


def _written(method: str, path: str, before: Object, body: Any) -> Object:
    if isinstance(body, list):
        result = _patched(method, path, before, body)
    else:
        result = _merged(before, body) if method == "PATCH" else copy.deepcopy(body)
    if version := before.get("metadata", {}).get("resourceVersion"):
        result["metadata"]["resourceVersion"] = str(int(version) + 1)
    return result


def _is_collection(path: str) -> bool:
    """Tell whether a path is of a collection: names and kinds take turns behind the version."""
    place = _PLACE.fullmatch(path)
    return bool(place and place["rest"] and place["rest"].count("/") % 2)


def _stands_in(collection: str, path: str) -> bool:
    root, _, plural = collection.rpartition("/")
    return bool(re.fullmatch(rf"{re.escape(root)}(/namespaces/[^/]+)?/{plural}/[^/]+", path))


def _selected(item: Object, query: Mapping[str, str]) -> bool:
    fields = (_value(item, *term) for term in _terms(query.get("fieldSelector", "")))
    labels = item.get("metadata", {}).get("labels") or {}
    carried = (key in labels and value in {"", labels[key]} for key, _, value in _terms(query.get("labelSelector", "")))
    return all(fields) and all(carried)


def _terms(selector: str) -> list[tuple[str, bool, str]]:
    found = [re.split(r"(!?=)", term, maxsplit=1) for term in selector.split(",") if term]
    return [(key, "!=" in rest, rest[-1] if rest else "") for key, *rest in found]


def _value(item: Any, key: str, unequal: bool, wanted: str) -> bool:
    for part in key.split("."):
        item = (item or {}).get(part)
    return (item == wanted) != unequal


def _merged(item: Any, change: Any) -> Any:
    if not isinstance(change, dict):
        return change
    found = dict(item) if isinstance(item, dict) else {}
    for key, value in change.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = _merged(found.get(key), value)
    return found


def _patched(method: str, path: str, before: Object, operations: list[Object]) -> Object:
    item = copy.deepcopy(before)
    for operation in operations:
        if not _apply(item, operation):
            raise KubernetesApiError(method, path, 422, "Invalid", f"the test failed: {operation}")
    return item


def _apply(item: Object, operation: Object) -> bool:
    *parents, last = [part.replace("~1", "/") for part in operation["path"].split("/")[1:]]
    target: Any = item
    for part in parents:
        target = target[int(part)] if isinstance(target, list) else target[part]
    if operation["op"] == "test":
        return bool((target[int(last)] if isinstance(target, list) else target.get(last)) == operation["value"])
    if operation["op"] == "remove":
        del target[int(last) if isinstance(target, list) else last]
    elif isinstance(target, list):
        target.append(operation["value"])
    else:
        target[last] = operation["value"]
    return True
