"""What a person wants to see of a long `pulumi up`: what changed, what failed, and what it came to."""

import re
from collections import Counter
from collections.abc import Iterator

_MOST_ONE_BY_ONE = 12
# A resource that is done; lines of the same look tell that one has begun, and are no change yet.
_DONE = re.compile(
    r"^ *[-+~<>]+ +(?P<type>\S+) (?P<name>\S+) (?P<what>(?:created|updated|deleted|replaced|imported|read)\b)"
)
# Pulumi ends with these sections, each under its heading.
_SECTION = re.compile(r"^(Policies|Diagnostics|Outputs|Resources|Duration):")
_KEPT = frozenset({"Policies", "Diagnostics", "Resources"})


def summary(printed: str) -> str:
    """Return the changes, one by one or, where they are many, counted by type, and the sections that Pulumi ends with.

    Args:
        printed: the output of `pulumi up` or `pulumi preview` outside of a terminal.
    """
    lines = printed.splitlines()
    return "\n".join([*_changes(lines), *_sections(lines)])


def _changes(lines: list[str]) -> list[str]:
    done = [found for line in lines if (found := _DONE.match(line))]
    if len(done) <= _MOST_ONE_BY_ONE:
        return [f"{change['what']} {change['type']} {change['name']}" for change in done]
    counted = Counter(f"{change['what']} {change['type']}" for change in done)
    return [f"{number:4} {what}" for what, number in sorted(counted.items())]


def _sections(lines: list[str]) -> Iterator[str]:
    kept = False
    for line in lines:
        if heading := _SECTION.match(line):
            kept = heading[1] in _KEPT
        if kept and line.strip():
            yield line
