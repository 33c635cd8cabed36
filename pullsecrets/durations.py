"""Durations as Kubernetes and Go write them (`1h`, `90m`, `1h30m`)."""

import re
from datetime import timedelta

_FORM = re.compile(r"(?:(?P<hours>\d+)h)?(?:(?P<minutes>\d+)m)?(?:(?P<seconds>\d+)s)?")


def parse_duration(text: str) -> timedelta:
    """Parse a Go duration of whole hours, minutes and seconds.

    Raises:
        ValueError: when the text is not of that form; the caller names the key.
    """
    found = _FORM.fullmatch(text)
    if not text or found is None:
        raise ValueError("a duration such as 1h, 30m or 1h30m")
    return timedelta(**{unit: int(count) for unit, count in found.groupdict(default="0").items()})


def canonical_duration(text: str) -> str:
    """Return a duration as Go's encoder writes it, such as `1h0m0s` for `1h`."""
    minutes, seconds = divmod(int(parse_duration(text).total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
