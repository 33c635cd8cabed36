"""Turns failures of requests into the engine's errors, without any secret of the request in their text."""

import base64
import binascii
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf import any_pb2, struct_pb2
from pulumi.runtime.proto import provider_pb2, status_pb2

from local.plugins.kubernetes import objects
from local.plugins.kubernetes.api import ApiError, NotServedError, UnreachableError
from local.plugins.kubernetes.kubeconfig import KubeconfigError
from local.plugins.kubernetes.naming import AutonamingDisabledError
from local.plugins.kubernetes.operations import ConflictError, ExistsError
from local.plugins.kubernetes.settings import SettingsError
from local.plugins.kubernetes.values import Object, from_struct, secret_texts, to_struct
from local.plugins.kubernetes.waiting import ExpressionError

# Shorter secrets would blot out ordinary words of a message.
_SHORTEST_SECRET = 4
_EXPECTED = (
    ApiError,
    AutonamingDisabledError,
    ConflictError,
    ExistsError,
    ExpressionError,
    KubeconfigError,
    NotServedError,
    SettingsError,
    UnreachableError,
    ValueError,
)
_Method = TypeVar("_Method", bound=Callable[..., Any])


class RequestError(Exception):
    """A request that fails with a message and, when the object was changed all the same, its state."""

    def __init__(self, message: str, identifier: str = "", state: Object | None = None) -> None:
        """Keeps what the engine stores in spite of the failure."""
        super().__init__(message)
        self.identifier = identifier
        self.state = state


def reported(method: _Method) -> _Method:
    """Decorates a method of a service so that its expected failures become gRPC errors."""

    @functools.wraps(method)
    def answer(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except RequestError as failure:
            _abort(context, failure, hidden_texts(request))
        except _EXPECTED as failure:
            _abort(context, RequestError(str(failure)), hidden_texts(request))

    return answer  # type: ignore[return-value]


def hidden_texts(request: Any) -> set[str]:
    """Every secret text in a request, as it is and decoded, so that no error repeats it."""
    texts: set[str] = set()
    for name in ("properties", "news", "olds", "inputs"):
        struct = getattr(request, name, None)
        if isinstance(struct, struct_pb2.Struct):
            given = from_struct(struct)
            texts.update(secret_texts(objects.with_secrets(given, {})), secret_texts(given))
    return {part for text in texts for part in (text, *_decoded(text)) if len(part) >= _SHORTEST_SECRET}


def _decoded(text: str) -> Iterator[str]:
    try:
        yield base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return


def _abort(context: grpc.ServicerContext, failure: RequestError, hidden: Iterable[str]) -> NoReturn:
    message = str(failure)
    for text in sorted(hidden, key=len, reverse=True):
        message = message.replace(text, "[secret]")
    if failure.state is not None:
        detail = provider_pb2.ErrorResourceInitFailed(
            id=failure.identifier, properties=to_struct(failure.state), reasons=[message]
        )
        packed = any_pb2.Any()
        packed.Pack(detail)
        code = grpc.StatusCode.UNKNOWN.value[0]
        status = status_pb2.Status(code=code, message=message, details=[packed])
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(grpc.StatusCode.UNKNOWN, message)
    raise AssertionError("abort raises")
