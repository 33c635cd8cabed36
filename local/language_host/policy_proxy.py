"""Stands between the engine and a policy pack until the stack's configuration is known.

A pack reads project, stack and config from its environment when it starts, but the engine tells them only over an
Analyzer connection. So the engine is given this proxy's port. It answers the opening requests itself; once the pack
runs it closes that connection, and the one that the engine then opens leads to the pack, byte by byte.
"""

import contextlib
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc

_SERVICE = "/pulumirpc.Analyzer/"
_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_CHUNK = 1 << 16
# For the answer that waits for the pack.
_GRACE_SECONDS = 30.0
_LOOPBACK = "127.0.0.1"
_Configuration = analyzer_pb2.AnalyzerStackConfigureRequest


class PolicyProxy(grpc.GenericRpcHandler):
    """An Analyzer service that answers the opening requests and leads all later ones to the pack."""

    def __init__(self) -> None:
        """Starts to serve on a free loopback port, `port`."""
        self._configuration: Future[_Configuration | None] = Future()
        self._pack: Future[grpc.Channel] = Future()
        self._lock = threading.Lock()
        self._opening = grpc.server(ThreadPoolExecutor(max_workers=16), options=_UNLIMITED)
        self._opening.add_generic_rpc_handlers((self,))
        self._target = self._opening.add_insecure_port(f"{_LOOPBACK}:0")
        self._opening.start()
        self._listener = socket.create_server((_LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def configuration(self) -> "_Configuration | None":
        """Waits for the stack's configuration; None when the engine asks for something else first."""
        return self._configuration.result()

    def attach(self, port: int) -> None:
        """Hands the pack the configuration and leads the engine to it."""
        channel = grpc.insecure_channel(f"{_LOOPBACK}:{port}", options=_UNLIMITED)
        configuration = self.configuration()
        if configuration is not None:
            try:
                analyzer_pb2_grpc.AnalyzerStub(channel).ConfigureStack(configuration)
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNIMPLEMENTED:  # type: ignore[attr-defined]
                    self.fail(f"the policy pack refused the stack's configuration: {error.details()}")  # type: ignore[attr-defined]
                    raise
        self._target = port
        # Its goodbye comes before the answer that the engine waits for, so the engine's next request connects anew.
        self._opening.stop(grace=_GRACE_SECONDS)
        self._pack.set_result(channel)

    def fail(self, reason: str) -> None:
        """Ends waiting requests with `reason`."""
        self._configure(None)
        if not self._pack.done():
            self._pack.set_exception(RuntimeError(reason))

    def close(self) -> None:
        """Stops serving."""
        self.fail("the policy pack has ended")
        self._opening.stop(grace=None)
        # Wakes the thread that accepts.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler | None:
        """Picks the handler of one request; all methods of the service are unary."""
        method: str = handler_call_details.method
        if method == f"{_SERVICE}Handshake":
            return grpc.unary_unary_rpc_method_handler(
                lambda _request, _context: analyzer_pb2.AnalyzerHandshakeResponse().SerializeToString()
            )
        if method == f"{_SERVICE}ConfigureStack":
            return grpc.unary_unary_rpc_method_handler(
                self._configure_stack, request_deserializer=_Configuration.FromString
            )
        return grpc.unary_unary_rpc_method_handler(self._forward(method)) if method.startswith(_SERVICE) else None

    def _configure_stack(self, request: "_Configuration", context: grpc.ServicerContext) -> bytes:
        self._configure(request)
        self._attached(context)
        return analyzer_pb2.AnalyzerStackConfigureResponse().SerializeToString()

    def _configure(self, configuration: "_Configuration | None") -> None:
        with self._lock:
            if not self._configuration.done():
                self._configuration.set_result(configuration)

    def _forward(self, method: str) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def handle(request: bytes, context: grpc.ServicerContext) -> bytes:
            self._configure(None)
            try:
                return self._attached(context).unary_unary(method)(request)
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())  # type: ignore[attr-defined]
            raise AssertionError("abort raises")

        return handle

    def _attached(self, context: grpc.ServicerContext) -> grpc.Channel:
        try:
            return self._pack.result()
        except RuntimeError as error:
            context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        raise AssertionError("abort raises")

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                engine, _ = self._listener.accept()
                pack = socket.create_connection((_LOOPBACK, self._target))
                for source, sink in ((engine, pack), (pack, engine)):
                    threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Hands on what one end sends until it is done, and then tells the other."""
    sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
