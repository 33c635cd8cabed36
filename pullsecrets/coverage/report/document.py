"""An audit as one JSON document, for other programs."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

from pullsecrets.coverage.audit import Audit
from pullsecrets.coverage.report.summary import actions, headline, removal


def render(found: Audit, stack: str, cluster: str) -> str:
    """Return the document as text."""
    return json.dumps(build(found, stack, cluster), indent=2, sort_keys=True, default=as_text) + "\n"


def build(found: Audit, stack: str, cluster: str) -> dict[str, Any]:
    """Return what the document holds."""
    rows = [{**asdict(row), "proved": row.proved, "green": row.green, "faults": row.faults} for row in found.rows]
    return {
        **asdict(found),
        "stack": stack,
        "cluster": cluster,
        "green": found.green,
        "warnings": found.warnings,
        "headline": headline(found),
        "actions": actions(found, stack),
        "totals": [asdict(item) for item in found.totals()],
        "rows": rows,
        "orphans": [{**asdict(item), "fix": removal(item, stack)} for item in found.orphans],
    }


def as_text(value: object) -> str:
    """Return what JSON has no form for as text: a time.

    Raises:
        TypeError: when it is anything else.
    """
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    raise TypeError(f"{type(value).__name__} has no form in JSON")
