"""Typed configuration of one cluster stack: shape, rules and loading."""

from pullsecrets.config.load import load_stack, require_registry
from pullsecrets.config.model import Registry, StackConfig, VaultStore
from pullsecrets.config.parse import ConfigError, parse
from pullsecrets.config.rules import Problem
from pullsecrets.config.tenants import Tenant

__all__ = [
    "ConfigError",
    "Problem",
    "Registry",
    "StackConfig",
    "Tenant",
    "VaultStore",
    "load_stack",
    "parse",
    "require_registry",
]
