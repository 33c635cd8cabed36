"""Keeps the SDK from sending the engine unwanted debug messages."""

import os

import pulumi

VARIABLE = "PULL_SECRETS_ENGINE_DEBUG"


def drop_debug_messages() -> None:
    """Drop the SDK's own debug messages unless PULL_SECRETS_ENGINE_DEBUG is set.

    The SDK sends several per resource, each a round trip that blocks the program's event loop although the engine shows
    them only with `--debug`: measured, nearly half of the program's time at 100 tenants.
    """
    if not os.environ.get(VARIABLE):
        pulumi.log.debug = _drop


def _drop(*_arguments: object, **_options: object) -> None:
    """Take what `pulumi.log.debug` takes."""
