"""Tests and effect sizes against textbook data, scipy, and brute force."""

import itertools
import tracemalloc

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.core.paired import (
    _signed_rank_quantile,
    _walsh_average,
    hodges_lehmann,
    ks_two_sample,
    normality,
    normality_as_in_paper,
    rank_biserial,
    wilcoxon,
)

# Hollander and Wolfe, table 3.1: Hamilton depression scale before and after tranquilliser; also
# the example of R's wilcox.test, which gives V = 40, p = 0.03906, 0.46 (0.010, 0.786).
BEFORE = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
AFTER = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])
# Darwin's maize: crossed minus self-fertilised heights, p = 0.0413 by the exact test.
MAIZE = np.array([6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75.0])

DIFFERENCES = st.lists(
    st.floats(-50, 50).map(lambda x: round(x, 3)) | st.integers(-3, 3).map(float),
    min_size=1, max_size=60,
).map(np.array)  # fmt: skip


def walsh_averages(d):
    rows, columns = np.triu_indices(len(d))
    return np.sort((d[rows] + d[columns]) / 2)


def test_textbook_wilcoxon():
    test = wilcoxon(BEFORE - AFTER)
    assert (test.statistic, test.p_value) == pytest.approx((5, 0.0390625))
    assert "exact" in test.method
    test = wilcoxon(MAIZE)
    assert (test.statistic, test.p_value) == pytest.approx((24, 0.041259765625))


def test_textbook_hodges_lehmann():
    shift = hodges_lehmann(BEFORE - AFTER)
    assert (shift.value, shift.low, shift.high) == pytest.approx((0.46, 0.010, 0.786))


def test_textbook_rank_biserial():
    assert rank_biserial(BEFORE - AFTER) == pytest.approx((40 - 5) / 45)
    assert rank_biserial([0.0, 0.0, 3.0, -1.0]) == pytest.approx((2 - 1) / 3)  # zeros dropped


def test_wilcoxon_with_ties_equals_all_sign_patterns():
    d = np.array([1, 1, 2, -1, 3, 0, 2, -2, 4.0])
    kept = d[d != 0]
    ranks = scipy.stats.rankdata(abs(kept))
    observed = ranks[kept > 0].sum()
    signs = np.array(list(itertools.product([0, 1], repeat=len(kept))))
    null = signs @ ranks
    expected = 2 * min((null >= observed).mean(), (null <= observed).mean())
    test = wilcoxon(d)
    assert test.p_value == pytest.approx(expected)
    assert test.method == "wilcoxon, exact permutation, zeros dropped"


@pytest.mark.parametrize("n", [50, 51, 300])
def test_wilcoxon_equals_scipy(n):
    d = np.random.default_rng(n).normal(0.2, 1, size=n)
    expected = scipy.stats.wilcoxon(d)
    test = wilcoxon(d)
    assert (test.statistic, test.p_value) == pytest.approx((expected.statistic, expected.pvalue))
    assert ("exact" in test.method) == (n <= 50)


def test_undefined_without_differences():
    test = wilcoxon(np.zeros(9))
    assert (test.statistic, test.p_value) == (None, None)
    assert test.reason == "all paired differences are zero"
    assert rank_biserial(np.zeros(9)) is None
    shift = hodges_lehmann(np.zeros(9))
    assert (shift.value, shift.low, shift.high) == (0, 0, 0)


@given(DIFFERENCES)
@settings(max_examples=60, deadline=None)
def test_any_walsh_average_is_selected_exactly(d):
    expected = walsh_averages(d)
    for k in {1, 2, len(expected) // 3, len(expected) // 2, len(expected) - 1, len(expected)}:
        if 1 <= k <= len(expected):
            assert _walsh_average(np.sort(d), k) == pytest.approx(expected[k - 1], abs=1e-9)


def test_walsh_averages_are_selected_among_close_ones():
    d = np.sort(np.random.default_rng(0).normal(size=300))
    expected = walsh_averages(d)
    for k in range(1, len(expected), 997):
        assert _walsh_average(d, k) == pytest.approx(expected[k - 1], abs=1e-11)


@given(DIFFERENCES)
@settings(max_examples=60, deadline=None)
def test_effects_flip_with_the_sides_and_scale_with_the_scores(d):
    shift, flipped = hodges_lehmann(d), hodges_lehmann(-d)
    assert shift.value == pytest.approx(np.median(walsh_averages(d)), abs=1e-9)
    assert flipped.value == pytest.approx(-shift.value, abs=1e-9)
    assert hodges_lehmann(4 * d + 1).value == pytest.approx(4 * shift.value + 1, abs=1e-8)
    if shift.low is None:
        assert len(d) < 6
        assert "too few" in shift.reason
    else:
        assert (-flipped.high, -flipped.low) == pytest.approx((shift.low, shift.high), abs=1e-9)
        assert shift.low <= shift.value <= shift.high
    if d.any():
        assert rank_biserial(-d) == pytest.approx(-rank_biserial(d))
        assert rank_biserial(8 * d) == pytest.approx(rank_biserial(d))
        assert wilcoxon(-d).p_value == pytest.approx(wilcoxon(d).p_value)


def test_interval_holds_the_shifts_that_the_test_keeps():
    d = np.random.default_rng(5).normal(0.3, 1, size=20)
    shift = hodges_lehmann(d)
    for end, inward in [(shift.low, 1e-9), (shift.high, -1e-9)]:
        assert wilcoxon(d - end - inward).p_value >= 0.05
        assert wilcoxon(d - end + inward).p_value < 0.05


@pytest.mark.parametrize(("n", "c"), [(5, 0), (6, 1), (9, 6), (10, 9), (20, 53), (50, 435)])
def test_signed_rank_quantiles(n, c):
    """The published two-sided 5 % critical values of the signed-rank test, plus one."""
    assert _signed_rank_quantile(n, 0.025) == c


def test_exact_and_approximate_quantiles_meet(monkeypatch):
    exact = _signed_rank_quantile(50, 0.025)
    monkeypatch.setattr("raypipe.core.paired.EXACT_LIMIT", 10)
    assert abs(_signed_rank_quantile(50, 0.025) - exact) <= 2


def test_hodges_lehmann_needs_no_list_of_walsh_averages():
    d = np.random.default_rng(0).normal(0.5, 1, size=20_000)  # 200 million averages: 1.6 GB
    tracemalloc.start()
    shift = hodges_lehmann(d)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6
    assert shift.low < 0.5 < shift.high
    assert shift.high - shift.low == pytest.approx(2 * 1.96 * (np.pi / 3 / 20_000) ** 0.5, rel=0.1)


def test_paper_rows_equal_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(80, 5, size=100), rng.normal(78, 5, size=100)
    ks = scipy.stats.ks_2samp(a, b)
    ours = ks_two_sample(a, b)
    assert (ours.statistic, ours.p_value) == pytest.approx((ks.statistic, ks.pvalue))
    paper = normality_as_in_paper(a)
    assert (paper.statistic, paper.p_value) == pytest.approx((1, 0), abs=1e-12)  # always rejects
    assert normality(a - b).p_value > 0.05  # and these are normal


def test_normality_of_differences():
    d = np.random.default_rng(0).normal(size=40)
    expected = scipy.stats.shapiro(d)
    assert normality(d).p_value == pytest.approx(expected.pvalue)
    many = np.random.default_rng(0).normal(size=6000)
    assert "lilliefors" in normality(many).method
    assert normality(many).p_value > 0.05
    assert normality(np.exp(many)).p_value <= 0.001
    assert normality([1.0, 2.0]).reason == "three or more prompts needed"
    assert normality([1.0, 1.0, 1.0]).reason == "all differences are equal"


@pytest.mark.parametrize("bad", [[], [[1.0]], [1.0, np.nan], [np.inf]])
def test_bad_rows_are_refused(bad):
    for function in (wilcoxon, rank_biserial, hodges_lehmann, normality, normality_as_in_paper):
        with pytest.raises(ValueError, match="finite numbers"):
            function(bad)
