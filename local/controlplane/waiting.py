"""Waits for a condition with a deadline, and reports at the end what it was waiting for and why it did not happen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Value = TypeVar("Value")


class NotYet(Exception):  # noqa: N818 - a state that is expected to pass, no error
    """A condition that does not hold yet; the message is the cause."""


class DeadlineExceeded(TimeoutError):  # noqa: N818 - the field's name for it
    """A condition that did not hold within its deadline; the message names it and the last cause."""


def until(check: Callable[[], Value], deadline: float, what: str, *, every: float = 0.05) -> Value:
    """Call `check` until it stops raising `NotYet`.

    Args:
        check: returns a value once the condition holds, raises `NotYet` with the cause while it does not. Any other
            exception ends the wait at once.
        deadline: seconds after which to give up.
        what: the condition, as it shall stand in the error.
        every: seconds between two calls.

    Returns:
        What `check` returned.

    Raises:
        DeadlineExceeded: the condition did not hold in time.
    """
    end = time.monotonic() + deadline
    while True:
        try:
            return check()
        except NotYet as cause:
            if time.monotonic() >= end:
                raise DeadlineExceeded(f"{what}: not within {deadline:g} s; last cause: {cause}") from cause
        time.sleep(every)
