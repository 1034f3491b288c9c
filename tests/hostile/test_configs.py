"""Bad input gets exit status 2 and one line that names it, before anything is begun.

One line, on stderr, with the key or file, the rule and the value; no traceback; nothing on disk is
different; and `--dry-run` finds the same.
"""

import pytest

from tests.hostile import cases
from tests.hostile.conftest import CONFIGS, Told
from tests.support.jobs import run_here

LONGEST = 2100
"""Letters of a line; raypipe.console states what it cuts to."""

OTHERS_WORDS = ("Traceback", "Value error", "after validation", ": :", "pydantic", "usage:")
"""What a library or Python would have said."""


def check(told: Told, words: tuple[str, ...]) -> None:
    """AssertionError unless it is one line, in our words, that names these."""
    assert (told.status, told.out) == (2, "")
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    assert told.err.endswith("\n")
    assert len(told.err) < LONGEST
    assert "hunter2" not in told.err
    assert not [word for word in OTHERS_WORDS if word in told.err], told.err
    missing = [word for word in words if word.lower() not in told.err.lower()]
    assert not missing, told.err


def name(case) -> str:
    """A test's name."""
    job, given, _ = case
    text = given if isinstance(given, str) else given[0]
    return f"{job}-{text[:40]!r}" if not isinstance(given, bytes) else f"{job}-{given[:9]!r}"


def test_there_are_cases_of_every_job():
    every = [*cases.numbers(), *cases.OVERRIDES, *cases.TEXTS, *cases.MORE]
    assert len(every) > 450
    assert {job for job, *_ in every} == CONFIGS.keys()


@pytest.mark.parametrize("job", CONFIGS)
def test_the_config_that_the_cases_change_is_a_good_one(job, plan):
    done = plan(job)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("case", list(cases.numbers()), ids=name)
def test_a_number_has_its_ends_and_its_digits(attempt, case):
    job, arguments, words = case
    check(attempt(job, *arguments), words)


@pytest.mark.parametrize("case", cases.OVERRIDES, ids=name)
def test_a_mistake_on_the_command_line(attempt, case):
    job, arguments, words = case
    check(attempt(job, *arguments), words)


@pytest.mark.parametrize("case", cases.TEXTS, ids=name)
def test_a_file_that_is_no_config(attempt, case):
    job, text, words = case
    check(attempt(job, text=text), words)


@pytest.mark.parametrize("case", cases.MORE, ids=name)
def test_a_key_that_a_config_has_twice(attempt, case):
    job, (more,), words = case
    check(attempt(job, more=more), words)


def test_a_job_without_a_config_asks_for_one():
    for job in CONFIGS:
        done = run_here(job)
        check(Told(done.returncode, done.stdout, done.stderr), ("config is missing",))
        assert "a.b=c are" not in done.stderr


@pytest.mark.parametrize(
    ("seeds", "told"),
    [
        ("[]", "seeds: must hold at least 1, got none"),
        ("[-1]", "seeds.0: Input should be greater than or equal to 0, got -1"),
        ("0", "seeds: Input should be greater than or equal to 1 or a list, got 0"),
    ],
)
def test_alternatives_that_a_value_does_not_look_like_say_nothing(attempt, seeds, told):
    done = attempt("face_pairs", f"seeds={seeds}")
    assert done.err.endswith(f": {told}\n")
