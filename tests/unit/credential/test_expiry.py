"""An expiry is a moment to come, given as a time, a date or a span, and recorded in one form."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets.credential.expiry import format_expiry, parse_expiry, read_expiry
from pullsecrets.errors import BadInputError

NOW = datetime(2027, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "within", "expected"),
    [
        (None, None, None),
        ("2027-01-31", None, "2027-01-31T00:00:00Z"),
        ("2027-01-31T12:30:00Z", None, "2027-01-31T12:30:00Z"),
        ("2027-01-31t12:30:00z", None, "2027-01-31T12:30:00Z"),
        ("2027-01-31 12:30:00.75+02:00", None, "2027-01-31T10:30:00Z"),
        (None, "90d", "2027-04-01T12:00:00Z"),
        (None, "12h", "2027-01-02T00:00:00Z"),
        (None, "1w", "2027-01-08T12:00:00Z"),
    ],
)
def test_an_expiry_is_recorded_in_one_form(at: str | None, within: str | None, expected: str | None) -> None:
    found = parse_expiry(at, within, NOW)
    assert (format_expiry(found) if found else None) == expected


@pytest.mark.parametrize(
    ("at", "within", "expected"),
    [
        ("2027-01-31", "90d", "found both"),
        ("2027-01-01", None, "--expires-at: found '2027-01-01', which is past"),
        ("2026-12-31T23:59:59Z", None, "which is past"),
        (None, "0d", "--expires-in: found '0d', which is past"),
        ("2027-02-30", None, "allowed: a time with its zone"),
        ("2027-01-31T12:30:00", None, "allowed: a time with its zone"),
        ("0001-01-01T00:00:00+14:00", None, "allowed: a time with its zone"),
        ("20270131", None, "allowed: a time with its zone"),
        ("soon", None, "allowed: a time with its zone"),
        (None, "90", "allowed: hours, days or weeks"),
        (None, "-1d", "allowed: hours, days or weeks"),
        (None, "3m", "allowed: hours, days or weeks"),
    ],
)
def test_what_is_no_moment_to_come_is_refused(at: str | None, within: str | None, expected: str) -> None:
    with pytest.raises(BadInputError, match=expected):
        parse_expiry(at, within, NOW)


zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(2027, 1, 3), datetime(9998, 1, 1), timezones=zones)  # noqa: DTZ001 - zones are drawn


@given(moments)
def test_what_is_recorded_is_read_as_the_same_moment(moment: datetime) -> None:
    read = read_expiry(format_expiry(moment))
    assert read == moment.replace(microsecond=0)
    assert parse_expiry(moment.isoformat(), None, NOW) == read


@given(st.text() | st.none())
def test_what_somebody_else_recorded_is_a_moment_or_none(recorded: str | None) -> None:
    found = read_expiry(recorded)
    assert found is None or found.tzinfo is not None
