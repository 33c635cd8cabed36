"""The `pull-secrets` command line."""

from pullsecrets.cli.app import main

__all__ = ["main"]
