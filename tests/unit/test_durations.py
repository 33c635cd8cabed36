"""Durations are read and written as Go does."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets.durations import canonical_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("1h", "1h0m0s"), ("90m", "1h30m0s"), ("30m", "30m0s"), ("45s", "45s"), ("24h", "24h0m0s"), ("0s", "0s")],
)
def test_the_canonical_form_is_gos(text: str, canonical: str) -> None:
    assert canonical_duration(text) == canonical


@pytest.mark.parametrize("text", ["", "1", "h", "1d", "-1h", "1h 30m", "30m1h", "1.5h"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a duration such as 1h"):
        parse_duration(text)


@given(st.integers(0, 10**6))
def test_the_canonical_form_means_the_same(seconds: int) -> None:
    assert parse_duration(canonical_duration(f"{seconds}s")) == timedelta(seconds=seconds)
