"""Every check of doctor, one file per subject; what `check` decorates in a file that stands here is a check."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from pullsecrets.doctor.model import Check


@cache
def all_checks() -> tuple[Check, ...]:
    """Return every check, sorted by name."""
    modules = [import_module(f"{__name__}.{item.name}") for item in iter_modules(__path__)]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Check)]
    return tuple(sorted(found, key=lambda check: check.name))
