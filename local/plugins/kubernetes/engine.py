"""The engine's log, for what a user should read."""

import contextlib
import threading

import grpc
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc


class EngineLog:
    """Writes messages into the engine's output."""

    def __init__(self, address: str) -> None:
        """Connects, lazily, to the engine; without an address messages go nowhere."""
        self._stub: engine_pb2_grpc.EngineStub | None = None
        self._said: set[str] = set()
        self._lock = threading.Lock()
        self.connect(address)

    def connect(self, address: str) -> None:
        """Uses the engine at another address from now on."""
        self._stub = engine_pb2_grpc.EngineStub(grpc.insecure_channel(address)) if address else None

    def info(self, message: str, urn: str = "") -> None:
        """Says something worth knowing."""
        self._log(engine_pb2.INFO, message, urn)

    def warning(self, message: str, urn: str = "") -> None:
        """Says something that needs attention."""
        self._log(engine_pb2.WARNING, message, urn)

    def warning_once(self, message: str) -> None:
        """Says something that needs attention, the first time only."""
        with self._lock:
            known = message in self._said
            self._said.add(message)
        if not known:
            self.warning(message)

    def _log(self, severity: "engine_pb2.LogSeverity.ValueType", message: str, urn: str) -> None:
        if self._stub is None:
            return
        # An engine that no longer listens needs no message.
        with contextlib.suppress(grpc.RpcError):
            self._stub.Log(engine_pb2.LogRequest(severity=severity, message=message, urn=urn))
