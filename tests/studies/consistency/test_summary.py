"""The table at the end of a run."""

import pytest

from raypipe.studies.consistency.results import build_results
from raypipe.studies.consistency.summary import summary


def test_numbers_and_verdict(small):
    results = build_results(small.scores, quarantined={"blank": 2}, **small.evidence)
    text = summary(results)
    for model in results["models"]:
        assert model["name"] in text
        assert f"{model['mean']:.2f}" in text
        assert f"{model['clip_score']:.2f}" in text
    assert "calm is more consistent than wild" in text
    assert "2 samples quarantined (blank: 2)" in text


@pytest.mark.parametrize("n_prompts", [1, 8])
def test_fits_a_terminal_whatever_the_names(world, n_prompts):
    names = {"x" * 90: 0.9, "y" * 90: 0.1, "a name\nwith lines": 0.4}
    run = world(names, [f"p{i}" for i in range(n_prompts)], 4)
    text = summary(build_results(run.scores, **run.evidence))
    assert max(map(len, text.splitlines())) <= 100


def test_one_model(world):
    run = world({"only": 0.5}, ["p", "q"], 3)
    text = summary(build_results(run.scores, **run.evidence))
    assert "only" in text
    assert "verdict" not in text
