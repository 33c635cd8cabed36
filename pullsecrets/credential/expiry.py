"""When a credential expires, as people give it and as it is recorded beside the credential."""

import re
from datetime import UTC, datetime, timedelta

from pullsecrets.errors import BadInputError

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})")
_SPAN = re.compile(r"(\d{1,5})([hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def parse_expiry(at: str | None, within: str | None, now: datetime) -> datetime | None:
    """Return when a credential expires, or None when neither form is given.

    Args:
        at: RFC 3339 time, or a date, which means its first moment in UTC.
        within: a time from now on such as `90d`, `12h` or `6w`.

    Raises:
        BadInputError: when both are given, one has another form, or the moment is past.
    """
    if at is not None and within is not None:
        raise BadInputError("--expires-at and --expires-in: found both; allowed: one of them")
    if at is not None:
        return _future("--expires-at", at, _moment(at), now)
    if within is not None:
        return _future("--expires-in", within, now + _span(within), now)
    return None


def format_expiry(moment: datetime) -> str:
    """Return a moment as it is recorded: RFC 3339 in UTC, to the second."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def read_expiry(recorded: str | None) -> datetime | None:
    """Return a recorded moment; None when there is none, or somebody wrote what is no moment."""
    try:
        return _moment(recorded) if recorded else None
    except BadInputError:
        return None


def _moment(text: str) -> datetime:
    try:
        if _DATE.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text.upper().replace(" ", "T")).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise BadInputError(
        f"--expires-at: found {text!r}; allowed: a time with its zone such as 2027-01-31T12:00:00Z, or a date"
    )


def _span(text: str) -> timedelta:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise BadInputError(f"--expires-in: found {text!r}; allowed: hours, days or weeks such as 12h, 90d or 6w")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _future(option: str, text: str, moment: datetime, now: datetime) -> datetime:
    if moment <= now:
        raise BadInputError(f"{option}: found {text!r}, which is past; allowed: a time in the future")
    return moment.replace(microsecond=0)
