"""The report of a fleet command, as one document for programs and one page for people."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from pullsecrets.coverage.report.document import as_text
from pullsecrets.errors import ExitCode
from pullsecrets.fleet.run import Result, State, counts
from pullsecrets.text import counted


class Format(StrEnum):
    """Forms in which it can be written."""

    TEXT = "text"
    JSON = "json"
    HTML = "html"


@dataclass(frozen=True)
class Report:
    """One run of a command over a fleet."""

    command: str
    results: Sequence[Result]
    exit_code: int
    seconds: float
    finished_at: datetime

    @property
    def headline(self) -> str:
        """One sentence that says how things stand."""
        found = counts(self.results)
        total = counted(len(self.results), "stack")
        good = sum(item.good for item in self.results)
        rest = [f"{number} {state}" for state, number in found.items() if state not in {State.DONE, State.BEFORE}]
        if not rest:
            return f"{self.command}: all of {total} done" if len(self.results) > 1 else f"{self.command}: done"
        return f"{self.command}: {good} of {total} done, {', '.join(rest)}"

    def document(self) -> dict[str, Any]:
        """Return it for other programs."""
        return {
            "command": self.command,
            "headline": self.headline,
            "exitCode": self.exit_code,
            "seconds": round(self.seconds, 2),
            "finishedAt": self.finished_at.isoformat(timespec="seconds"),
            "stacks": [_entry(item) for item in self.results],
        }

    def render(self, form: Format) -> str:
        """Return it in a form for programs or for a browser; text is the command line's own."""
        if form is Format.JSON:
            return json.dumps(self.document(), indent=2, sort_keys=True, default=as_text) + "\n"
        # It brings a library that would slow down the start of every other command.
        from pullsecrets.coverage.report.page import fill  # noqa: PLC0415

        return fill("pullsecrets.fleet", "fleet.html.jinja", report=self, tone="good" if not self.exit_code else "bad")


def _entry(item: Result) -> dict[str, Any]:
    return {
        "stack": item.stack,
        "wave": item.wave,
        "cluster": item.cluster,
        "state": str(item.state),
        "exitCode": None if item.code is None else int(ExitCode(item.code)),
        "summary": item.summary,
        "problems": list(item.problems),
        "seconds": round(item.seconds, 2),
        "detail": dict(item.detail),
    }
