"""People with each other, with themselves, and with a score."""

import krippendorff
import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from raypipe.core import agreement as core

NAN = np.nan

KRIPPENDORFF_2011 = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
]
"""Four observers, twelve units, missing data: example C of "Computing Krippendorff's
Alpha-Reliability", where nominal alpha is 0.743 and ordinal 0.815."""

FOURTEEN_RATERS = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip
"""A textbook example of Fleiss' kappa: 0.210."""


def test_alpha_is_that_of_the_published_example():
    counts = core.counts_of(KRIPPENDORFF_2011, (1, 2, 3, 4, 5))
    nominal = core.krippendorff_alpha(counts, "nominal", seed=0)
    ordinal = core.krippendorff_alpha(counts, "ordinal", seed=0)
    assert (round(nominal.value, 3), round(ordinal.value, 3)) == (0.743, 0.815)
    assert nominal.low < nominal.value < nominal.high


@given(st.integers(0, 10**6), st.sampled_from(["nominal", "ordinal"]))
def test_alpha_is_that_of_another_implementation(seed, level):
    rng = np.random.default_rng(seed)
    values = rng.integers(1, 5, size=(rng.integers(2, 6), rng.integers(3, 15))).astype(float)
    values[rng.random(values.shape) < 0.3] = NAN
    counts = core.counts_of(values, (1, 2, 3, 4))
    found = core.krippendorff_alpha(counts, level, seed=0, resamples=99)
    pairable = values[:, (~np.isnan(values)).sum(axis=0) > 1]
    if len(np.unique(pairable[~np.isnan(pairable)])) < 2:
        assert found.value is None
        assert found.reason
        return
    expected = krippendorff.alpha(values, level_of_measurement=level)
    assert found.value == pytest.approx(expected)


def test_the_interval_of_alpha_is_a_bootstrap_over_items():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, 80)
    values = np.where(rng.random((4, 80)) < 0.2, 1 - truth, truth).astype(float)
    counts = core.counts_of(values, (0, 1))
    found = core.krippendorff_alpha(counts, "nominal", seed=0, resamples=999)
    drawn = [
        krippendorff.alpha(values[:, rng.integers(80, size=80)], level_of_measurement="nominal")
        for _ in range(400)
    ]
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.03)


def test_fleiss_kappa_is_that_of_the_published_example():
    kappa, items, reason = core.fleiss_kappa(FOURTEEN_RATERS)
    assert (round(kappa, 3), items, reason) == (0.210, 10, None)
    with_a_gap = [*FOURTEEN_RATERS, [1, 0, 0, 0, 0]]
    assert core.fleiss_kappa(with_a_gap)[:2] == (kappa, 10)


@pytest.mark.parametrize("counts", [[[1, 0], [0, 1]], [[3, 0], [3, 0]], np.empty((0, 2))])
def test_what_has_no_reliability_has_a_reason(counts):
    assert core.fleiss_kappa(counts)[0] is None
    assert core.fleiss_kappa(counts)[2]
    alpha = core.krippendorff_alpha(counts, "nominal", seed=0)
    assert alpha.value is None
    assert alpha.reason


def test_the_majority_has_ties_and_gaps():
    votes = [[1, 1, 0, NAN, -1], [1, -1, 0, NAN, -1], [-1, NAN, 1, NAN, 0]]
    assert core.majority(votes)[:3].tolist() == [1, 0, 1]
    assert np.isnan(core.majority(votes)[3])
    assert core.majority(votes)[4] == -1
    with pytest.raises(ValueError, match="votes must be a table of 1, 0, -1 and NaN"):
        core.majority([[2.0]])


def test_a_lone_vote_does_not_agree_with_itself():
    votes = [[1, 1, 1, 0], [1, 1, -1, 1], [1, -1, 1, NAN]]
    found = core.with_others(votes)
    assert [(share.value, share.n) for share in found] == [(1.0, 1), (0.5, 2), (0.5, 2)]
    assert core.with_others([[1, -1]])[0].reason == "there is no other annotator"


def test_a_share_has_the_exact_interval():
    expected = scipy.stats.binomtest(17, 20).proportion_ci(0.9)
    found = core.share(17, 20, 0.9)
    assert (found.value, found.n) == (0.85, 20)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert core.share(0, 0).value is None


def test_the_interval_over_people_is_that_of_drawing_one_by_one():
    rng = np.random.default_rng(2)
    side = rng.choice([1.0, -1.0], 60)
    wrong = rng.random((5, 60)) < np.array([0.05, 0.1, 0.2, 0.3, 0.45])[:, None]
    votes = np.where(wrong, -side, side)
    votes[rng.random(votes.shape) < 0.1] = 0
    votes[0, :5] = NAN
    drawn = []
    for _ in range(1500):
        people, items = rng.integers(5, size=5), rng.integers(60, size=60)
        right = []
        for item in items:
            total = sum(votes[p, item] for p in people if not np.isnan(votes[p, item]))
            if total:
                right.append(np.sign(total) == side[item])
        drawn.append(np.mean(right))
    found = core.over_people(votes, side, seed=0)
    most = core.majority(votes)
    assert found.value == pytest.approx((most == side)[most != 0].mean())
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.03)
    assert core.over_people(votes[:1], side, seed=0).low is None
    assert core.over_people(np.zeros((3, 4)), np.ones(4), seed=0).value is None


def test_how_sure_a_score_is_says_something_or_not():
    rng = np.random.default_rng(3)
    size = rng.uniform(0, 10, 200)
    correct = (rng.random(200) < 0.5 + size / 22).astype(float)
    found = core.surer(size * rng.choice([1, -1], 200), correct)
    assert [part.agreement.n for part in found.bins] == [67, 67, 66]
    assert found.bins[0].largest <= found.bins[1].smallest
    agree, differ = size[correct == 1], size[correct == 0]
    pairs = (agree[:, None] > differ).mean() + (agree[:, None] == differ).mean() / 2
    assert found.probability == pytest.approx(pairs)
    assert found.test.p_value < 0.01
    none = core.surer([1.0, 2.0], [1.0, 1.0])
    assert (none.probability, none.test.reason) == (None, "no item on which it differs")
    assert core.surer([], []).bins == []
