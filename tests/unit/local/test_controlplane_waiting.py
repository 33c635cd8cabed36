"""The one helper that waits."""

import pytest

from local.controlplane import DeadlineExceeded, NotYet, until


def test_it_returns_what_the_check_returns_once_it_holds():
    answers = iter([NotYet("first"), NotYet("second"), "value"])

    def check():
        answer = next(answers)
        if isinstance(answer, NotYet):
            raise answer
        return answer

    assert until(check, 5, "the thing", every=0) == "value"


def test_at_the_deadline_it_names_the_condition_and_the_last_cause():
    def check():
        raise NotYet("the server answers 503")

    with pytest.raises(DeadlineExceeded, match=r"server ready: not within 0\.01 s; last cause: the server answers 503"):
        until(check, 0.01, "server ready", every=0)


def test_any_other_error_ends_the_wait_at_once():
    def check():
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        until(check, 60, "never")


def test_a_condition_that_holds_is_seen_even_with_no_time_left():
    assert until(lambda: 1, 0, "it holds") == 1
