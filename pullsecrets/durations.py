"""Durations as Kubernetes and Go write them (`1h`, `90m`, `1h30m`)."""

import re
from datetime import timedelta

LONGEST = timedelta(microseconds=(2**63 - 1) // 1000)
"""Go counts nanoseconds in 64 bits, some 292 years (https://pkg.go.dev/time#Duration)."""

# No more digits than the longest has, so that no number overflows before it is compared.
_FORM = re.compile(r"(?:(?P<hours>[0-9]{1,10})h)?(?:(?P<minutes>[0-9]{1,10})m)?(?:(?P<seconds>[0-9]{1,10})s)?")


def parse_duration(text: str) -> timedelta:
    """Parse a Go duration of whole hours, minutes and seconds.

    Raises:
        ValueError: when the text is not of that form, or longer than Go can count; the caller names the key.
    """
    found = _FORM.fullmatch(text)
    parts = found.groupdict(default="0") if found and text else {}
    duration = timedelta(**{unit: int(count) for unit, count in parts.items()})
    if not parts or duration > LONGEST:
        raise ValueError("a duration such as 1h, 30m or 1h30m")
    return duration


def canonical_duration(text: str) -> str:
    """Return a duration as Go's encoder writes it, such as `1h0m0s` for `1h`."""
    minutes, seconds = divmod(int(parse_duration(text).total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
