"""Forms of an audit for people and programs: plain words, JSON, CSV, one HTML page, OpenMetrics text."""

from collections.abc import Callable
from enum import StrEnum

from pullsecrets.coverage.audit import Audit
from pullsecrets.coverage.report import document, table

__all__ = ["Format", "render"]


class Format(StrEnum):
    """Forms in which an audit can be written."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"
    HTML = "html"
    OPENMETRICS = "openmetrics"


def render(found: Audit, form: Format, stack: str, cluster: str) -> str:
    """Return an audit in a form for programs or for a browser.

    Args:
        form: any but text, which is the command line's own.
    """
    return _renderer(form)(found, stack, cluster)


def _renderer(form: Format) -> Callable[[Audit, str, str], str]:
    # Page and metrics bring libraries that would slow down the start of every other command.
    match form:
        case Format.JSON:
            return document.render
        case Format.CSV:
            return table.render
        case Format.HTML:
            from pullsecrets.coverage.report import page  # noqa: PLC0415

            return page.render
        case Format.OPENMETRICS:
            from pullsecrets.coverage.report import metrics  # noqa: PLC0415

            return metrics.render
        case Format.TEXT:
            raise ValueError("text is written by the command line")
