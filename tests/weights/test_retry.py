"""What may pass is tried again with growing pauses, what a server asks for within bounds."""

import time

import pytest

from raypipe.weights.retry import LONGEST_PAUSE, TRIES, TransientError, UnreachableError, retry


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """Seconds of each pause, none of which is made."""
    made: list[float] = []
    monkeypatch.setattr(time, "sleep", made.append)
    return made


def failing(times: int, pause: float = 0.0):
    """An action that fails so often, then returns how often it was called."""
    calls = []

    def action() -> int:
        calls.append(None)
        if len(calls) <= times:
            raise TransientError(f"failure {len(calls)}", pause)
        return len(calls)

    return action


def test_pauses_double_but_for_chance(pauses):
    assert retry(failing(TRIES - 1), "no weights") == TRIES
    assert len(pauses) == TRIES - 1
    for number, pause in enumerate(pauses):
        assert 0.5 * 2**number <= pause <= 1.5 * 2**number


def test_a_server_is_given_the_time_that_it_asks_for_within_bounds(pauses):
    assert retry(failing(1, pause=30), "no weights") == 2
    assert retry(failing(1, pause=3600), "no weights") == 2
    assert pauses == [30, LONGEST_PAUSE]


def test_the_last_reason_is_reported(pauses):
    with pytest.raises(UnreachableError, match=f"no weights: failure {TRIES}"):
        retry(failing(TRIES), "no weights")


def test_what_does_not_pass_is_raised_at_once(pauses):
    with pytest.raises(KeyError):
        retry(lambda: {}["x"], "no weights")
    assert pauses == []
