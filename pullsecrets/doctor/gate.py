"""What a pipeline gates on: which checks run."""

import difflib
from collections.abc import Collection, Iterable

from pullsecrets.doctor.model import Check
from pullsecrets.errors import BadInputError


def choose(checks: Collection[Check], only: Iterable[str], skip: Iterable[str]) -> tuple[Check, ...]:
    """Return the checks that were asked for.

    Args:
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
