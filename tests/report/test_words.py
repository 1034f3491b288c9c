"""Numbers and verdicts in words; every verdict comes from a real comparison."""

import dataclasses

import numpy as np
import pytest

from raypipe.core.differences import compare_scores
from raypipe.core.statistics import adjust, compare
from raypipe.report import words
from raypipe.storage.schema import SCORES
from raypipe.studies.consistency.evidence import Pair, difference_record
from raypipe.studies.consistency.results import build_results

RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=40)
SHARP = 0.34 + NOISE

CASES = {
    "a_more_consistent": (NOISE + 2, "A is more consistent than B: its score is higher by 1."),
    "b_more_consistent": (NOISE - 2, "B is more consistent than A: its score is higher by 2."),
    "no_difference_shown": (NOISE, "No difference in consistency between A and B is shown: A "),
    "undecided": (SHARP, "Undecided between A and B, because the interval of the mean excludes"),
    "too_few_prompts": (NOISE[:3], "Too few prompts to decide between A and B, because "),
}


def comparison(difference):
    base = np.full(len(difference), 60.0)
    found = compare_scores(np.c_[base + difference], np.c_[base], design="nested")
    made = compare(base + difference, base, found, a="A", b="B", seed=0, resamples=99)
    return difference_record(found) | dataclasses.asdict(adjust([made, made])[0])


@pytest.mark.parametrize("verdict", CASES)
def test_sentence_of_every_verdict(verdict):
    difference, start = CASES[verdict]
    item = comparison(difference)
    assert item["verdict"] == verdict
    sentence = words.verdict_sentence(item, 0.05)
    assert sentence.startswith(start)
    assert f"{len(difference)} prompts" in sentence
    assert "95 % interval" in sentence
    assert words.verdict_short(item)


def test_a_sentence_for_the_better_model_counts_in_its_favour():
    sentence = words.verdict_sentence(comparison(NOISE - 2), 0.05)
    item = comparison(NOISE - 2)["mean_difference"]
    assert f"{-item['value']:.2f} points" in sentence
    assert f"interval {-item['high']:.2f} to {-item['low']:.2f}" in sentence


def test_one_prompt_has_no_interval_and_no_prompt_no_difference():
    assert "interval" not in words.verdict_sentence(comparison(NOISE[:1]), 0.05)
    nothing = compare_scores(np.full((1, 1), np.nan), np.full((1, 1), np.nan))
    pair = Pair("A", "B", [], NOISE[:0], NOISE[:0], np.zeros(0, int), nothing)
    results = build_results(SCORES.empty_table(), encoder="e", models=["A", "B"], pairs=[pair])
    sentence = words.verdict_sentence(results["comparisons"][0], 0.05)
    assert sentence.startswith("A and B cannot be compared: no prompt has two usable images")


@pytest.mark.parametrize(
    ("value", "number", "signed"),
    [
        (None, "–", "–"),
        (0.0, "0.00", "0.00"),
        (-0.001, "0.00", "0.00"),
        (0.001, "0.00", "0.00"),
        (-1.5, "−1.50", "−1.50"),
        (1234.567, "1,234.57", "+1,234.57"),
    ],
)
def test_numbers(value, number, signed):
    assert words.number(value) == number
    assert words.signed(value) == signed
