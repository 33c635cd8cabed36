"""Follows single objects. All that follow objects of one collection share one watch, as the official plugin does."""

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Any

from local.plugins.kubernetes import objects
from local.plugins.kubernetes.api import ApiError, Server, UnreachableError
from local.plugins.kubernetes.values import Object

_WATCH_SECONDS = 300
_RETRY_SECONDS = 1.0


class Changed:
    """Something may have happened to the object while nobody watched: read it."""


class Gone:
    """The object was deleted."""


class Broken:
    """The watch cannot be had."""

    def __init__(self, error: Exception) -> None:
        """Keeps the reason."""
        self.error = error


Event = Object | Changed | Gone | Broken
_Events = queue.SimpleQueue[Event]


class Watches:
    """The open watches of a plugin."""

    def __init__(self, server: Server) -> None:
        """Watches on one server."""
        self._server = server
        self._collections: dict[str, _Collection] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def follow(self, collection: str, name: str, version: str | None) -> Iterator[_Events]:
        """Yields a queue of what happens to one object; it begins with `Changed` once the watch is open.

        Args:
            collection: the path of the object's collection.
            name: the object's name.
            version: a resource version that was seen just now, so that a new watch need not begin with everything.
        """
        events: _Events = queue.SimpleQueue()
        with self._lock:
            found = self._collections.get(collection)
            if found is None:
                found = self._collections[collection] = _Collection(self._server, collection, version)
            found.add(name, events)
        try:
            yield events
        finally:
            with self._lock:
                if found.remove(name, events):
                    self._collections.pop(collection, None)


class _Collection:
    """One watch, in a thread of its own, and who follows what in it."""

    def __init__(self, server: Server, path: str, version: str | None) -> None:
        self._server = server
        self._path = path
        self._version = version
        self._followers: dict[str, list[_Events]] = {}
        self._lock = threading.Lock()
        self._open = False
        self._started = False

    def add(self, name: str, events: _Events) -> None:
        with self._lock:
            self._followers.setdefault(name, []).append(events)
            if self._open:
                events.put(Changed())
            if not self._started:
                self._started = True
                threading.Thread(target=self._run, name=f"watch {self._path}", daemon=True).start()

    def remove(self, name: str, events: _Events) -> bool:
        """Returns whether nobody follows anything any more; the watch then ends with its next event or time-out."""
        with self._lock:
            self._followers[name].remove(events)
            if not self._followers[name]:
                del self._followers[name]
            return not self._followers

    def _run(self) -> None:
        pause = threading.Event()
        while self._followed():
            try:
                for event in self._server.watch(self._path, self._version, _WATCH_SECONDS):
                    self._handle(event)
                    if not self._followed():
                        return
            except ApiError as error:
                if error.is_forbidden or error.is_not_found:
                    self._tell_all(Broken(error))
                    return
                pause.wait(_RETRY_SECONDS)
            except UnreachableError:
                pause.wait(_RETRY_SECONDS)
            with self._lock:
                self._open = False
            # What happened meanwhile may be older than the server remembers: begin with what is there.
            self._version = None

    def _followed(self) -> bool:
        with self._lock:
            return bool(self._followers)

    def _handle(self, event: Object) -> None:
        kind, obj = event["type"], event.get("object") or {}
        if kind == "OPENED":
            with self._lock:
                self._open = True
            self._tell_all(Changed())
        elif kind == "DELETED":
            self._tell(objects.name(obj), Gone())
        elif kind in ("ADDED", "MODIFIED"):
            self._tell(objects.name(obj), obj)
        elif kind == "ERROR":
            self._tell_all(Changed())

    def _tell(self, name: str, event: Event) -> None:
        with self._lock:
            for events in self._followers.get(name, ()):
                events.put(event)

    def _tell_all(self, event: Event) -> None:
        with self._lock:
            for followers in self._followers.values():
                for events in followers:
                    events.put(event)


def next_event(events: "queue.SimpleQueue[Any]", seconds: float) -> Event | None:
    """Takes the next event; None when none comes in time."""
    try:
        return events.get(timeout=max(seconds, 0.0))
    except queue.Empty:
        return None
