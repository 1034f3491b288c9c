import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats

from raypipe.core import bootstrap
from raypipe.core.bootstrap import bootstrap_mean, resampled_means


@pytest.mark.parametrize("confidence", [0.9, 0.95])
@pytest.mark.parametrize("n", [6, 25, 200])
@pytest.mark.parametrize("discrete", [False, True])
def test_bca_equals_scipy_on_the_same_resamples(n, confidence, discrete):
    x = np.random.default_rng(n).exponential(size=n)  # skewed: the corrections matter
    if discrete:  # many resampled means equal the mean: ties count half
        x = np.array([-1.0, -1.0, 2.0] * (n // 3))
    ours = bootstrap_mean(x, seed=5, resamples=2000, confidence=confidence)
    means = x.mean() + resampled_means(x - x.mean(), seed=5, resamples=2000)
    theirs = scipy.stats.bootstrap(
        (x,), np.mean, n_resamples=0, method="BCa", confidence_level=confidence,
        bootstrap_result=SimpleNamespace(bootstrap_distribution=means),
    ).confidence_interval  # fmt: skip
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-9)
    assert ours.value == pytest.approx(x.mean())


def test_bca_agrees_with_scipy_s_own_resamples():
    x = np.random.default_rng(8).exponential(size=30)
    ours = bootstrap_mean(x, seed=1, resamples=20000)
    theirs = scipy.stats.bootstrap((x,), np.mean, n_resamples=20000, rng=2).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.03 * width)


def test_chunks_do_not_change_the_draws(monkeypatch):
    x = np.random.default_rng(0).normal(size=17)
    whole = bootstrap_mean(x, seed=3)
    monkeypatch.setattr(bootstrap, "CHUNK_DRAWS", 40)
    assert bootstrap_mean(x, seed=3) == whole
    assert bootstrap_mean(x, seed=4) != whole


def test_memory_is_bounded():
    x = np.random.default_rng(0).normal(size=50_000)
    tracemalloc.start()
    bootstrap_mean(x, seed=0, resamples=100)  # 40 MB if held at once
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 25e6


def test_undefined_and_degenerate_intervals():
    one = bootstrap_mean([2.0], seed=0)
    assert (one.value, one.low, one.high) == (2.0, None, None)
    assert "two or more prompts" in one.reason
    same = bootstrap_mean([0.1] * 7, seed=0)
    assert same.low == same.high == same.value == pytest.approx(0.1)
    two = bootstrap_mean([1.0, 2.0], seed=0)
    assert 1.0 <= two.low <= two.high <= 2.0


def test_bca_covers_the_mean_of_skewed_scores():
    rng = np.random.default_rng(11)
    hits = 0
    for trial in range(300):
        interval = bootstrap_mean(rng.exponential(size=40), seed=trial, resamples=999)
        hits += interval.low <= 1.0 <= interval.high
    assert 0.90 <= hits / 300 <= 0.98
