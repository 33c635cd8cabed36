"""Who manages which field of an object, as the server records it in `metadata.managedFields`."""

import copy
from collections.abc import Iterable
from typing import Any

from local.plugins.kubernetes import objects
from local.plugins.kubernetes.diffing import parse_property_path, property_path
from local.plugins.kubernetes.values import Object

APPLY = "Apply"
UPDATE = "Update"
# Objects are created under this name, without server-side apply; the first update takes the fields over.
CREATOR = "pulumi-kubernetes"

# Prefixes of managers whose fields an update takes over from: earlier `kubectl apply`, and creation by the plugin.
_PREDECESSORS = (
    ("kubectl", APPLY),
    ("kubectl", UPDATE),
    ("before-first-apply", UPDATE),
    (CREATOR, UPDATE),
    ("pulumi-resource-kubernetes", UPDATE),
)


def managed_fields(obj: Object) -> list[Object]:
    """The server's record of managers."""
    found = objects.metadata(obj).get("managedFields")
    return found if isinstance(found, list) else []


def created_by_plugin(obj: Object) -> bool:
    """Whether fields are still held by the creation and not yet by server-side apply."""
    names = {CREATOR, "pulumi-resource-kubernetes"}
    return any(entry.get("operation") == UPDATE and entry.get("manager") in names for entry in managed_fields(obj))


def taken_over(obj: Object, manager: str) -> list[Object] | None:
    """The record after `manager` has taken over its predecessors' fields; None when there are none to take over."""
    entries = managed_fields(obj)
    own = next((e for e in entries if e.get("manager") == manager and e.get("operation") == APPLY), None)
    others = [entry for entry in entries if entry is not own]
    given = [entry for entry in others if _is_predecessor(entry)]
    if not given:
        return None
    kept = [entry for entry in others if not _is_predecessor(entry)]
    if own is None:
        own, *given = given
        own = {**own, "manager": manager, "operation": APPLY}
    fields: Object = copy.deepcopy(own["fieldsV1"])
    for entry in given:
        _merge(fields, entry.get("fieldsV1") or {})
    return [*kept, own | {"fieldsV1": fields}]


def _is_predecessor(entry: Object) -> bool:
    if entry.get("subresource"):
        return False
    manager, operation = str(entry.get("manager", "")), entry.get("operation")
    return any(operation == wanted and manager.startswith(prefix) for prefix, wanted in _PREDECESSORS)


def _merge(target: Object, source: Object) -> None:
    for key, value in source.items():
        _merge(target.setdefault(key, {}), value)


def keep_ignored(inputs: Object, live: Object, ignored: Iterable[str], manager: str) -> Object:
    """The inputs of an update in which ignored fields stay as the cluster has them.

    A field that only others manage is left out, so that it does not become ours; any other gets its live value. Like
    the official plugin this knows no list elements and no names with dots in these paths.
    """
    result = copy.deepcopy(inputs)
    for text in ignored:
        path = property_path(parse_property_path(text)).split(".")
        if _manages(live, path, lambda entry: entry.get("manager") != manager) and not _manages(
            live, path, lambda entry: entry.get("manager") == manager
        ):
            _remove(result, path)
            continue
        found, value = _lookup(live, path)
        if found:
            _set(result, path, copy.deepcopy(value))
    return result


def _manages(live: Object, path: list[str], chosen: Any) -> bool:
    return any(_has(entry.get("fieldsV1") or {}, path) for entry in managed_fields(live) if chosen(entry))


def _has(fields: Object, path: list[str]) -> bool:
    for part in path:
        if f"f:{part}" not in fields:
            return False
        fields = fields[f"f:{part}"]
    return True


def _lookup(obj: Any, path: list[str]) -> tuple[bool, Any]:
    for part in path:
        if not isinstance(obj, dict) or part not in obj:
            return False, None
        obj = obj[part]
    return True, obj


def _remove(obj: Any, path: list[str]) -> None:
    found, parent = _lookup(obj, path[:-1])
    if found and isinstance(parent, dict):
        parent.pop(path[-1], None)


def _set(obj: Object, path: list[str], value: Any) -> None:
    for part in path[:-1]:
        obj = obj.setdefault(part, {})
        if not isinstance(obj, dict):
            return
    obj[path[-1]] = value
