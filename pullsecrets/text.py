"""Numbers with their nouns, and lists of names, as messages say them."""

from collections.abc import Iterable


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number and its noun: `1 Secret`, `3 Secrets`.

    Args:
        plural: for any other number; by default with an `s`.
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def listed(names: Iterable[str], most: int = 5) -> str:
    """Return names in one line, the first few of many: `a, b and 298 more`."""
    found = list(names)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more
