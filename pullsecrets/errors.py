"""Errors that a person can act on: each names the thing, the cause and the fix, and carries its exit code."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every `pull-secrets` command, for scripts."""

    DONE = 0
    PROBLEM = 1
    BAD_INPUT = 2
    CONFLICT = 3
    UNREACHABLE = 4


class PullSecretsError(Exception):
    """Base of all expected failures; its text is safe to print: it never holds a credential."""

    exit_code = ExitCode.PROBLEM


class BadInputError(PullSecretsError):
    """What the caller gave cannot be used; nothing was changed."""

    exit_code = ExitCode.BAD_INPUT


class ConflictError(PullSecretsError):
    """Somebody else changed, or owns, the thing; nothing was changed."""

    exit_code = ExitCode.CONFLICT


class UnreachableError(PullSecretsError):
    """A server did not answer, is sealed, or refused the caller's identity."""

    exit_code = ExitCode.UNREACHABLE
