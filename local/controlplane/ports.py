"""Free loopback ports for the components, kept from one start to the next unless something else took them."""

from __future__ import annotations

import json
import random
import socket
from typing import TYPE_CHECKING

from local.controlplane.files import write_private

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

# Below the range that Linux and macOS give to outgoing connections, so that no client grabs a port between two starts.
_CHOICES = range(20000, 32000)


class NoFreePort(Exception):  # noqa: N818 - a state of the machine
    """No port of the range is free."""


class Ports:
    """Which port each listener has."""

    def __init__(self, file: Path, listeners: Mapping[str, Sequence[str]]) -> None:
        """Read the ports of the last start.

        Args:
            file: where they are kept.
            listeners: for each component the names of what it listens on.
        """
        self._file = file
        self._listeners = listeners
        self._ports = self._read()

    def __getitem__(self, listener: str) -> int:
        """Return the port of a listener; call `settle` before."""
        return self._ports[listener]

    def of(self, component: str) -> dict[str, int]:
        """Return all ports of a component by listener."""
        return {name: self._ports[name] for name in self._listeners[component] if name in self._ports}

    def complete(self) -> bool:
        """Tell whether every listener has a port."""
        return all(listener in self._ports for listeners in self._listeners.values() for listener in listeners)

    def settle(self, running: Collection[str]) -> None:
        """Give every listener a port: the one that it had while it is free or its component runs, else another.

        Args:
            running: components whose ports are in use by themselves.
        """
        for component, listeners in self._listeners.items():
            for listener in listeners:
                port = self._ports.get(listener)
                if component in running and port is not None:
                    continue
                if port is None or not is_free(port):
                    self._ports[listener] = self._choose()
        self._write()

    def renew(self, component: str) -> None:
        """Give all listeners of a component another port, after something else took one between choice and start."""
        for listener in self._listeners[component]:
            self._ports[listener] = self._choose()
        self._write()

    def _choose(self) -> int:
        taken = set(self._ports.values())
        # Random, so that two copies that start together seldom choose the same.
        for port in random.sample(_CHOICES, len(_CHOICES)):
            if port not in taken and is_free(port):
                return port
        raise NoFreePort(f"no free port on 127.0.0.1 from {_CHOICES.start} to {_CHOICES.stop - 1}: end what uses them")

    def _read(self) -> dict[str, int]:
        known = {name for listeners in self._listeners.values() for name in listeners}
        try:
            kept = json.loads(self._file.read_text())
            return {name: int(port) for name, port in kept.items() if name in known}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def _write(self) -> None:
        write_private(self._file, json.dumps(self._ports, indent=2) + "\n")


def is_free(port: int) -> bool:
    """Tell whether nothing listens on a port of 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do, so that connections that linger after a stop do not make the port look taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
