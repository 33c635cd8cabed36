"""Keeps the SDK from work for the engine that nobody asked for."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager

import pulumi

VARIABLE = "PULL_SECRETS_ENGINE_DEBUG"
FRAMES = 7
"""Those of the SDK's own constructors, and the one that declares the resource."""


def drop_debug_messages() -> None:
    """Drop the SDK's own debug messages unless PULL_SECRETS_ENGINE_DEBUG is set.

    The SDK sends several per resource, each a round trip that blocks the program's event loop although the engine shows
    them only with `--debug`: measured, nearly half of the program's time at 100 tenants.
    """
    if not os.environ.get(VARIABLE):
        pulumi.log.debug = _drop


@contextmanager
def short_stack_traces() -> Generator[None]:
    """Have resources name the line that declares them, and not all that led there, down to the interpreter's start.

    Measured at 1,000 tenants: a tenth of the program's time, and a third of the state.
    """
    sys.tracebacklimit = FRAMES
    try:
        yield
    finally:
        del sys.tracebacklimit


def _drop(*_arguments: object, **_options: object) -> None:
    """Take what `pulumi.log.debug` takes."""
