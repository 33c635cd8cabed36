"""Every check of doctor, one per file; a file that stands here is a check."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from pullsecrets.doctor.model import Check


@cache
def all_checks() -> tuple[Check, ...]:
    """Return every check, sorted by name."""
    return tuple(module.CHECK for module in modules())


def modules() -> tuple[ModuleType, ...]:
    """Return the module of every check, sorted by name; its docstring is the check's page in docs/diagnoses.md."""
    return tuple(import_module(f"{__name__}.{name}") for name in sorted(item.name for item in iter_modules(__path__)))
