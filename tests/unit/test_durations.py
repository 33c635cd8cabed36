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


@pytest.mark.parametrize("text", ["", "1", "h", "1d", "-1h", "1h 30m", "30m1h", "1.5h", "\u0661h"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a duration such as 1h"):
        parse_duration(text)


@pytest.mark.parametrize("text", [f"{'9' * 30}h", f"{'9' * 5000}s", "2562048h", "9999999999h9999999999m9999999999s"])
def test_what_go_cannot_count_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a duration such as 1h"):
        parse_duration(text)


def test_the_longest_that_go_counts_is_read() -> None:
    assert parse_duration("2562047h47m16s") == timedelta(seconds=(2**63 - 1) // 10**9)


@given(st.integers(0, 10**6))
def test_the_canonical_form_means_the_same(seconds: int) -> None:
    assert parse_duration(canonical_duration(f"{seconds}s")) == timedelta(seconds=seconds)
