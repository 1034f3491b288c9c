import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats

from raypipe.core import bootstrap
from raypipe.core.bootstrap import bootstrap_mean, crossed_bootstrap, resampled_means
from raypipe.core.pairs import n_images_of, pair_scores


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


def literal_resample(scores_PNN, prompts, seeds):
    """Mean over drawn prompts of the mean over drawn image pairs, copies of one image left out."""
    values = []
    for p in prompts:
        pairs = [
            scores_PNN[p, seeds[i], seeds[j]]
            for i in range(len(seeds))
            for j in range(i)
            if seeds[i] != seeds[j]
        ]
        values.append(np.mean(pairs))
    return np.mean(values)


def test_crossed_resamples_equal_literal_copies_of_images():
    rng = np.random.default_rng(2)
    n_prompts, n_seeds = 5, 6
    scores_PNN = rng.normal(size=(n_prompts, n_seeds, n_seeds))
    scores_PNN += scores_PNN.transpose(0, 2, 1)
    d_PM = scores_PNN[:, *np.tril_indices(n_seeds, -1)]
    prompts_BP = rng.integers(n_prompts, size=(20, n_prompts))
    seeds_BN = rng.integers(n_seeds, size=(20, n_seeds))
    w_BP = np.stack([np.bincount(row, minlength=n_prompts) for row in prompts_BP]).astype(float)
    c_BN = np.stack([np.bincount(row, minlength=n_seeds) for row in seeds_BN]).astype(float)
    np.testing.assert_allclose(
        bootstrap._crossed_means(d_PM, w_BP, c_BN),
        [literal_resample(scores_PNN, *draw) for draw in zip(prompts_BP, seeds_BN, strict=True)],
    )


def test_crossed_bootstrap_is_centred_on_the_mean():
    e = np.random.default_rng(1).normal(size=(12, 8, 4)) + 1
    pairs = pair_scores(e)
    estimate = crossed_bootstrap(pairs, seed=0)
    assert estimate.value == pytest.approx(pairs.mean())
    narrow = crossed_bootstrap(pairs, seed=0, confidence=0.02)
    assert (narrow.low + narrow.high) / 2 == pytest.approx(pairs.mean(), abs=0.5)
    assert estimate.low < narrow.low < narrow.high < estimate.high


def test_crossed_bootstrap_equals_the_plain_one_where_seeds_do_not_matter():
    d_PM = np.repeat(np.random.default_rng(6).normal(size=(60, 1)), 10, axis=1)
    crossed, plain = crossed_bootstrap(d_PM, seed=0), bootstrap_mean(d_PM[:, 0], seed=0)
    assert crossed.low == pytest.approx(plain.low, abs=0.03)
    assert crossed.high == pytest.approx(plain.high, abs=0.03)


def test_crossed_interval_covers_where_prompts_alone_do_not():
    """Seeds that matter to every prompt: an interval over prompts alone is far too narrow."""
    rng = np.random.default_rng(4)
    first_M, second_M = np.tril_indices(10, -1)
    covered = {"crossed": 0, "prompts": 0}
    for trial in range(100):
        prompt_P1, seed_N = rng.normal(size=(25, 1)), rng.normal(size=10)
        noise_PM = rng.normal(size=(25, len(first_M)))
        d_PM = prompt_P1 + seed_N[first_M] + seed_N[second_M] + noise_PM  # true mean 0
        crossed = crossed_bootstrap(d_PM, seed=trial, resamples=300)
        prompts = bootstrap_mean(d_PM.mean(axis=1), seed=trial, resamples=300)
        covered["crossed"] += crossed.low <= 0 <= crossed.high
        covered["prompts"] += prompts.low <= 0 <= prompts.high
    assert covered["crossed"] >= 85
    assert covered["prompts"] <= 70


def test_crossed_bootstrap_without_prompts_or_seeds_to_resample():
    for shape in [(1, 10), (9, 1)]:
        estimate = crossed_bootstrap(np.ones(shape), seed=0)
        assert (estimate.value, estimate.low, estimate.high) == (1.0, None, None)
        assert "three seeds" in estimate.reason
    constant = crossed_bootstrap(np.full((4, 3), 7.0), seed=0, resamples=50)
    assert constant.low == pytest.approx(7)
    assert constant.high == pytest.approx(7)
    with pytest.raises(ValueError, match="with a missing seed"):
        crossed_bootstrap([[1.0, np.nan, 2.0]] * 3, seed=0)


def test_seed_draws_never_consist_of_one_image():
    rng = np.random.default_rng(0)
    draws = np.stack([bootstrap._draw_seed_counts(rng, 3) for _ in range(500)])
    assert draws.max() == 2
    assert (draws.sum(axis=1) == 3).all()
    assert n_images_of(3) == 3
