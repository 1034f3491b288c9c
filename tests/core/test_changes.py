"""Paired changes against scipy, and by hand."""

import numpy as np
import pytest
import scipy.stats

from raypipe.core.changes import adjust_changes, paired_change, prompt_differences


def made(seed, n_prompts=12, n_seeds=3):
    rng = np.random.default_rng(seed)
    return {
        (f"p{p:02d}", str(s)): float(rng.normal()) for p in range(n_prompts) for s in range(n_seeds)
    }


def test_each_prompt_counts_once_however_many_pictures_it_has():
    variant = {("p", "0"): 4.0, ("p", "1"): 2.0, ("q", "0"): 1.0, ("q", "9"): 50.0}
    baseline = {("p", "0"): 1.0, ("p", "1"): 1.0, ("q", "0"): 3.0, ("r", "0"): 9.0}
    differences, n = prompt_differences(variant, baseline)
    assert (differences.tolist(), n) == ([2.0, -2.0], 3)


def test_the_test_and_the_interval_are_those_of_the_prompts():
    a, b = made(0), made(1)
    change = paired_change(a, b, names=("a", "b"), metric="m", seed=0, resamples=4999)
    d_P = np.array(
        [np.mean([a[f"p{p:02d}", str(s)] - b[f"p{p:02d}", str(s)] for s in range(3)])
         for p in range(12)]
    )  # fmt: skip
    assert change.test.p_value == pytest.approx(scipy.stats.wilcoxon(d_P).pvalue)
    assert (change.n, change.prompts) == (36, 12)
    assert change.mean.value == pytest.approx(d_P.mean())
    outside = scipy.stats.bootstrap(
        (d_P,), np.mean, n_resamples=4999, rng=np.random.default_rng(1)
    ).confidence_interval
    assert change.mean.low == pytest.approx(outside.low, abs=0.06)
    assert change.mean.high == pytest.approx(outside.high, abs=0.06)
    assert change.win_rate == pytest.approx((d_P > 0).mean())
    turned = paired_change(
        a, b, names=("a", "b"), metric="m", higher_is_better=False, seed=0, resamples=99
    )
    assert turned.win_rate == pytest.approx((d_P < 0).mean())


def test_nothing_in_common_has_no_value_and_counts_for_no_correction():
    empty = paired_change({("p", "0"): 1.0}, {}, names=("a", "b"), metric="m", seed=0)
    assert (empty.mean.value, empty.test.p_value, empty.win_rate) == (None, None, None)
    one = paired_change(made(0), made(1), names=("a", "b"), metric="m", seed=0, resamples=99)
    both = adjust_changes([one, empty])
    assert both[0].test.p_adjusted == one.test.p_value
    assert both[1].test.p_adjusted is None
    twice = adjust_changes([one, one])
    assert twice[0].test.p_adjusted == pytest.approx(min(1.0, 2 * one.test.p_value))
