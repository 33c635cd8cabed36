"""An audit as CSV: one line per namespace and registry, safe to open in a spreadsheet."""

import csv
import io

from pullsecrets.coverage.audit import Audit
from pullsecrets.coverage.rows import Coverage

COLUMNS = (
    "cluster",
    "stack",
    "namespace",
    "registry",
    "green",
    "pulled",
    "declared",
    "labelled",
    "ready",
    "secret",
    "typed",
    "digest",
    "seeded_digest",
    "proved",
    "binding",
    "bound",
    "unbound",
    "awaited",
    "faults",
)
# A cell that begins so is a formula to spreadsheets, and a failed sync's message is written by others.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}")


def render(found: Audit, stack: str, cluster: str) -> str:
    """Return the lines with a header, as RFC 4180 has them."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(COLUMNS)
    for row in found.rows:
        given = {"cluster": cluster, "stack": stack}
        writer.writerow([cell(given[column] if column in given else _value(row, column)) for column in COLUMNS])
    return stream.getvalue()


def cell(text: str) -> str:
    """Return a text that a spreadsheet shows and does not calculate."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def _value(row: Coverage, column: str) -> str:
    value = getattr(row, column)
    if isinstance(value, tuple):
        return "; ".join(str(item) for item in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
