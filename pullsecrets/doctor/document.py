"""Writes docs/diagnoses.md from the checks themselves.

Run as `python -m pullsecrets.doctor.document` to write it, with `--check` to fail when it is not what would be written.
"""

import sys
from pathlib import Path

from pullsecrets.doctor.checks import all_checks
from pullsecrets.doctor.model import Check, Phase
from pullsecrets.files import keep_page

TARGET = Path(__file__).resolve().parents[2] / "docs" / "diagnoses.md"

_INTRODUCTION = """\
<!-- Written by `make docs` from the checks themselves; change those, not this file. -->
# Diagnoses

What `pull-secrets doctor` checks, by the name of the fault, the stable code of its findings in every format.
Each finding has its evidence and the commands that fix it; this page says what each check judges, and what it explains:
those findings are listed below it and not as separate causes.
"""


def document() -> str:
    """Return the whole page."""
    rows = [f"| [{check.name}](#{check.name}) | {check.title} |" for check in all_checks()]
    table = "\n".join(["| fault | healthy when |", "|---|---|", *rows])
    return "\n".join([_INTRODUCTION, table, "", *map(_section, all_checks())])


def _section(check: Check) -> str:
    explains = (
        [f"Explains: {', '.join(f'[{name}](#{name})' for name in check.explains)}.", ""] if check.explains else []
    )
    phase = [] if check.phase is Phase.RUNNING else [f"Looked for {check.phase.value} (`--pre`).", ""]
    return "\n".join([f"## {check.name}", "", check.page, "", *phase, *explains])


def main(arguments: list[str]) -> int:
    """Write the page, or check it."""
    return keep_page(TARGET, document(), "the checks", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
