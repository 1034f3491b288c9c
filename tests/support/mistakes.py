"""A user's mistakes: one line each, from a function or from a job."""

from collections.abc import Callable
from typing import Any

import pytest

from raypipe.errors import UserError
from tests.support.jobs import Done


def mistake(function: Callable[..., Any], *arguments: Any) -> str:
    """The line of the UserError in which a call ends."""
    with pytest.raises(UserError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def refusal(done: Done) -> str:
    """The line with which a job ended."""
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.endswith("\n")
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("error: ").strip()
