"""An API server in memory that keeps objects by path: reads, creates, patches and deletes as the commands use them."""

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

from pullsecrets.kube.client import KubernetesApiError, KubernetesClient


class FakeCluster(KubernetesClient):
    """Objects by path. `refuse` makes a request fail, by method and path, with a status and a message."""

    def __init__(self, *objects: tuple[str, dict[str, Any]]) -> None:
        self.objects = {path: copy.deepcopy(item) for path, item in objects}
        self.refuse: dict[tuple[str, str], tuple[int, str]] = {}
        self.sent: list[tuple[str, str]] = []

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        return self.request("GET", path, query)

    def items(
        self, path: str, query: Mapping[str, str] | None = None, *, metadata_only: bool = False
    ) -> Iterator[dict[str, Any]]:
        kind = path.rpartition("/")[2]
        folder = path.removesuffix(f"/{kind}")
        for where, item in sorted(self.objects.items()):
            inside = where.startswith(f"{folder}/") and where.split("/")[-2] == kind
            if inside and _selected(item, (query or {}).get("fieldSelector", "")):
                yield {"metadata": copy.deepcopy(item["metadata"])} if metadata_only else copy.deepcopy(item)

    def json_patch(self, path: str, operations: list[dict[str, Any]]) -> dict[str, Any]:
        self.sent.append(("PATCH", path))
        item = self.objects[path]
        for operation in operations:
            _apply(item, operation)
        return item

    def request(
        self, method: str, path: str, query: Mapping[str, str] | None = None, *, body: Any = None, **_: Any
    ) -> dict[str, Any]:
        if method != "GET":
            self.sent.append((method, path))
        if (method, path) in self.refuse:
            status, message = self.refuse[method, path]
            raise KubernetesApiError(method, path, status, "Forbidden", message)
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                raise KubernetesApiError(method, path, 409, "AlreadyExists", "already exists")
        elif path not in self.objects:
            raise KubernetesApiError(method, path, 404, "NotFound", "not found")
        return self._answer(method, path, query or {}, body)

    def _answer(self, method: str, path: str, query: Mapping[str, str], body: Any) -> dict[str, Any]:
        if query.get("dryRun"):
            return self.objects[path]
        if method in {"POST", "PUT"}:
            self.objects[path] = copy.deepcopy(body)
        elif method == "PATCH":
            self.objects[path] = _merged(self.objects[path], body)
        elif method == "DELETE":
            return self.objects.pop(path)
        return copy.deepcopy(self.objects[path])


def _selected(item: Mapping[str, Any], selector: str) -> bool:
    for term in filter(None, selector.split(",")):
        key, negated, value = term.partition("!=") if "!=" in term else term.partition("=")
        found = item["metadata"]["name"] if key == "metadata.name" else item.get(key)
        if (found == value) == (negated == "!="):
            return False
    return True


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


def _apply(item: dict[str, Any], operation: Mapping[str, Any]) -> None:
    *parents, last = [part.replace("~1", "/") for part in operation["path"].split("/")[1:]]
    target: Any = item
    for part in parents:
        target = target[int(part)] if isinstance(target, list) else target[part]
    if operation["op"] == "test":
        found = target[int(last)] if isinstance(target, list) else target.get(last)
        assert found == operation["value"], json.dumps(operation)
    elif operation["op"] == "remove":
        del target[int(last) if isinstance(target, list) else last]
    elif isinstance(target, list):
        target.append(operation["value"])
    else:
        target[last] = operation["value"]
