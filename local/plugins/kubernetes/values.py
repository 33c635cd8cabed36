"""Converts the engine's property values to plain Python ones and back, keeping what is unknown or secret apart."""

from collections.abc import Iterator
from typing import Any

from google.protobuf import struct_pb2

Object = dict[str, Any]

# The engine's wire format marks values that JSON has no words for with these constants.
_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105
_OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
_UNKNOWN_STRINGS = frozenset(
    {
        "04da6b54-80e4-46f7-96ec-b56ff0331ba9",  # string, and what SDKs send for any type
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # boolean
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # number
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # array
        "030794c1-ac77-496b-92df-f27374a8bd58",  # asset
        "e48ece36-62e2-4504-bad9-02848725956a",  # archive
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # object
    }
)
_UNKNOWN_STRING = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


class _Unknown:
    """The one value that stands for all that is not known yet."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = _Unknown()


class Secret:
    """A value that the engine encrypts and never shows."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        """Wraps a value."""
        self.value = value

    def __repr__(self) -> str:
        """Hides the value."""
        return "Secret(...)"

    def __eq__(self, other: object) -> bool:
        """Compares by value."""
        return isinstance(other, Secret) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]


def from_struct(struct: struct_pb2.Struct) -> Object:
    """Converts the properties of a request."""
    return {key: from_value(value) for key, value in struct.fields.items()}


def from_value(value: struct_pb2.Value) -> Any:  # noqa: PLR0911 - one per kind of value
    """Converts one property: integral numbers become int, marked objects `Secret`, marked strings `UNKNOWN`."""
    match value.WhichOneof("kind"):
        case "string_value":
            text = value.string_value
            return UNKNOWN if text in _UNKNOWN_STRINGS else text
        case "struct_value":
            fields = value.struct_value.fields
            if _SIGNATURE in fields:
                return _from_marked(fields)
            return {key: from_value(item) for key, item in fields.items()}
        case "list_value":
            return [from_value(item) for item in value.list_value.values]
        case "bool_value":
            return value.bool_value
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case _:
            return None


def _from_marked(fields: Any) -> Any:
    mark = fields[_SIGNATURE].string_value
    if mark == _SECRET:
        return Secret(from_value(fields["value"]))
    if mark == _OUTPUT:
        inner = from_value(fields["value"]) if "value" in fields else UNKNOWN
        return Secret(inner) if fields["secret"].bool_value else inner
    raise ValueError("assets, archives and resource references are no part of Kubernetes objects")


def to_struct(properties: Object) -> struct_pb2.Struct:
    """Converts properties for an answer."""
    struct = struct_pb2.Struct()
    fields = struct.fields
    for key, value in properties.items():
        _fill(fields[key], value)
    return struct


def _fill(target: struct_pb2.Value, value: Any) -> None:
    if isinstance(value, str):
        target.string_value = value
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, dict):
        # An empty object is one too: touching the field makes it so.
        fields = target.struct_value.fields
        target.struct_value.SetInParent()
        for key, item in value.items():
            _fill(fields[key], item)
    elif isinstance(value, list):
        values = target.list_value.values
        target.list_value.SetInParent()
        for item in value:
            _fill(values.add(), item)
    elif isinstance(value, int | float):
        target.number_value = value
    elif isinstance(value, Secret):
        fields = target.struct_value.fields
        fields[_SIGNATURE].string_value = _SECRET
        _fill(fields["value"], value.value)
    elif value is UNKNOWN:
        target.string_value = _UNKNOWN_STRING
    else:
        target.null_value = struct_pb2.NULL_VALUE


def without_secrets(value: Any) -> Any:
    """A copy with every secret laid open, for the API server."""
    if isinstance(value, dict):
        return {key: without_secrets(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_secrets(item) for item in value]
    return without_secrets(value.value) if isinstance(value, Secret) else value


def has_unknown(value: Any) -> bool:
    """Whether anything in `value` is not known yet."""
    if isinstance(value, dict):
        return any(map(has_unknown, value.values()))
    if isinstance(value, list):
        return any(map(has_unknown, value))
    return value is UNKNOWN or (isinstance(value, Secret) and has_unknown(value.value))


def has_secret(value: Any) -> bool:
    """Whether anything in `value` is secret."""
    if isinstance(value, dict):
        return any(map(has_secret, value.values()))
    if isinstance(value, list):
        return any(map(has_secret, value))
    return isinstance(value, Secret)


def secret_texts(value: Any, *, inside: bool = False) -> Iterator[str]:
    """The texts that are secret, to be kept out of messages."""
    if isinstance(value, Secret):
        yield from secret_texts(value.value, inside=True)
    elif isinstance(value, dict):
        for item in value.values():
            yield from secret_texts(item, inside=inside)
    elif isinstance(value, list):
        for item in value:
            yield from secret_texts(item, inside=inside)
    elif inside and isinstance(value, str) and value:
        yield value
