"""Numbers agree with their nouns."""

import pytest

from pullsecrets.text import counted


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (counted(0, "Secret"), "0 Secrets"),
        (counted(1, "Secret"), "1 Secret"),
        (counted(2, "Secret"), "2 Secrets"),
        (counted(1, "entry", "entries"), "1 entry"),
        (counted(3, "entry", "entries"), "3 entries"),
    ],
)
def test_one_is_singular_and_any_other_number_plural(told: str, expected: str) -> None:
    assert told == expected
