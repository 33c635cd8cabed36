"""What a pipeline gates on: which checks run, what severity fails, and how long is waited until they pass."""

import difflib
import time
from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from pullsecrets.doctor.model import Check
from pullsecrets.errors import BadInputError

PAUSE_SECONDS = 1.0

Value = TypeVar("Value")


def choose(checks: Collection[Check], only: Iterable[str], skip: Iterable[str]) -> tuple[Check, ...]:
    """Return the checks that were asked for.

    Args:
        checks: those that there are.
        only: names of those to run; all when empty.
        skip: names of those to leave out.

    Raises:
        BadInputError: with each name that no check has, and one that is like it.
    """
    wanted, unwanted = tuple(only), set(skip)
    known = [check.name for check in checks]
    problems = [
        _unknown(option, name, known)
        for option, names in (("--only", wanted), ("--skip", unwanted))
        for name in names
        if name not in known
    ]
    if problems:
        raise BadInputError("\n".join(problems))
    return tuple(check for check in checks if (not wanted or check.name in wanted) and check.name not in unwanted)


def _unknown(option: str, name: str, known: Collection[str]) -> str:
    alike = difflib.get_close_matches(name, known, 1)
    return (
        f"{option}: found {name!r}; allowed: a check's name{f', such as {alike[0]}' if alike else ''} "
        "(`pull-secrets doctor --list`)"
    )


def look_until(
    look: Callable[[], Value], done: Callable[[Value], bool], seconds: float, pause: float = PAUSE_SECONDS
) -> Value:
    """Look again and again until it is done or the time is up; return what was seen last."""
    deadline = time.monotonic() + seconds
    while not done(found := look()) and time.monotonic() + pause <= deadline:
        time.sleep(pause)
    return found
