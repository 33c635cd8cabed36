"""Reads the stack's configuration as the engine hands it over, unknown keys included."""

import json
from typing import Any

import pulumi
from pulumi.runtime.config import CONFIG, get_config_env

from pullsecrets.config import StackConfig, parse


def read_config() -> StackConfig:
    """Return the checked configuration of the running stack.

    All keys of the project are handed on, not only the known ones, so that a misspelt key is an error and not a
    silent default.

    Raises:
        pullsecrets.config.ConfigError: with every problem found.
    """
    prefix = f"{pulumi.get_project()}:"
    found = {**get_config_env(), **CONFIG.get()}
    raw = {key.removeprefix(prefix): _decode(value) for key, value in found.items() if key.startswith(prefix)}
    return parse(raw, f"Pulumi.{pulumi.get_stack()}.yaml")


def _decode(value: Any) -> Any:
    """The engine hands objects and lists over as JSON, and plain strings as they are."""
    if isinstance(value, str) and value.startswith(("{", "[")):
        return json.loads(value)
    return value
