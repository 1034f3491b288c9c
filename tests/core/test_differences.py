"""The rule of the verdict, against formulas written out and against other libraries."""

import numpy as np
import pytest
from scipy import stats

from raypipe.core.differences import compare_pairs, compare_scores, compare_sums
from raypipe.core.pairs import pair_scores


def scores_of(seed, prompts=6, seeds=5, shared=0.5):
    """Pair scores (P, M) of pictures whose seeds have something in common over prompts."""
    draw = np.random.default_rng(seed)
    common = draw.standard_normal((1, seeds, 8))
    own = draw.standard_normal((prompts, seeds, 8))
    level = 2 * draw.standard_normal((prompts, 1, 8))
    return pair_scores(level + shared**0.5 * common + (1 - shared) ** 0.5 * own)


def without(pairs, prompt, picture):
    """The scores with one picture missing."""
    n = round((1 + (1 + 8 * pairs.shape[1]) ** 0.5) / 2)
    rows, columns = np.tril_indices(n, -1)
    left = pairs.copy()
    left[prompt, (rows == picture) | (columns == picture)] = np.nan
    return left


def matrix(pairs, n):
    full = np.zeros((n, n))
    full[np.tril_indices(n, -1)] = pairs
    return full + full.T


def sums(pairs, n):
    full = np.stack([matrix(row, n) for row in pairs])
    full[:, np.arange(n), np.arange(n)] = 0
    total = np.nansum(full, axis=2)
    total[np.isnan(full).sum(axis=2) >= n - 1] = np.nan
    return total


def test_the_crossed_rule_is_its_formulas_written_out():
    P, N = 6, 5
    a, b = scores_of(1, shared=0.9), scores_of(2, shared=0.9)
    d = np.stack([matrix(row, N) for row in a - b])
    whole = [d[p][np.tril_indices(N, -1)].mean() for p in range(P)]
    psi = np.empty((P, N))
    for p in range(P):
        for i in range(N):  # the jackknife itself: leave picture i out and average again
            kept = [k for k in range(N) if k != i]
            rest = d[p][np.ix_(kept, kept)][np.tril_indices(N - 1, -1)].mean()
            psi[p, i] = N * whole[p] - (N - 1) * rest
    mean = psi.mean()
    v_p = sum((psi[p].mean() - mean) ** 2 for p in range(P)) / (P * (P - 1))
    v_s = sum((psi[:, i].mean() - mean) ** 2 for i in range(N)) / (N * (N - 1))
    v_ps = sum(
        (psi[p, i] - psi[p].mean() - psi[:, i].mean() + mean) ** 2
        for p in range(P)
        for i in range(N)
    ) / (P * N * (P - 1) * (N - 1))
    assert v_s > v_ps, "the case must use all of the rule"
    v = v_p + v_s - v_ps
    df = v**2 / (v_p**2 / (P - 1) + v_s**2 / (N - 1) + v_ps**2 / ((P - 1) * (N - 1)))
    made = compare_pairs(a, b)
    assert made.mean == pytest.approx(np.mean(whole))
    assert made.variance.prompts == pytest.approx(v_p)
    assert made.variance["seeds"] == pytest.approx(v_s)
    assert made.variance["interaction"] == pytest.approx(v_ps)
    assert made.df == pytest.approx(df)
    assert made.p_value == pytest.approx(2 * stats.t.sf(abs(mean) / v**0.5, df))
    assert (made.low, made.high) == pytest.approx(stats.t.interval(0.95, df, mean, v**0.5))
    assert made.se == pytest.approx(v**0.5)


def test_seeds_that_add_nothing_leave_the_spread_over_prompts():
    draw = np.random.default_rng(0)
    a = draw.normal(size=(9, 3)) + np.arange(9)[:, None]
    a -= a.mean(axis=0) - a.mean()  # every seed has the same mean: V_S is zero
    made = compare_scores(a, np.zeros_like(a))
    assert made.variance.seeds == pytest.approx(0)
    assert made.variance.interaction > 0
    test = stats.ttest_1samp(a.mean(axis=1), 0)
    assert (made.p_value, made.df) == pytest.approx((test.pvalue, 8))


def test_nested_is_the_t_test_over_prompts():
    a, b = scores_of(3), scores_of(4)
    made = compare_pairs(a, b, design="nested", alpha=0.1)
    test = stats.ttest_1samp((a - b).mean(axis=1), 0)
    low, high = test.confidence_interval(0.9)
    assert (made.p_value, made.df) == pytest.approx((test.pvalue, 5))
    assert (made.low, made.high) == pytest.approx((low, high))
    assert made.variance.seeds is None
    assert made.variance.interaction is None
    assert made.n_seeds is None


@pytest.mark.parametrize("design", ["crossed", "nested"])
def test_pairs_and_sums_are_one_rule(design):
    a, b = without(scores_of(5), 2, 1), without(scores_of(6), 2, 1)
    by_pairs = compare_pairs(a, b, design=design)
    by_sums = compare_sums(sums(a, 5), sums(b, 5), design=design)
    for name in ("mean", "low", "high", "p_value", "df", "n_prompts", "n_seeds", "left_out"):
        assert getattr(by_pairs, name) == pytest.approx(getattr(by_sums, name)), name


def test_what_both_models_have_counts():
    a, b = scores_of(7), scores_of(8)
    one_sided = compare_pairs(without(a, 0, 3), without(b, 1, 2))
    both = without(without(a, 0, 3), 1, 2), without(without(b, 0, 3), 1, 2)
    assert one_sided == compare_pairs(*both)


def test_a_seed_or_a_prompt_that_is_gone_is_as_if_it_had_not_been():
    a, b = scores_of(9), scores_of(10)
    a_hole = a.copy()
    for prompt in range(6):
        a_hole = without(a_hole, prompt, 4)  # the last seed: its pairs are the last ones
    fewer = compare_pairs(a[:, :6], b[:, :6])
    assert compare_pairs(a_hole, b) == fewer
    assert fewer.n_seeds == 4
    a_hole = without(without(without(a, 2, 0), 2, 1), 2, 2)  # two pictures are left
    dropped = compare_pairs(a_hole, b)
    kept = compare_pairs(np.delete(a, 2, 0), np.delete(b, 2, 0))
    assert (dropped.mean, dropped.p_value) == (kept.mean, kept.p_value)
    assert (dropped.n_prompts, dropped.left_out) == (5, 1)
    nested = compare_pairs(a_hole, b, design="nested")
    assert (nested.n_prompts, nested.left_out) == (6, 0)


def test_prompts_weigh_equally_whatever_they_have_lost():
    a = np.array([[1.0, 1, 1, 1], [5, np.nan, 5.5, np.nan], [2, 2.5, 3, np.nan]])
    made = compare_scores(a, np.zeros_like(a))
    assert made.mean == pytest.approx(np.mean([1, 5.25, 2.5]))


def test_order_and_sign_do_not_matter():
    a, b = without(scores_of(11), 1, 1), scores_of(12)
    made, turned = compare_pairs(a, b), compare_pairs(b, a)
    assert turned.mean == -made.mean
    assert (turned.low, turned.high) == (-made.high, -made.low)
    assert turned.p_value == made.p_value
    order = np.random.default_rng(0).permutation(6)
    shuffled = compare_pairs(a[order], b[order])
    assert shuffled.p_value == pytest.approx(made.p_value)
    x, y = np.random.default_rng(1).normal(size=(2, 6, 5))
    seeds = np.random.default_rng(2).permutation(5)
    one, other = compare_scores(x, y), compare_scores(x[:, seeds], y[:, seeds])
    assert one.p_value == pytest.approx(other.p_value)


@pytest.mark.parametrize(
    ("a", "design", "reason"),
    [
        (scores_of(1, prompts=1), "crossed", "one prompt"),
        (scores_of(1, prompts=1), "nested", "one prompt"),
        (scores_of(1, seeds=2), "crossed", "3 seeds or more, got 2"),
        (np.full((6, 10), np.nan), "crossed", "no prompt has enough pictures"),
        (np.zeros((6, 10)), "crossed", "the same for all"),
    ],
)
def test_no_verdict_has_its_reason(a, design, reason):
    made = compare_pairs(a, np.zeros_like(a), design=design)
    assert (made.low, made.high, made.p_value, made.df, made.se) == (None,) * 5
    assert reason in made.reason


def test_a_difference_that_is_rounding_is_no_spread():
    a = scores_of(13)
    made = compare_pairs(a + 3, a)
    assert made.mean == pytest.approx(3)
    assert made.p_value is None
    assert "the same" in made.reason


def test_nested_needs_two_pictures_only():
    a, b = scores_of(1, seeds=2), scores_of(2, seeds=2)
    assert compare_pairs(a, b, design="nested").p_value is not None


def broken(change):
    a = scores_of(1)
    change(a)
    return a


@pytest.mark.parametrize(
    ("a", "b", "options", "message"),
    [
        (scores_of(1), scores_of(1)[:3], {}, "one shape"),
        (scores_of(1)[0], scores_of(1)[0], {}, "tables of one shape"),
        (scores_of(1)[:, :4], scores_of(1)[:, :4], {}, "N(N-1)/2"),
        (broken(lambda a: a.__setitem__((0, 0), np.nan)), scores_of(1), {}, "a pair is NaN"),
        (broken(lambda a: a.__setitem__((0, 0), np.inf)), scores_of(1), {}, "infinity"),
        (scores_of(1), scores_of(1), {"design": "both"}, "crossed or nested"),
        (scores_of(1), scores_of(1), {"alpha": 0}, "alpha"),
    ],
)
def test_what_it_refuses(a, b, options, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        compare_pairs(a, b, **options)


def test_sums_over_different_pictures_are_refused():
    a = np.ones((3, 4))
    b = a.copy()
    b[0, 0] = np.nan
    with pytest.raises(ValueError, match="both models have"):
        compare_sums(a, b)
