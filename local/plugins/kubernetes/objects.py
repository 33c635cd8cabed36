"""Kubernetes objects as the plugin keeps them: inputs, live state and the state that the engine stores."""

import base64
import binascii
import copy
from typing import Any, NamedTuple

from local.plugins.kubernetes.kinds import Kind
from local.plugins.kubernetes.values import UNKNOWN, Object, Secret, has_secret, has_unknown

INPUTS = "__inputs"
INITIAL_API_VERSION = "__initialApiVersion"
FIELD_MANAGER = "__fieldManager"

_READ_ONLY_METADATA = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "uid",
)
# Fields that hold a map of texts: an empty one and none are the same to the server. An empty object elsewhere, as
# `podSelector: {}`, is not.
_TEXT_MAPS = frozenset({"annotations", "labels", "matchLabels", "nodeSelector", "data", "stringData", "binaryData"})

# Python programs cannot have dashes in property names, so the SDK writes underscores.
_DASHED = {
    name.replace("-", "_"): name
    for name in (
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-map-type",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations",
    )
}
_UNDERSCORED = {dashed: underscored for underscored, dashed in _DASHED.items()}


class Checkpoint(NamedTuple):
    """The state that the engine stores of an object."""

    inputs: Object
    live: Object


def kind_of(obj: Object) -> Kind:
    """The kind that an object names itself."""
    return Kind.of(_text(obj.get("apiVersion")), _text(obj.get("kind")))


def metadata(obj: Object) -> Object:
    """The object's metadata; an empty one when there is none, or when it is not known yet."""
    found = obj.get("metadata")
    return found if isinstance(found, dict) else {}


def name(obj: Object) -> str:
    """The object's name, empty when it has none or it is not known yet."""
    return _text(metadata(obj).get("name"))


def namespace(obj: Object) -> str:
    """The object's namespace, empty when it has none or it is not known yet."""
    return _text(metadata(obj).get("namespace"))


def annotation(obj: Object, key: str) -> str:
    """The value of an annotation, empty when there is none or it is not known yet."""
    annotations = metadata(obj).get("annotations")
    return _text(annotations.get(key)) if isinstance(annotations, dict) else ""


def identifier(obj: Object) -> str:
    """The resource's id: `namespace/name`, or the name alone."""
    return f"{namespace(obj)}/{name(obj)}" if namespace(obj) else name(obj)


def name_in(resource_id: str) -> tuple[str, str]:
    """The namespace, possibly empty, and the name in a resource's id."""
    first, separator, second = resource_id.partition("/")
    return (first, second) if separator else ("", first)


def set_metadata(obj: Object, key: str, value: Any) -> None:
    """Sets a field of the metadata; metadata that is not known yet stays so."""
    found = obj.setdefault("metadata", {})
    if isinstance(found, dict):
        found[key] = value


def set_annotation(obj: Object, key: str, value: str) -> None:
    """Sets an annotation; annotations that are not known yet stay so."""
    annotations = metadata(obj).get("annotations") or {}
    if isinstance(annotations, dict):
        set_metadata(obj, "annotations", annotations | {key: value})


def dashed(value: Any) -> Any:
    """A copy with the field names that the API server uses."""
    return _renamed(value, _DASHED)


def underscored(value: Any) -> Any:
    """A copy with the field names that programs use."""
    return _renamed(value, _UNDERSCORED)


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {names.get(key, key): _renamed(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    return value


def normalized(obj: Object) -> Object:
    """A copy in the form in which two inputs that mean the same are equal."""
    kind = kind_of(obj)
    if kind.is_built_in and not has_unknown(obj):
        if kind.is_secret:
            obj = _normalized_secret(obj)
        elif kind.is_definition:
            obj = _normalized_definition(obj)
        else:
            obj = _without_empty(obj)
    else:
        obj = dict(obj)
    if isinstance(obj.get("metadata"), dict):
        obj["metadata"] = {key: item for key, item in obj["metadata"].items() if key not in _READ_ONLY_METADATA}
    return obj


def _without_empty(value: Object) -> Object:
    kept: Object = {}
    for key, item in value.items():
        if item is None or item == [] or (item == {} and key in _TEXT_MAPS):
            continue
        if isinstance(item, dict):
            kept[key] = _without_empty(item)
        elif isinstance(item, list):
            kept[key] = [_without_empty(part) if isinstance(part, dict) else part for part in item]
        else:
            kept[key] = item
    return kept


def _normalized_secret(obj: Object) -> Object:
    """Does what the server does: `stringData` goes, encoded, into `data`, and `data` is encoded canonically."""
    texts = obj.get("stringData")
    data = {key: _canonical(value) for key, value in (obj.get("data") or {}).items()}
    result = {key: value for key, value in obj.items() if key != "stringData"}
    for key, value in (texts or {}).items():
        data[key] = base64.b64encode(str(value).encode()).decode()
    if data or "data" in obj:
        result["data"] = data
    return result


def _canonical(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64encode(base64.b64decode("".join(value.split()), validate=True)).decode()
    except binascii.Error:
        # The server refuses it and says so.
        return value


def _normalized_definition(obj: Object) -> Object:
    result = {key: value for key, value in obj.items() if key != "status"}
    spec = result.get("spec")
    if isinstance(spec, dict) and spec.get("preserveUnknownFields") is False:
        result["spec"] = {key: value for key, value in spec.items() if key != "preserveUnknownFields"}
    return result


def pruned(live: Any, shape: Any) -> Any:
    """The parts of `live` that `shape` has too: what the server added is no difference between program and cluster."""
    if isinstance(live, dict) and isinstance(shape, dict):
        return {key: pruned(value, shape[key]) for key, value in live.items() if key in shape}
    if isinstance(live, list) and isinstance(shape, list):
        if live and shape and type(live[0]) is not type(shape[0]):
            return copy.deepcopy(live)
        return [pruned(value, wanted) for value, wanted in zip(live, shape, strict=False)]
    return live


def with_secrets(value: Object, like: Object) -> Object:
    """A copy in which everything is secret that is so in `like`, and the content of every core Secret.

    Objects are marked field by field; a list is secret as a whole when anything in it is.
    """
    result = dict(value)
    if value.get("kind") == "Secret":
        for key in ("data", "stringData"):
            if key in result and not isinstance(result[key], Secret):
                result[key] = Secret(result[key])
        return result
    for key, model in like.items():
        if key not in result:
            continue
        found = result[key]
        if isinstance(found, dict) and isinstance(model, dict):
            result[key] = with_secrets(found, model)
        elif not isinstance(found, Secret) and has_secret(model):
            result[key] = Secret(found)
    return result


def state_of(inputs: Object, live: Object, like: Object, initial_api_version: str, field_manager: str) -> Object:
    """The properties that the engine stores.

    Args:
        inputs: what was applied, without secrets.
        live: what the server answered.
        like: the inputs with their secrets, as the model of what is secret.
        initial_api_version: the `apiVersion` that the object was created with.
        field_manager: the name under which the server knows the fields of this resource.
    """
    state = with_secrets(underscored(live), like)
    state[INPUTS] = with_secrets(underscored(inputs), like)
    state[INITIAL_API_VERSION] = initial_api_version
    state[FIELD_MANAGER] = field_manager
    return state


def checkpoint(state: Object) -> Checkpoint:
    """Takes a stored state, laid open, apart."""
    live = dashed(state)
    return Checkpoint(inputs=live.pop(INPUTS, None) or {}, live=live)


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value is not UNKNOWN else ""
