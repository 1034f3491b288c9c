import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.core.estimates import Estimate
from raypipe.core.statistics import (
    _decide,
    adjust,
    compare,
    describe,
    rank_agreement,
    summarize,
    too_few_prompts,
)


def scores(shift=0.0, n=40, seed=0):
    """Two models on the same prompts; a is `shift` more consistent."""
    rng = np.random.default_rng(seed)
    prompt = rng.normal(75, 8, size=n)
    return prompt + shift + rng.normal(0, 2, size=n), prompt + rng.normal(0, 2, size=n)


def judge(a, b, **options):
    return compare(a, b, a="new", b="old", seed=0, **{"resamples": 500, **options})


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
    assert result.mean_difference.value == pytest.approx((a - b).mean())
    assert result.mean_difference.low > 0
    assert result.hodges_lehmann.low > 0
    assert result.rank_biserial > 0.5
    assert result.wilcoxon.p_value == pytest.approx(scipy.stats.wilcoxon(a, b).pvalue)
    assert result.wilcoxon.p_adjusted == result.wilcoxon.p_value
    assert result.summary_a.mean - result.summary_b.mean == pytest.approx((a - b).mean())
    assert judge(b, a).verdict == "b_more_consistent"
    assert judge(*scores()).verdict == "no_difference_shown"


def test_intervals_follow_alpha():
    a, b = scores(shift=1)
    wide, narrow = judge(a, b, alpha=0.01), judge(a, b, alpha=0.2)
    assert wide.mean_difference.low < narrow.mean_difference.low
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
            if value is None and key not in ("reason", "p_adjusted"):
                assert record.get("reason") or record["reasons"][key], f"{path}.{key}"
    assert result["verdict_reason"]


def records(tree, path="comparison"):
    yield path, tree
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from records(value, f"{path}.{key}")


def test_constant_difference():
    a, _ = scores(n=20)
    result = judge(np.round(a) + 2, np.round(a))
    assert result.verdict == "a_more_consistent"
    assert (result.mean_difference.low, result.mean_difference.high) == (2, 2)
    assert (result.hodges_lehmann.low, result.hodges_lehmann.high) == (2, 2)
    assert result.rank_biserial == 1
    assert result.normality.differences.reason == "all differences are equal"


def test_equal_models():
    a, _ = scores()
    result = judge(a, a)
    assert result.verdict == "no_difference_shown"
    assert result.verdict_reason == "all paired differences are zero"
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


def test_too_few_is_exactly_what_the_exact_test_cannot_reach():
    for n in range(1, 12):
        smallest = scipy.stats.wilcoxon(np.arange(1.0, n + 1), method="exact").pvalue
        for alpha in (0.1, 0.05, 0.01, 0.001):
            assert too_few_prompts(n, alpha) == (smallest >= alpha)


@pytest.mark.parametrize(
    ("low", "high", "p", "effect", "verdict"),
    [
        (1, 2, 0.01, 0.5, "a_more_consistent"),
        (-2, -1, 0.01, -0.5, "b_more_consistent"),
        (-1, 1, 0.3, 0.1, "no_difference_shown"),
        (0, 1, 0.3, 0.1, "no_difference_shown"),
        (-1, 1, 0.01, 0.5, "undecided"),
        (1, 2, 0.06, 0.3, "undecided"),
        (1, 2, 0.01, -0.3, "undecided"),
    ],
)
def test_a_verdict_needs_interval_and_test(low, high, p, effect, verdict):
    mean = Estimate((low + high) / 2, low, high)
    assert _decide(100, mean, p, effect, 0.05)[0] == verdict


def test_a_few_extreme_prompts_decide_nothing():
    d = np.concatenate([np.full(80, 0.5) + np.arange(80) / 100, [-60.0] * 4])
    result = judge(d, np.zeros(84))
    assert result.mean_difference.value < 0 < result.hodges_lehmann.value
    assert result.verdict == "undecided"


def test_holm_over_several_comparisons():
    comparisons = [judge(*scores(shift, seed=7)) for shift in (0.0, 0.8, 4.0)]
    p = np.array([c.wilcoxon.p_value for c in comparisons])
    order = p.argsort()
    stepwise = np.minimum(1, np.maximum.accumulate(p[order] * [3, 2, 1]))  # Holm 1979, by hand
    expected = dict(zip(order, stepwise, strict=True))
    for index, c in enumerate(adjust(comparisons)):
        assert c.wilcoxon.p_adjusted == pytest.approx(expected[index])
        assert replace(c.wilcoxon, p_adjusted=p[index]) == comparisons[index].wilcoxon


def test_holm_can_take_a_verdict_back():
    b = np.zeros(6)
    alone = judge(b + np.arange(1, 7), b)  # p = 0.03125, the smallest that six prompts can give
    assert alone.verdict == "a_more_consistent"
    among = adjust([alone, alone])
    assert among[0].verdict == "undecided"
    assert among[0].wilcoxon.p_adjusted == pytest.approx(0.0625)


def test_undefined_tests_do_not_count_for_holm():
    a, b = scores(shift=2)
    equal, different = adjust([judge(a, a), judge(a, b)])
    assert equal.wilcoxon.p_adjusted is None
    assert different.wilcoxon.p_adjusted == different.wilcoxon.p_value
    assert adjust([]) == []
    with pytest.raises(ValueError, match="share one alpha"):
        adjust([judge(a, b), judge(a, b, alpha=0.01)])


def test_scores_that_cannot_be_compared():
    with pytest.raises(ValueError, match="got 3 and 2"):
        judge([1.0, 2, 3], [1.0, 2])
    with pytest.raises(ValueError, match="finite, got nan"):
        judge([1.0, np.nan], [1.0, 2])
    with pytest.raises(ValueError, match="non-empty"):
        judge([], [])


def test_false_verdicts_stay_below_alpha():
    verdicts = [judge(*scores(seed=seed), resamples=300).verdict for seed in range(200)]
    wrong = sum(verdict.endswith("more_consistent") for verdict in verdicts)
    assert wrong <= 18  # 5 % of 200 and two standard deviations


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
