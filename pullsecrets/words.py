"""Numbers with their nouns, as messages say them."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number and its noun: `1 Secret`, `3 Secrets`.

    Args:
        number: how many.
        noun: for one of them.
        plural: for any other number; by default with an `s`.
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
