"""Patience: what is tried again, and for how long."""

import time

import pytest

from pullsecrets.errors import ConflictError, PullSecretsError, UnreachableError
from pullsecrets.kube import waiting
from pullsecrets.kube.client import KubernetesApiError


def answer(status: int) -> KubernetesApiError:
    return KubernetesApiError("GET", "/", status, "", "")


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (UnreachableError("away"), True),
        (answer(429), True),
        (answer(503), True),
        (answer(403), False),
        (answer(404), False),
        (ConflictError("somebody else wrote"), False),
    ],
)
def test_it_is_patient_with_servers_that_are_away_or_busy_and_not_with_refusals(
    monkeypatch: pytest.MonkeyPatch, error: PullSecretsError, *, passes: bool
) -> None:
    monkeypatch.setattr(waiting, "RETRY_SECONDS", 0)
    errors = [error]

    def act(result: str) -> str:
        if errors:
            raise errors.pop()
        return result

    if passes:
        assert waiting.patiently(time.monotonic() + 99, act, "done") == "done"
    else:
        with pytest.raises(type(error)):
            waiting.patiently(time.monotonic() + 99, act, "done")


def test_it_tries_at_least_once_and_ends_with_the_time() -> None:
    def act() -> None:
        raise UnreachableError("away")

    with pytest.raises(UnreachableError):
        waiting.patiently(time.monotonic() - 1, act)


def test_it_is_looked_again_until_it_is_done_or_the_time_is_up() -> None:
    answers = iter([False, False, True, False])
    assert waiting.look_until(lambda: next(answers), bool, 60, pause=0)
    assert not waiting.look_until(lambda: False, bool, 0.01, pause=0)
