"""What Pulumi says of a backend that it cannot use: locked, not let in, not there, not answering."""

import re
from typing import Final

from pullsecrets.errors import BadInputError, ConflictError, PullSecretsError, UnreachableError

_HOLDER = re.compile(r"created by (\S+ \(pid \d+\) at \S+)")

_OF_A_BACKEND: Final = (
    r"unable to open bucket|blob \(|could not list bucket|failed to save snapshot|get identity: get credentials|"
    r"performing HTTP request"
)
"""Words around what others say too, such as an API server that is down."""
_REFUSED: Final = (
    r"password authentication failed|no pg_hba\.conf entry|permission denied|StatusCode: 40[13]\b|"
    r"failed to refresh cached credentials"
)
_ABSENT: Final = r"NoSuchBucket|database \S+ does not exist|no such file or directory"
_SILENT: Final = (
    r"connection refused|connection reset|no such host|i/o timeout|TLS handshake|x509|exceeded maximum number|"
    r"the database system is"
)

_Case = tuple[re.Pattern[str], type[PullSecretsError], str, str]


def _case(words: str, error: type[PullSecretsError], problem: str, fix: str) -> _Case:
    return re.compile(words), error, problem, fix


def _backend_case(words: str, error: type[PullSecretsError], problem: str, fix: str) -> _Case:
    return _case(rf"(?m)^(?=.*(?:{_OF_A_BACKEND})).*(?:{words})", error, problem, fix)


_LOGIN: Final = (
    UnreachableError,
    "the backend refuses the login",
    "give it one that may read and write the state: PULUMI_ACCESS_TOKEN, AWS_* or PGPASSWORD",
)
_LOCKED: Final = re.compile(r"currently locked by \d+ lock|Another update is currently in progress")
_CASES: Final = (
    _case(
        r"passphrase must be set|incorrect passphrase",
        BadInputError,
        "the passphrase of its state is missing, or another",
        "set PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE",
    ),
    _case(r"PULUMI_ACCESS_TOKEN must be set|invalid access token", *_LOGIN),
    _backend_case(_REFUSED, *_LOGIN),
    _backend_case(
        _ABSENT,
        BadInputError,
        "the backend is not there",
        "make the bucket, database or folder that PULUMI_BACKEND_URL names, or name another",
    ),
    _backend_case(
        _SILENT,
        UnreachableError,
        "the backend does not answer",
        "see that its server runs and can be reached from here; the next run says whether this one left a lock",
    ),
)


def refusal(printed: str, stack: str) -> PullSecretsError | None:
    """Return what a failed run of Pulumi says of its backend; None where it failed for another reason.

    Nothing is repeated but who holds a lock: Pulumi prints the address of a PostgreSQL backend with its password.

    Args:
        printed: what Pulumi wrote.
        stack: the stack's name.
    """
    if _LOCKED.search(printed):
        holder = _HOLDER.search(printed)
        return locked(stack, holder[1] if holder else "")
    for words, error, problem, fix in _CASES:
        if words.search(printed):
            return error(f"stack {stack}: {problem}; {fix}")
    return None


def locked(stack: str, holder: str) -> ConflictError:
    """Return what is said of a stack that another run holds.

    Args:
        stack: its name.
        holder: who, from where and since when; empty where that is not known.
    """
    by = f" ({holder})" if holder else ""
    fix = f"wait for it; if it was killed, free the stack with `pulumi cancel --stack {stack}`"
    return ConflictError(f"stack {stack}: another run holds it{by}; {fix}")
