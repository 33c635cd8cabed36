"""Label selectors of the Kubernetes API, read from their text and judged against labels that were read."""

import re
from collections.abc import Mapping
from typing import Any, cast

from pullsecrets.errors import BadInputError

_EQUALITY = re.compile(r"(?P<key>[^\s=!,()]+)\s*(?P<operator>!=|==?)\s*(?P<value>[^\s=!,()]*)")
_SET = re.compile(r"(?P<key>[^\s=!,()]+)\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)")
_ABSENCE = re.compile(r"!\s*(?P<key>[^\s=!,()]+)")
_BETWEEN = re.compile(r",(?![^(]*\))")
"""A comma outside parentheses."""


def parts(text: str) -> list[str]:
    """Split what commas join, but for the commas of a list of values in parentheses."""
    return [part.strip() for part in _BETWEEN.split(text)]


def requirement(text: str) -> dict[str, Any] | None:
    """Return one requirement of a selector's text as an item of `matchExpressions`; None for a word without operator.

    As kubectl reads them: `key=value`, `key==value`, `key!=value`, `key in (a, b)`, `key notin (a, b)` and `!key`
    (https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors).

    Raises:
        BadInputError: when it has an operator and is none of these.
    """
    if found := _EQUALITY.fullmatch(text):
        operator = "NotIn" if found["operator"] == "!=" else "In"
        return {"key": found["key"], "operator": operator, "values": [found["value"]]}
    if found := _SET.fullmatch(text):
        operator = "In" if found["operator"] == "in" else "NotIn"
        return {"key": found["key"], "operator": operator, "values": parts(found["values"])}
    if found := _ABSENCE.fullmatch(text):
        return {"key": found["key"], "operator": "DoesNotExist"}
    if text and not re.search(r"[\s=!(),]", text):
        return None
    raise BadInputError(
        f"{text!r} is no selector; allowed: key=value, key!=value, key in (a, b), key notin (a, b), !key"
    )


def selects(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Tell whether a LabelSelector selects an object; an empty one selects everything, None nothing."""
    if selector is None:
        return False
    wanted = cast("dict[str, str]", selector.get("matchLabels") or {})
    expressions = cast("list[dict[str, Any]]", selector.get("matchExpressions") or [])
    return wanted.items() <= labels.items() and all(_holds(expression, labels) for expression in expressions)


def written(labels: Mapping[str, str], between: str = ",") -> str:
    """Return labels as `kubectl --selector` and the API server take them; with a space between, as `kubectl label`."""
    return between.join(f"{key}={value}" for key, value in sorted(labels.items()))


def by_name(name: str, *conditions: str) -> dict[str, str]:
    """Return the query for the objects of a name, with further conditions on their fields such as `type!=Opaque`."""
    return {"fieldSelector": ",".join((f"metadata.name={name}", *conditions))}


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value = labels.get(expression["key"])
    values = cast("list[str]", expression.get("values") or [])
    return {
        "In": value is not None and value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }[expression["operator"]]
