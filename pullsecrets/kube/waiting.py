"""Retries for servers that restart or are busy: transient failures are retried until a deadline."""

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from pullsecrets.errors import PullSecretsError, UnreachableError
from pullsecrets.kube.client import KubernetesApiError, KubernetesClient
from pullsecrets.kube.selectors import by_name

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


def is_gone(cluster: KubernetesClient, path: str, seconds: float, uid: str | None = None) -> bool:
    """Wait until an object is gone, or, with a UID, another one has its name; tell whether that came to be in time."""
    listing, _, name = path.rpartition("/")
    deadline = time.monotonic() + seconds
    while (found := cluster.find(path)) and uid in {None, found["metadata"]["uid"]}:
        left = int(deadline - time.monotonic())
        if left <= 0:
            return False
        query = {**by_name(name), "resourceVersion": found["metadata"]["resourceVersion"]}
        if any(event["type"] == "DELETED" for event in cluster.watch(listing, query, left)):
            return True
    return True


def look_until(look: Callable[[], _T], done: Callable[[_T], bool], seconds: float, pause: float = RETRY_SECONDS) -> _T:
    """Look again and again until it is done or the time is up; return what was seen last."""
    deadline = time.monotonic() + seconds
    while not done(found := look()) and time.monotonic() + pause <= deadline:
        time.sleep(pause)
    return found
