"""Accepted findings, from a file: each with a reason and the day on which it counts again."""

import difflib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, cast

import yaml

from pullsecrets import names
from pullsecrets.doctor.model import Finding
from pullsecrets.errors import BadInputError

_KEYS = {"check", "namespace", "registry", "reason", "until"}


@dataclass(frozen=True)
class Suppression:
    """One entry of the file."""

    check: str
    reason: str
    until: date
    """The last day on which it holds."""
    namespace: str | None = None
    """A name or a pattern; None for findings of any namespace and of the cluster."""
    registry: str | None = None
    """None for any."""

    def covers(self, found: Finding) -> bool:
        """Tell whether it accepts a finding."""
        return (
            found.check == self.check
            and (self.namespace is None or names.matches(found.namespace or "", [self.namespace]))
            and self.registry in {None, found.registry}
        )

    def __str__(self) -> str:
        """Name it, for messages."""
        where = [f"{key} {value}" for key in ("namespace", "registry") if (value := getattr(self, key))]
        return ", ".join([self.check, *where])


def read_suppressions(file: Path) -> tuple[Suppression, ...]:
    """Read a YAML file, a list of mappings with `check`, `reason`, `until`, and perhaps `namespace` and `registry`.

    Raises:
        BadInputError: with every entry that is not of that form.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"--suppress {file}: {error.strerror}; name a file that can be read") from None
    except (yaml.YAMLError, ValueError):
        raise BadInputError(f"--suppress {file}: not YAML in UTF-8") from None
    entries = cast("list[Any]", content if isinstance(content, list) else [] if content is None else [content])
    problems = [f"entry {number}: {text}" for number, entry in enumerate(entries, 1) for text in _problems(entry)]
    if problems:
        raise BadInputError("\n".join(f"--suppress {file}: {text}" for text in problems))
    return tuple(Suppression(**entry) for entry in entries)


def _problems(entry: Any) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield "found no mapping; allowed: check, reason, until, and perhaps namespace and registry"
        return
    fields = cast("dict[Any, Any]", entry)
    for key in fields.keys() - _KEYS:
        yield f"found key {key!r}; allowed: {', '.join(sorted(_KEYS))}"
    for key in ("check", "reason"):
        if not isinstance(fields.get(key), str) or not fields[key].strip():
            yield f"{key}: found no text; every finding that is accepted has a {key}"
    # A time of day is a date too.
    if type(fields.get("until")) is not date:
        yield "until: found no date; allowed: the last day on which it is accepted, such as 2027-01-31"
    for key in ("namespace", "registry"):
        if not isinstance(fields.get(key), str | None):
            yield f"{key}: found no text"


def stale(suppressions: Iterable[Suppression], checks: Collection[str], today: date) -> Iterator[str]:
    """Yield what is to be told of entries that suppress nothing any more: expired ones, and those of no check."""
    for item in suppressions:
        if item.check not in checks:
            alike = difflib.get_close_matches(item.check, checks, 1)
            yield f"{item}: no check has that name{f'; did you mean {alike[0]}?' if alike else ''}"
        elif item.until < today:
            yield f"{item}: accepted until {item.until} and no longer ({item.reason})"
