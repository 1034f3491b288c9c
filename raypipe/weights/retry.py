"""Retries network requests that failed, with growing pauses."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from raypipe.errors import UserError

TRIES = 6
FIRST_PAUSE = 1.0
"""Seconds after the first failure; doubled after each further one."""
LONGEST_PAUSE = 120.0
"""Seconds at most, whatever a server asks for: an actor that waits holds its device."""

Result = TypeVar("Result")


class TransientError(Exception):
    """A failure that may pass: its message is the reason, in one line.

    `pause` is what the server asked to wait, in seconds, if it did.
    """

    def __init__(self, reason: str, pause: float = 0.0):
        super().__init__(reason)
        self.pause = pause


class UnreachableError(UserError):
    """What was requested cannot be fetched now; it may be in a local cache."""


def retry(action: Callable[[], Result], failure: str) -> Result:
    """What the action returns, tried up to TRIES times as long as it raises TransientError.

    Then raises UnreachableError with `failure` and the last reason. Pauses vary by half,
    since many nodes start at once.
    """
    pause = FIRST_PAUSE
    for _ in range(TRIES - 1):
        try:
            return action()
        except TransientError as error:
            time.sleep(min(max(error.pause, pause * random.uniform(0.5, 1.5)), LONGEST_PAUSE))
            pause *= 2
    try:
        return action()
    except TransientError as error:
        raise UnreachableError(f"{failure}: {error}") from error


def one_line(error: BaseException) -> str:
    """An error's message without its line breaks, cut to 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__
