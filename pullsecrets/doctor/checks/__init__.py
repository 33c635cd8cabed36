"""Every check of doctor, one file per subject; what `check` decorates in a file that stands here is a check."""

import difflib
from collections.abc import Collection, Iterable
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from pullsecrets.doctor.model import Check, Phase
from pullsecrets.errors import BadInputError


@cache
def all_checks() -> tuple[Check, ...]:
    """Return every check, sorted by name."""
    modules = [import_module(f"{__name__}.{item.name}") for item in iter_modules(__path__)]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Check)]
    return tuple(sorted(found, key=lambda check: check.name))


def checks_of(phase: Phase) -> tuple[Check, ...]:
    """Return the checks that can look in a phase, sorted by name."""
    return tuple(check for check in all_checks() if check.phase in {phase, Phase.ALWAYS})


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
