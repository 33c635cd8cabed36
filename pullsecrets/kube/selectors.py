"""Label selectors of the Kubernetes API, judged against labels that were read."""

from collections.abc import Mapping
from typing import Any, cast


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


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value = labels.get(expression["key"])
    values = cast("list[str]", expression.get("values") or [])
    return {
        "In": value is not None and value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }[expression["operator"]]
