"""Waits until an object is ready or gone, as annotations and kinds ask, and no longer than they allow."""

import functools
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from local.plugins.kubernetes import objects
from local.plugins.kubernetes.api import ApiError, Server
from local.plugins.kubernetes.kinds import Kind
from local.plugins.kubernetes.values import Object
from local.plugins.kubernetes.watching import Broken, Changed, Event, Gone, Watches, next_event

SKIP_AWAIT = "pulumi.com/skipAwait"
WAIT_FOR = "pulumi.com/waitFor"
_TIMEOUT = "pulumi.com/timeoutSeconds"
_DEFAULT_SECONDS = 600.0
_TOKEN_SECONDS = 5.0
# How often a wait looks whether it was cancelled.
_CANCEL_CHECK_SECONDS = 0.25

Condition = Callable[[Object], bool]


class WaitError(Exception):
    """An object did not get where it should. `last` is its last known state."""

    def __init__(self, message: str, last: Object) -> None:
        """Keeps what was last seen of the object."""
        super().__init__(message)
        self.last = last


class ExpressionError(Exception):
    """A `pulumi.com/waitFor` annotation that cannot be understood."""


def timeout_of(seconds: float, inputs: Object) -> float:
    """How long to wait: the resource option `customTimeouts`, else the annotation, else ten minutes."""
    if seconds:
        return float(seconds)
    try:
        return float(int(objects.annotation(inputs, _TIMEOUT)))
    except ValueError:
        return _DEFAULT_SECONDS


def conditions_of(obj: Object) -> list[Condition]:
    """What `pulumi.com/waitFor` asks for: one expression or a JSON list of them, all of which must hold.

    Raises:
        ExpressionError: an expression that is neither `condition=...` nor `jsonpath=...`, or malformed.
    """
    text = objects.annotation(obj, WAIT_FOR)
    if not text:
        return []
    try:
        listed = json.loads(text)
    except ValueError:
        listed = None
    expressions = listed if isinstance(listed, list) and all(isinstance(e, str) for e in listed) else [text]
    if not expressions:
        raise ExpressionError("at least one condition must be specified")
    return [_condition(expression) for expression in expressions]


def _condition(expression: str) -> Condition:
    if expression.startswith("jsonpath="):
        return _json_path(expression.removeprefix("jsonpath="))
    if expression.startswith("condition="):
        wanted, _, status = expression.removeprefix("condition=").partition("=")
        return functools.partial(_has_condition, wanted.lower(), (status or "True").lower())
    raise ExpressionError(f'expected a "jsonpath=" or "condition=" prefix, got {json.dumps(expression)}')


def _has_condition(wanted: str, status: str, obj: Object) -> bool:
    for condition in (obj.get("status") or {}).get("conditions") or []:
        if str(condition.get("type", "")).lower() != wanted:
            continue
        observed = condition.get("observedGeneration", obj["status"].get("observedGeneration"))
        if observed is not None and observed < objects.metadata(obj).get("generation", 0):
            return False
        return str(condition.get("status", "")).lower() == status
    return False


def _json_path(text: str) -> Condition:
    # A `==` belongs to a filter inside the braces, a single `=` parts path and value.
    parts = text.replace("==", "\0").split("=")
    path, *values = (part.replace("\0", "==") for part in parts)
    if len(values) > 1:
        raise ExpressionError(f'format should be {{.path}}=value or {{.path}}, got "{text}"')
    if values == [""]:
        raise ExpressionError(f"{path}= requires a value")
    if path.startswith("'") and path.endswith("'"):
        raise ExpressionError(f"{path} should omit shell quotes")
    inner = path.strip().removeprefix("{").removesuffix("}").strip()
    if not (path.strip().startswith("{") and path.strip().endswith("}")):
        raise ExpressionError(f"{path} should be wrapped in brackets {{ ... }}")
    return functools.partial(_matches, _query(path, inner), path, values[0] if values else None)


def _query(path: str, inner: str) -> Any:
    import jsonpath_rfc9535  # noqa: PLC0415 - few resources need it, and it takes long to load

    try:
        return jsonpath_rfc9535.compile(inner if inner.startswith("$") else f"${inner}")
    except jsonpath_rfc9535.JSONPathError as error:
        raise ExpressionError(f'parsing "{path}": {error}') from None


def _matches(query: Any, path: str, wanted: str | None, obj: Object) -> bool:
    observed = (obj.get("status") or {}).get("observedGeneration")
    if observed is not None and observed < objects.metadata(obj).get("generation", 0):
        return False
    found = query.find_one(obj)
    if found is None:
        return False
    if wanted is None:
        return True
    if isinstance(found.value, dict | list):
        raise ExpressionError(f'"{path}" has a non-primitive value')
    text = json.dumps(found.value) if isinstance(found.value, bool) else str(found.value)
    return text == wanted


class Waiter:
    """Waits for objects on one server until told to stop."""

    def __init__(self, server: Server, cancelled: threading.Event) -> None:
        """Makes a waiter that gives up when `cancelled` is set."""
        self._server = server
        self._watches = Watches(server)
        self._cancelled = cancelled

    def until_ready(self, kind: Kind, inputs: Object, obj: Object, seconds: float) -> Object:
        """Waits until the object is what its annotations ask for, and returns its state then.

        Raises:
            WaitError: it did not get there in time, was deleted, or the wait was cancelled.
            ExpressionError: `pulumi.com/waitFor` cannot be understood.
        """
        if objects.annotation(inputs, SKIP_AWAIT) == "true":
            return obj
        conditions = conditions_of(obj)
        if not conditions and kind.is_secret and obj.get("type") == "kubernetes.io/service-account-token":
            conditions, seconds = [lambda secret: bool(secret.get("data"))], min(seconds, _TOKEN_SECONDS)
        if all(condition(obj) for condition in conditions):
            return obj
        return self._follow(kind, obj, seconds, lambda seen: all(condition(seen) for condition in conditions))

    def until_gone(self, kind: Kind, obj: Object, seconds: float) -> None:
        """Waits until the object is gone.

        Raises:
            WaitError: it was still there at the end of the time, or the wait was cancelled.
        """
        found = self._read(self._server.path(kind, objects.namespace(obj), objects.name(obj)))
        if found is not None:
            self._follow(kind, found, seconds, None)

    def _follow(self, kind: Kind, obj: Object, seconds: float, ready: Condition | None) -> Object:
        """Follows an object until `ready` holds or, without it, until it is gone."""
        end = time.monotonic() + seconds
        path = self._server.path(kind, objects.namespace(obj), objects.name(obj))
        collection = path.rpartition("/")[0]
        last = obj
        version = objects.metadata(obj).get("resourceVersion")
        with self._watches.follow(collection, objects.name(obj), version) as events:
            while time.monotonic() < end and not self._cancelled.is_set():
                event = next_event(events, min(_CANCEL_CHECK_SECONDS, end - time.monotonic()))
                if event is None:
                    continue
                seen = self._seen(event, path, last)
                if seen is None:
                    if ready is None:
                        return last
                    raise WaitError(f"{objects.identifier(obj)} was deleted while it was waited for", last)
                last = seen
                if ready is not None and ready(seen):
                    return seen
        if self._cancelled.is_set():
            raise WaitError("the operation was cancelled", last)
        raise WaitError("timed out waiting for the condition", last)

    def _seen(self, event: Event, path: str, last: Object) -> Object | None:
        """The object after an event; None when it is gone."""
        if isinstance(event, Changed):
            return self._read(path)
        if isinstance(event, Gone):
            return None
        if isinstance(event, Broken):
            # The official plugin would wait in vain until the end of its time.
            raise WaitError(f"waiting needs to watch the object: {event.error}", last)
        return event

    def _read(self, path: str) -> Object | None:
        try:
            return self._server.get(path)
        except ApiError as error:
            if error.is_not_found:
                return None
            raise
