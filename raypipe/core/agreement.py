"""Do people agree: with each other, with themselves, and with a score?

Two things, a and b, are compared: a vote is 1 for a, -1 for b, 0 for "cannot tell", and NaN where
somebody did not answer. Ratings are numbers, NaN where there is none.

Shape letters: A annotators, M items, C categories, B resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike

from raypipe.core.bootstrap import chunks, percentile_ends
from raypipe.core.estimates import Estimate, Significance
from raypipe.core.pairs import FloatArray
from raypipe.core.ranking import clopper_pearson

Level = Literal["nominal", "ordinal"]

BINS = 3
"""Parts of equal size into which items are cut by how sure the score is."""


@dataclass(frozen=True)
class Share(Estimate):
    """A share of n trials, with Clopper and Pearson's interval."""

    n: int = 0


@dataclass(frozen=True)
class Bin:
    """Agreement where the score's difference is of a certain size."""

    smallest: float
    largest: float
    agreement: Share


@dataclass(frozen=True)
class Surer:
    """Does a score agree with people more often where its difference is larger?"""

    bins: list[Bin]
    probability: float | None
    """That the difference is larger on an item where it agrees than on one where it does not,
    ties half: 1/2 if the size carries no information."""
    test: Significance


def share(right: float, n: int, confidence: float = 0.95) -> Share:
    """right / n with its interval, undefined for no trials. Half a trial may be right."""
    if not n:
        return Share(None, None, None, "no answers", 0)
    low, high = clopper_pearson(right, n, confidence)
    return Share(right / n, low, high, None, n)


def majority(votes: ArrayLike) -> FloatArray:
    """What most annotators chose, votes (A, M) → (M,): 1, -1, 0 for a tie, NaN without votes.

    The side with more votes wins; those who cannot tell take no side.

    >>> majority([[1, 1, 0], [1, -1, 0], [-1, 0, 0]]).tolist()
    [1.0, 0.0, 0.0]
    """
    v_AM = _votes(votes)
    side_M = np.sign(np.nansum(v_AM, axis=0))
    return np.asarray(np.where(np.isnan(v_AM).all(axis=0), np.nan, side_M))


def with_others(votes: ArrayLike, confidence: float = 0.95) -> list[Share]:
    """How often each annotator chooses what most of the *others* chose, votes (A, M) → A shares.

    Only items on which both are decided count. Leaving the annotator's own vote out
    keeps a single vote from agreeing with itself.
    """
    v_AM = _votes(votes)
    found = []
    for own in range(len(v_AM)):
        if len(v_AM) < 2:
            return [Share(None, None, None, "there is no other annotator")]
        others_M = majority(np.delete(v_AM, own, axis=0))
        both_M = (np.abs(others_M) == 1) & (np.abs(v_AM[own]) == 1)
        agree = int((others_M == v_AM[own])[both_M].sum())
        found.append(share(agree, int(both_M.sum()), confidence))
    return found


def counts_of(values: ArrayLike, categories: Sequence[float]) -> FloatArray:
    """How many annotators put each item into each category, values (A, M) → (M, C)."""
    v_AM = np.asarray(values, dtype=np.float64)
    return np.stack([(v_AM == category).sum(axis=0) for category in categories], axis=1).astype(
        np.float64
    )


def fleiss_kappa(counts: ArrayLike) -> tuple[float | None, int, str | None]:
    """Fleiss' kappa of counts (M, C) → (kappa, items, why there is none).

    It is defined for equally many answers to each item: those items are taken that have the most.
    The value is statsmodels' `fleiss_kappa`. Source: Fleiss 1971.
    """
    n_MC = np.asarray(counts, dtype=np.float64)
    given_M = n_MC.sum(axis=1)
    most = float(given_M.max(initial=0))
    if most < 2:
        return None, 0, "kappa needs two or more answers to an item"
    whole_MC = n_MC[given_M == most]
    if np.count_nonzero(whole_MC.sum(axis=0)) < 2:
        return None, len(whole_MC), "all answers are alike"
    from statsmodels.stats.inter_rater import fleiss_kappa as kappa

    return float(kappa(whole_MC, method="fleiss")), len(whole_MC), None


def krippendorff_alpha(
    counts: ArrayLike, level: Level, *, seed: int, resamples: int = 1999, confidence: float = 0.95
) -> Estimate:
    """Krippendorff's alpha of counts (M, C), categories in order, with its interval over items.

    With m_u answers to item u, the coincidences are  o_ck = Σ_u n_uc (n_uk - [c = k]) / (m_u - 1),
    n_c = Σ_k o_ck, n = Σ n_c, and

        alpha = 1 - (n - 1) Σ o_ck δ_ck / Σ n_c n_k δ_ck

    where δ is 0 or 1 for `nominal`, and (n_c/2 + Σ_{c<g<k} n_g + n_k/2)² for `ordinal`. Items with
    fewer than two answers carry no information; missing answers are allowed. The interval is the
    percentile bootstrap over items. Source: Krippendorff 2011, "Computing Krippendorff's
    Alpha-Reliability".
    """
    n_MC = np.asarray(counts, dtype=np.float64)
    m_M = n_MC.sum(axis=1)
    n_MC, m_M = n_MC[m_M > 1], m_M[m_M > 1]
    if not len(n_MC):
        return Estimate(None, None, None, "alpha needs two or more answers to an item")
    pairs_MCC = n_MC[:, :, None] * (n_MC[:, None, :] - np.eye(n_MC.shape[1]))
    pairs_MCC = pairs_MCC / (m_M - 1)[:, None, None]
    whole = _alphas(pairs_MCC.sum(axis=0)[None], level)[0]
    if np.isnan(whole):
        return Estimate(None, None, None, "all answers are alike")
    if len(n_MC) < 2:
        return Estimate(float(whole), None, None, "an interval needs two or more items")
    rng = np.random.default_rng(seed)
    flat, n = pairs_MCC.reshape(len(n_MC), -1), len(n_MC)
    alphas = []
    for size in chunks(resamples, n):
        drawn_BM = rng.multinomial(n, np.full(n, 1 / n), size=size)
        alphas.append(_alphas((drawn_BM @ flat).reshape(-1, *pairs_MCC.shape[1:]), level))
    known = np.concatenate(alphas)
    known = known[~np.isnan(known)]  # draws of items that are all alike
    return Estimate(float(whole), *percentile_ends(known, confidence))


def _alphas(o_BCC: FloatArray, level: Level) -> FloatArray:
    """alpha of B coincidence matrices → (B,), NaN where all answers are alike."""
    n_BC = o_BCC.sum(axis=2)
    n_B = n_BC.sum(axis=1)
    if level == "nominal":
        distance = np.broadcast_to(1.0 - np.eye(n_BC.shape[1]), o_BCC.shape)
    else:
        middle_BC = np.cumsum(n_BC, axis=1) - n_BC / 2
        distance = (middle_BC[:, :, None] - middle_BC[:, None, :]) ** 2
    expected_B = (n_BC[:, :, None] * n_BC[:, None, :] * distance).sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        alpha_B = 1 - (n_B - 1) * (o_BCC * distance).sum(axis=(1, 2)) / expected_B
    return np.asarray(np.where(expected_B > 0, alpha_B, np.nan))


def over_people(
    votes: ArrayLike,
    sides: ArrayLike,
    *,
    seed: int,
    resamples: int = 1999,
    confidence: float = 0.95,
) -> Estimate:
    """Agreement of a score with the majority, for other items *and* other annotators.

    votes (A, M); sides (M,): 1 or -1 for what the score prefers, 0 where it scores both alike. Both
    annotators and items are drawn with replacement, the majority is taken again, undecided items
    drop out, and a tie of the score counts half; percentile interval. Like every crossed bootstrap
    it is somewhat wide (Owen 2007). One annotator or one item: no interval.
    """
    v_AM, side_M = _votes(votes), np.asarray(sides, dtype=np.float64)
    filled_AM = np.nan_to_num(v_AM)
    whole_M = np.sign(filled_AM.sum(axis=0))
    decided_M = whole_M != 0
    if not decided_M.any():
        return Estimate(None, None, None, "people are undecided on every item")
    value = float(((1 + side_M * whole_M) / 2)[decided_M].mean())
    if len(v_AM) < 2 or v_AM.shape[1] < 2:
        return Estimate(value, None, None, "the interval needs two annotators and two items")
    rng = np.random.default_rng(seed)
    (a, m), shares = v_AM.shape, []
    for size in chunks(resamples, m):
        people_BA = rng.multinomial(a, np.full(a, 1 / a), size=size)
        items_BM = rng.multinomial(m, np.full(m, 1 / m), size=size)
        most_BM = np.sign(people_BA @ filled_AM)
        weights_BM = items_BM * (most_BM != 0)
        right_BM = (1 + side_M * most_BM) / 2
        total_B = weights_BM.sum(axis=1)
        shares.append((right_BM * weights_BM).sum(axis=1)[total_B > 0] / total_B[total_B > 0])
    return Estimate(value, *percentile_ends(np.concatenate(shares), confidence))


def surer(differences: ArrayLike, correct: ArrayLike, confidence: float = 0.95) -> Surer:
    """Agreement by the size of a score's difference, both (M,); correct is 1, 1/2 or 0.

    The bins hold equally many items. The test is Mann and Whitney's, two-sided, of the sizes where
    the score agrees against those where it does not; half-right items are left out of it.
    """
    size_M = np.abs(np.asarray(differences, dtype=np.float64))
    right_M = np.asarray(correct, dtype=np.float64)
    name = "Mann-Whitney U"
    if len(size_M) and np.ptp(size_M) == 0:
        return Surer([], None, Significance(None, None, name, "all differences are alike"))
    order = np.argsort(size_M, kind="stable")
    bins = [
        Bin(
            float(size_M[part].min()),
            float(size_M[part].max()),
            share(float(right_M[part].sum()), len(part), confidence),
        )
        for part in np.array_split(order, BINS)
        if len(part)
    ]
    agree, differ = size_M[right_M == 1], size_M[right_M == 0]
    if not len(agree) or not len(differ):
        what = "no item on which it agrees" if not len(agree) else "no item on which it differs"
        return Surer(bins, None, Significance(None, None, name, what))
    found = scipy.stats.mannwhitneyu(agree, differ)
    probability = float(found.statistic) / (len(agree) * len(differ))
    test = Significance(float(found.statistic), float(found.pvalue), name)
    return Surer(bins, probability, test)


def _votes(votes: ArrayLike) -> FloatArray:
    v_AM = np.asarray(votes, dtype=np.float64)
    if v_AM.ndim != 2 or not np.isin(v_AM[~np.isnan(v_AM)], (1, 0, -1)).all():
        raise ValueError("votes must be a table of 1, 0, -1 and NaN, one row per annotator")
    return v_AM
