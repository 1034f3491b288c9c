"""Accuracy on human choices and its tests, against scipy, statsmodels and brute force."""

import itertools

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from raypipe.core.bootstrap import bootstrap_mean
from raypipe.core.clusters import bootstrap_clusters, cluster_sums, sign_flip
from raypipe.core.ranking import (
    accuracy,
    accuracy_by_tag,
    adjust_metrics,
    agreement,
    clopper_pearson,
    compare_metrics,
    mcnemar,
)


def paired_outcomes(b, c, same=5):
    """`correct` of two metrics: a alone is right b times, b alone c times, both `same` times."""
    a = np.array([1] * b + [0] * c + [1] * same, dtype=float)
    return a, np.array([0] * b + [1] * c + [1] * same, dtype=float)


def test_agreement_by_hand():
    left, right, choices = [5.0, 1.0, 2.0, 2.0], [3.0, 4.0, 2.0, 1.0], [1, 1, 1, -1]
    assert agreement(left, right, choices).tolist() == [1, 0, 0.5, 0]
    assert agreement(left, right, choices, higher_is_better=False).tolist() == [0, 1, 0.5, 1]


@pytest.mark.parametrize(
    ("left", "right", "choices", "told"),
    [
        ([1.0], [np.nan], [1], "finite"),
        ([1.0], [2.0], [0], "1 \\(left\\) or -1"),
        ([1.0, 2.0], [1.0], [1], "one length"),
    ],
)
def test_agreement_refuses_what_has_no_meaning(left, right, choices, told):
    with pytest.raises(ValueError, match=told):
        agreement(left, right, choices)


@pytest.mark.parametrize(("k", "n"), [(0, 7), (1, 7), (7, 7), (40, 61), (812, 1000)])
def test_clopper_pearson_equals_scipy_and_statsmodels(k, n):
    for confidence in (0.9, 0.95):
        interval = clopper_pearson(k, n, confidence)
        exact = scipy.stats.binomtest(k, n).proportion_ci(confidence, "exact")
        assert interval == pytest.approx((exact.low, exact.high), abs=1e-9)
        other = proportion_confint(k, n, 1 - confidence, method="beta")
        assert interval == pytest.approx(other, abs=1e-9)


def test_a_metric_right_on_independent_pairs():
    correct = np.array([1.0] * 40 + [0.0] * 18 + [0.5] * 4)
    found = accuracy(correct, seed=0)
    assert (found.value, found.n, found.ties, found.photos) == (42 / 62, 62, 4, 62)
    assert (found.low, found.high) == pytest.approx(proportion_confint(42, 62, method="beta"))
    assert found.method == "Clopper-Pearson"


def test_pairs_of_one_photo_widen_the_interval():
    """Ten copies of each pair carry no more than one: the interval is that of the photos."""
    rng = np.random.default_rng(0)
    one = (rng.random(80) < 0.7).astype(float)
    photos = np.repeat(np.arange(80), 10)
    copied = accuracy(np.repeat(one, 10), photos, seed=1)
    independent = accuracy(np.repeat(one, 10), seed=1)
    assert copied.value == one.mean()
    assert copied.method == "BCa bootstrap over photos"
    plain = bootstrap_mean(one, seed=1)
    assert (copied.low, copied.high) == pytest.approx((plain.low, plain.high), abs=1e-12)
    assert copied.high - copied.low > 2.5 * (independent.high - independent.low)


def test_cluster_bootstrap_equals_scipys_on_unequal_clusters():
    rng = np.random.default_rng(3)
    counts = rng.integers(1, 7, size=45).astype(float)
    sums = rng.binomial(counts.astype(int), rng.beta(5, 2, size=45)).astype(float)
    found = bootstrap_clusters(sums, counts, seed=0, resamples=40_000)
    reference = scipy.stats.bootstrap(
        (sums, counts),
        lambda s, n, axis=-1: s.sum(axis=axis) / n.sum(axis=axis),
        paired=True,
        n_resamples=40_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert found.value == sums.sum() / counts.sum()
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=2e-3)


def test_the_interval_over_photos_covers_the_truth():
    """Photos differ in difficulty: of 300 experiments about 95 % hold the true accuracy."""
    rng = np.random.default_rng(5)
    hits = 0
    for trial in range(300):
        sizes = rng.integers(1, 9, size=60)
        chance = rng.choice([0.5, 0.95], size=60)  # independent of the sizes: the truth is 0.725
        sums = rng.binomial(sizes, chance).astype(float)
        found = bootstrap_clusters(sums, sizes, seed=trial, resamples=499)
        hits += found.low <= 0.725 <= found.high
    assert 0.90 < hits / 300 < 0.985


def test_always_right_is_not_certainty():
    photos = np.repeat(np.arange(20), 3)
    found = accuracy(np.ones(60), photos, seed=0)
    exact = scipy.stats.binomtest(20, 20).proportion_ci()
    assert (found.value, found.low, found.high) == (1, pytest.approx(exact.low), 1)
    assert found.method == "Clopper-Pearson over photos"


def test_too_little_to_say():
    assert accuracy([], seed=0).reason == "no pairs"
    one = accuracy([1.0, 0.0], ["a", "a"], seed=0)
    assert (one.value, one.low) == (0.5, None)
    assert "two or more photos" in one.reason


def test_by_tag_is_each_tags_own_accuracy():
    correct = np.array([1.0, 0.0, 1.0, 1.0, 0.5, 0.0])
    tags = ["weak", "weak", "strong", "strong", "weak", "strong"]
    found = accuracy_by_tag(correct, tags, seed=0)
    assert list(found) == ["strong", "weak"]
    assert (found["weak"].value, found["weak"].n, found["weak"].ties) == (0.5, 3, 1)
    assert found["strong"] == accuracy([1.0, 1.0, 0.0], seed=0)
    with pytest.raises(ValueError, match="each pair must have a tag"):
        accuracy_by_tag(correct, tags[1:], seed=0)


@pytest.mark.parametrize(("b", "c"), [(5, 0), (9, 3), (3, 9), (12, 12), (40, 61), (0, 1)])
def test_mcnemar_equals_statsmodels_and_enumeration(b, c):
    exact = statsmodels_mcnemar([[7, b], [c, 4]], exact=True)
    assert mcnemar(b, c).p_value == pytest.approx(exact.pvalue)
    assert mcnemar(b, c).statistic == exact.statistic
    chances = scipy.stats.binom.pmf(np.arange(b + c + 1), b + c, 0.5)
    as_likely = np.isclose(chances, chances[b])
    less = chances[(chances < chances[b]) & ~as_likely].sum()
    assert mcnemar(b, c, mid_p=True).p_value == pytest.approx(
        less + chances[as_likely].sum() / 2 if b != c else 1.0
    )


def test_mcnemar_of_a_published_table():
    """Fagerland, Lydersen and Laake 2013, table 1 (Bentur et al. 2009): 1 against 7 discordant."""
    assert mcnemar(1, 7).p_value == pytest.approx(0.0703, abs=5e-5)
    assert mcnemar(1, 7, mid_p=True).p_value == pytest.approx(0.0391, abs=5e-5)


def test_mcnemar_is_undefined_without_a_difference():
    assert mcnemar(0, 0).p_value is None
    assert mcnemar(0, 0).reason == "no pair on which they differ"


def test_sign_flips_equal_all_patterns_and_scipys_permutation_test():
    sums = np.array([2.0, 1.5, -0.5, 3.0, 0.0, 1.0, -1.0])
    kept = sums[sums != 0]
    totals = [abs(np.dot(p, kept)) for p in itertools.product([1, -1], repeat=len(kept))]
    exact = np.mean(np.array(totals) >= abs(kept.sum()))
    assert sign_flip(sums, seed=0).p_value == exact
    outcome = scipy.stats.permutation_test(
        (kept, np.zeros_like(kept)),
        lambda x, y, axis=-1: abs((x - y).sum(axis=axis)),
        permutation_type="samples",
        vectorized=True,
        alternative="greater",
    )
    assert outcome.pvalue == pytest.approx(exact)


def test_sign_flips_of_single_pairs_are_mcnemars_exact_test():
    a, b = paired_outcomes(9, 3)
    assert sign_flip(a - b, seed=0).p_value == pytest.approx(mcnemar(9, 3).p_value)
    many = sign_flip(np.array([1.0] * 40 + [-1.0] * 22), seed=0, resamples=20_000)
    assert many.p_value == pytest.approx(mcnemar(40, 22).p_value, abs=0.005)
    assert sign_flip(np.zeros(4), seed=0).p_value is None


def test_sign_flips_keep_their_level_where_mcnemar_does_not():
    """Two equal metrics whose errors stick to photos: McNemar cries wolf, the flips do not."""
    rng = np.random.default_rng(11)
    alarms = np.zeros(2)
    for trial in range(300):
        sides = np.repeat(rng.choice([-1.0, 1.0], size=25), 6)
        sums, _ = cluster_sums(sides, np.repeat(np.arange(25), 6))
        alarms[0] += mcnemar(int((sides > 0).sum()), int((sides < 0).sum())).p_value < 0.05
        alarms[1] += sign_flip(sums, seed=trial, resamples=399).p_value < 0.05
    assert alarms[0] / 300 > 0.25
    assert alarms[1] / 300 < 0.08


def test_comparing_metrics_on_independent_pairs():
    a, b = paired_outcomes(30, 12, same=50)
    found = compare_metrics(a, b, a="x", b="y", seed=0)
    assert (found.a_better, found.b_better, found.n) == (30, 12, 92)
    assert found.difference.value == pytest.approx(18 / 92)
    assert found.difference == bootstrap_mean(a - b, seed=0)
    assert found.mcnemar == mcnemar(30, 12)
    assert found.test.p_value == mcnemar(30, 12, mid_p=True).p_value == found.test.p_adjusted


def test_a_comparison_flips_with_its_sides():
    a, b = paired_outcomes(30, 12, same=50)
    photos = np.arange(len(a)) // 4
    there = compare_metrics(a, b, photos, a="x", b="y", seed=0)
    back = compare_metrics(b, a, photos, a="y", b="x", seed=0)
    assert there.difference.value == -back.difference.value
    assert there.test.method.startswith("sign flips of whole photos")
    assert there.test.p_value == pytest.approx(back.test.p_value, abs=0.01)
    assert (there.a_better, there.b_better) == (back.b_better, back.a_better)


def test_a_tie_against_right_is_worse_and_counts():
    found = compare_metrics([1.0, 0.5, 0.5], [0.5, 0.5, 0.0], a="x", b="y", seed=0)
    assert (found.a_better, found.b_better) == (2, 0)
    assert found.difference.value == pytest.approx(1 / 3)


def test_several_comparisons_are_corrected_by_holm():
    comparisons = [
        compare_metrics(*paired_outcomes(b, c), a="x", b=str(b), seed=0)
        for b, c in [(30, 12), (9, 3), (20, 19), (0, 0)]
    ]
    adjusted = adjust_metrics(comparisons)
    raw = [c.test.p_value for c in comparisons[:3]]
    assert [c.test.p_adjusted for c in adjusted[:3]] == pytest.approx(
        multipletests(raw, method="holm")[1].tolist()
    )
    assert adjusted[3].test.p_adjusted is None
    assert [c.test.p_value for c in adjusted[:3]] == raw
