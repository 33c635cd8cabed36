"""An audit as one self-contained HTML page that a manager can read; what it shows is escaped by the template engine."""

import re
from base64 import b64encode
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from hashlib import sha256
from typing import Any, cast

from jinja2 import BaseLoader, ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from pullsecrets.coverage.audit import Audit
from pullsecrets.coverage.report.summary import actions, expires_soon, headline, removal
from pullsecrets.kube.marks import PULL_SECRET_TYPE

MOST_CAUSES = 5
_COMMAND = re.compile(r"`([^`]*)`")


@dataclass(frozen=True)
class Headline:
    """The numbers at the top of the page."""

    namespaces: int
    covered: int
    delivered_percent: str
    fewest_days: int | None
    """Days until the first credential expires."""


def render(found: Audit, stack: str, cluster: str) -> str:
    """Return the page."""
    exceptions = [row for row in found.rows if not row.green]
    causes = Counter(row.faults[0] for row in exceptions).most_common(MOST_CAUSES)
    return fill(
        "pullsecrets.coverage.report",
        "page.html.jinja",
        audit=found,
        stack=stack,
        cluster=cluster,
        numbers=_numbers(found),
        headline=headline(found),
        actions=actions(found, stack),
        totals=[(item, _percent(item.green, item.expected)) for item in found.totals()],
        credentials={item.registry: (item, expires_soon(item, found)) for item in found.credentials},
        removal=removal,
        exceptions=exceptions,
        causes=causes,
        other_causes=len(exceptions) - sum(count for _, count in causes),
        pull_secret_type=PULL_SECRET_TYPE,
    )


def fill(package: str, template: str, **values: object) -> str:
    """Return a page of a package's template, which extends `base.html.jinja`.

    Args:
        package: where the template is.
        template: its name.
        values: what it shows, escaped wherever it stands.
    """
    environment = _environment(package)
    loader = cast("BaseLoader", environment.loader)
    script, _, _ = loader.get_source(environment, "page.js")
    return environment.get_template(template).render(
        **values,
        script=Markup(script),  # noqa: S704 - our own file
        script_hash=b64encode(sha256(script.encode()).digest()).decode(),
    )


def _numbers(found: Audit) -> Headline:
    namespaces = {row.namespace for row in found.rows}
    covered = namespaces - {row.namespace for row in found.rows if not row.green}
    left = [(item.expires_at - found.finished_at).days for item in found.credentials if item.expires_at]
    delivered = _percent(sum(row.green for row in found.rows), len(found.rows))
    return Headline(len(namespaces), len(covered), delivered, min(left, default=None))


def _percent(part: int, whole: int) -> str:
    """Return a percentage that says 100 only when nothing is missing."""
    if part == whole:
        return "100"
    return f"{min(part / whole * 100, 99.9):.1f}" if part else "0"


def _commands(text: str) -> Markup:
    """Show what stands between backquotes as code; everything else is escaped."""
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part)
        for index, part in enumerate(_COMMAND.split(text))
    )


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d}" if moment else ""


@cache
def _environment(package: str) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, ""), PackageLoader("pullsecrets.coverage.report", "")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = cast("dict[str, Any]", environment.filters)  # pyright: ignore[reportUnknownMemberType]
    filters.update({"commands": _commands, "day": _day})
    return environment
