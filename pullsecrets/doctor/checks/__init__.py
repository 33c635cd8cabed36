"""Every check of doctor, one file per subject; what `check` decorates in a file that stands here is a check."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from pullsecrets.doctor.model import Check, Phase


@cache
def all_checks() -> tuple[Check, ...]:
    """Return every check, sorted by name."""
    modules = [import_module(f"{__name__}.{item.name}") for item in iter_modules(__path__)]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Check)]
    return tuple(sorted(found, key=lambda check: check.name))


def checks_of(phase: Phase) -> tuple[Check, ...]:
    """Return the checks that can look in a phase, sorted by name."""
    return tuple(check for check in all_checks() if check.phase in {phase, Phase.ALWAYS})
