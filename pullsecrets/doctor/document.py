"""Writes docs/diagnoses.md from the checks themselves.

Run as `python -m pullsecrets.doctor.document` to write it, with `--check` to fail when it is not what would be written.
"""

import sys
from inspect import cleandoc
from pathlib import Path
from types import ModuleType

from pullsecrets.doctor.checks import modules
from pullsecrets.doctor.model import Check
from pullsecrets.files import keep_page

TARGET = Path(__file__).resolve().parents[2] / "docs" / "diagnoses.md"

_INTRODUCTION = """\
<!-- Written by `make docs` from the checks themselves; change those, not this file. -->
# Diagnoses

What `pull-secrets doctor` looks for, by the name of the fault. Each finding has its evidence and the commands that put
it right; here is what each check judges, and what it explains: those findings are shown below it and not as causes of
their own.
"""


def document() -> str:
    """Return the whole page."""
    pairs = [(module.CHECK, module) for module in modules()]
    rows = [f"| [{check.name}](#{check.name}) | {check.title} |" for check, _ in pairs]
    table = "\n".join(["| fault | healthy when |", "|---|---|", *rows])
    return "\n".join([_INTRODUCTION, table, "", *(_section(check, module) for check, module in pairs)])


def _section(check: Check, module: ModuleType) -> str:
    explains = (
        [f"Explains: {', '.join(f'[{name}](#{name})' for name in check.explains)}.", ""] if check.explains else []
    )
    return "\n".join([f"## {check.name}", "", cleandoc(module.__doc__ or ""), "", *explains])


def main(arguments: list[str]) -> int:
    """Write the page, or check it."""
    return keep_page(TARGET, document(), "the checks", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
