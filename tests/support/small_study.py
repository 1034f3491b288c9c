"""A small study to ask about, made once."""

from pathlib import Path

import pytest

from tests.support import study_runs
from tests.support.annotators import questions

PROMPTS = [
    "a red ball",
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "../../../etc/passwd",
    'it\'s "quoted" & {{ 7 * 7 }}',
    "\u202eright to left\u202c 😀",
    "a green cone",
]


@pytest.fixture(scope="session")
def source(tmp_path_factory) -> Path:
    """A finished consistency run of two models and six prompts."""
    folder = tmp_path_factory.mktemp("source")
    scs = {prompt: (60.0 + i, 70.0 - i) for i, prompt in enumerate(PROMPTS)}
    return study_runs.write(folder, scs)


@pytest.fixture(scope="session")
def study(source, tmp_path_factory) -> Path:
    """Six grids, two of them asked twice, two checks: ten questions."""
    return questions(
        source, tmp_path_factory.mktemp("q") / "questions", "grid", "repeats=2", "checks=2"
    )
