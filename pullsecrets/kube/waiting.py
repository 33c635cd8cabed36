"""Retries for servers that restart or are busy: transient failures are retried until a deadline."""

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from pullsecrets.errors import PullSecretsError, UnreachableError
from pullsecrets.kube.client import KubernetesApiError

RETRY_SECONDS = 1.0
"""How long it waits before it tries again."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


def passes(error: PullSecretsError) -> bool:
    """Tell whether a failure may be over soon: a server does not answer, restarts or is busy."""
    if isinstance(error, KubernetesApiError):
        return error.status >= 500 or error.status == 429
    return isinstance(error, UnreachableError)


def patiently(deadline: float, act: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Do something that may be done twice, again and again while it fails in a way that passes.

    Args:
        deadline: by `time.monotonic()`; it is done at least once, whatever the time.
        act: what is done.
        args: its arguments.

    Raises:
        PullSecretsError: as it came, when it does not pass or the time is over.
    """
    while True:
        try:
            return act(*args, **kwargs)
        except PullSecretsError as error:
            if not passes(error) or time.monotonic() + RETRY_SECONDS >= deadline:
                raise
            time.sleep(RETRY_SECONDS)


def look_until(look: Callable[[], _T], done: Callable[[_T], bool], seconds: float, pause: float = RETRY_SECONDS) -> _T:
    """Look again and again until it is done or the time is up; return what was seen last."""
    deadline = time.monotonic() + seconds
    while not done(found := look()) and time.monotonic() + pause <= deadline:
        time.sleep(pause)
    return found
