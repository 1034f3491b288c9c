import json
from dataclasses import asdict

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.core.differences import Difference, Variance, compare_scores
from raypipe.core.statistics import (
    adjust,
    compare,
    decide,
    describe,
    rank_agreement,
    summarize,
)


def scores(shift=0.0, n=40, seed=0):
    """Two models on the same prompts; a is `shift` more consistent."""
    rng = np.random.default_rng(seed)
    prompt = rng.normal(75, 8, size=n)
    return prompt + shift + rng.normal(0, 2, size=n), prompt + rng.normal(0, 2, size=n)


NULL_WITHOUT_REASON = {"reason", "p_adjusted", "prompts", "seeds", "interaction", "n_seeds"}


def judge(a, b, alpha=0.05, resamples=500):
    """Compare scores that have one picture a prompt, with a seed of its own."""
    difference = compare_scores(np.c_[a], np.c_[b], design="nested", alpha=alpha)
    return compare(a, b, difference, a="new", b="old", seed=0, resamples=resamples)


def test_summary_and_description():
    x = np.array([3.0, 1.0, 2.0, 10.0])
    summary = summarize(x)
    assert (summary.n, summary.mean, summary.median, summary.min, summary.max) == (4, 4, 2.5, 1, 10)
    assert summary.sd == pytest.approx(np.std(x, ddof=1))
    description = describe(x, seed=0)
    assert description.mean_interval.low < 4 < description.mean_interval.high
    assert description.sd == summary.sd


def test_one_prompt_has_no_spread_and_says_so():
    one = describe([70.0], seed=0)
    assert one.sd is None
    assert "two or more prompts" in one.reasons["sd"]
    assert one.mean_interval.low is None
    assert one.mean == one.median == one.mean_interval.value == 70


def test_comparison_of_two_models():
    a, b = scores(shift=3)
    result = judge(a, b)
    assert (result.a, result.b, result.n) == ("new", "old", 40)
    assert result.verdict == "a_more_consistent"
    assert result.difference.mean == pytest.approx((a - b).mean())
    assert result.difference.low > 0
    assert result.hodges_lehmann.low > 0
    assert result.rank_biserial > 0.5
    assert result.wilcoxon.p_value == pytest.approx(scipy.stats.wilcoxon(a, b).pvalue)
    assert result.difference.p_value == pytest.approx(scipy.stats.ttest_rel(a, b).pvalue)
    assert result.p_adjusted == result.difference.p_value
    assert result.summary_a.mean - result.summary_b.mean == pytest.approx((a - b).mean())
    assert judge(b, a).verdict == "b_more_consistent"
    assert judge(*scores()).verdict == "no_difference_shown"


def test_intervals_follow_alpha():
    a, b = scores(shift=1)
    wide, narrow = judge(a, b, alpha=0.01), judge(a, b, alpha=0.2)
    assert wide.difference.low < narrow.difference.low
    assert wide.mean_over_prompts.low < narrow.mean_over_prompts.low
    assert wide.hodges_lehmann.low < narrow.hodges_lehmann.low


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=25),
    st.sampled_from([1.0, 12.5, 1e-6]),
)
@settings(max_examples=15, deadline=None)
def test_every_input_gives_json_without_nan(pairs, unit):
    """Ties, constants, zeros, one prompt: a value, or null with its reason."""
    a, b = unit * np.array(pairs, dtype=float).T
    result = asdict(adjust([judge(a, b, resamples=50)])[0])
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    for path, record in records(result):
        for key, value in record.items():
            if value is None and key not in NULL_WITHOUT_REASON:
                assert record.get("reason") or record["reasons"][key], f"{path}.{key}"
    assert result["verdict_reason"]


def records(tree, path="comparison"):
    yield path, tree
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from records(value, f"{path}.{key}")


def test_constant_difference():
    """Without any spread there is no error to hold a difference against."""
    a, _ = scores(n=20)
    result = judge(np.round(a) + 2, np.round(a))
    assert result.verdict == "undecided"
    assert "the same for all" in result.verdict_reason
    assert (result.hodges_lehmann.low, result.hodges_lehmann.high) == (2, 2)
    assert result.rank_biserial == 1
    assert result.normality.differences.reason == "all differences are equal"


def test_equal_models():
    a, _ = scores()
    result = judge(a, a)
    assert result.verdict == "no_difference_shown"
    assert "the same for all" in result.verdict_reason
    assert result.wilcoxon.p_value is None
    assert result.rank_biserial is None
    assert "rank_biserial" in result.reasons


@pytest.mark.parametrize("n", [1, 2, 5])
def test_too_few_prompts(n):
    result = judge(np.arange(n) + 90.0, np.zeros(n))
    assert result.verdict == "too_few_prompts"
    assert str(n) in result.verdict_reason
    assert result.hodges_lehmann.value is not None
    assert result.hodges_lehmann.low is None


def difference(low, high, n_prompts=100, n_seeds=20, reason=None):
    mean, p = (None, None) if low is None else ((low + high) / 2, 0.01)
    parts = Variance(1.0, 1.0, 1.0)
    return Difference(
        mean, low, high, p, 9.0, parts, n_prompts, n_seeds, 0, "crossed", 0.05, reason
    )


@pytest.mark.parametrize(
    ("found", "p", "verdict"),
    [
        (difference(1, 2), 0.01, "a_more_consistent"),
        (difference(-2, -1), 0.01, "b_more_consistent"),
        (difference(-1, 1), 0.3, "no_difference_shown"),
        (difference(0, 1), 0.05, "no_difference_shown"),
        (difference(1, 2), 0.06, "undecided"),
        (difference(1, 2, n_prompts=5), 0.01, "too_few_prompts"),
        (difference(None, None, n_seeds=2, reason="two"), None, "too_few_seeds"),
        (difference(None, None, reason="all the same"), None, "undecided"),
    ],
)
def test_a_verdict_needs_interval_and_corrected_p(found, p, verdict):
    assert decide(found, p)[0] == verdict


def test_holm_over_several_comparisons():
    comparisons = [judge(*scores(shift, seed=7)) for shift in (0.0, 0.8, 4.0)]
    p = np.array([c.difference.p_value for c in comparisons])
    order = p.argsort()
    stepwise = np.minimum(1, np.maximum.accumulate(p[order] * [3, 2, 1]))  # Holm 1979, by hand
    expected = dict(zip(order, stepwise, strict=True))
    for index, c in enumerate(adjust(comparisons)):
        assert c.p_adjusted == pytest.approx(expected[index])
        assert c.difference == comparisons[index].difference


def test_holm_can_take_a_verdict_back():
    alone = judge(*scores(shift=0.9, n=30))
    assert 0.025 < alone.difference.p_value < 0.05
    assert alone.verdict == "a_more_consistent"
    among = adjust([alone, alone])
    assert among[0].verdict == "undecided"
    assert among[0].p_adjusted == pytest.approx(2 * alone.difference.p_value)


def test_undefined_tests_do_not_count_for_holm():
    a, b = scores(shift=2)
    equal, different = adjust([judge(a, a), judge(a, b)])
    assert equal.p_adjusted is None
    assert different.p_adjusted == different.difference.p_value
    assert adjust([]) == []
    with pytest.raises(ValueError, match="share one alpha"):
        adjust([judge(a, b), judge(a, b, alpha=0.01)])


def test_scores_that_cannot_be_compared():
    known = difference(1, 2)
    for a, b, message in (
        ([1.0, 2, 3], [1.0, 2], "got 3 and 2"),
        ([1.0, np.nan], [1.0, 2], "finite, got nan"),
        ([], [], "non-empty"),
    ):
        with pytest.raises(ValueError, match=message):
            compare(a, b, known, a="new", b="old", seed=0)


def test_rank_agreement():
    x, y = scores()
    agreement = rank_agreement(x, y)
    spearman, kendall = scipy.stats.spearmanr(x, y), scipy.stats.kendalltau(x, y)
    assert agreement.spearman.statistic == pytest.approx(spearman.statistic)
    assert agreement.kendall.p_value == pytest.approx(kendall.pvalue)
    assert rank_agreement(x, np.exp(x / 50)).spearman.statistic == pytest.approx(1)
    assert rank_agreement(x, -x).kendall.statistic == pytest.approx(-1)


def test_rank_agreement_undefined():
    assert "three or more" in rank_agreement([1.0, 2.0], [1.0, 2.0]).spearman.reason
    assert "equal" in rank_agreement([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]).kendall.reason
    with pytest.raises(ValueError, match="got 3 and 2"):
        rank_agreement([1.0, 2, 3], [1.0, 2])
