"""How often does a metric choose what people chose, and does another one do so more often?

A pair is two pictures between which people decided; pairs on which they were undecided are left out
before. `correct` holds, for each pair, 1 where the metric agrees, 0 where it does not, and 1/2
where it scores both alike. Pairs made of one photo depend on each other: they are one cluster.

Shape letters: M pairs, K clusters.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy
from numpy.typing import ArrayLike

from raypipe.core.clusters import bootstrap_clusters, cluster_sums, sign_flip
from raypipe.core.estimates import AdjustedSignificance, Estimate, Significance
from raypipe.core.pairs import FloatArray
from raypipe.core.statistics import holm


@dataclass(frozen=True)
class Accuracy(Estimate):
    """Share of pairs on which a metric agrees with people, with its interval."""

    n: int = 0
    """Pairs."""
    ties: int = 0
    """Pairs that the metric scores alike; each counts half."""
    photos: int = 0
    """Clusters that they come from."""
    method: str = ""
    """Where the interval comes from."""


@dataclass(frozen=True)
class MetricComparison:
    """Metric a against metric b on the same pairs; positive means that a agrees more often."""

    a: str
    b: str
    n: int
    difference: Estimate
    """Accuracy of a minus that of b, with the interval over clusters."""
    a_better: int
    """Pairs on which a does better than b, ties between right and wrong."""
    b_better: int
    mcnemar: Significance
    test: AdjustedSignificance
    """What decides: McNemar's mid-p where every pair is a cluster of its own, else sign flips."""


def agreement(
    left_scores: ArrayLike,
    right_scores: ArrayLike,
    choices: ArrayLike,
    *,
    higher_is_better: bool = True,
) -> FloatArray:
    """`correct` of a metric, from its scores of both sides and what people chose, each (M,).

    choices: 1 for left, -1 for right. ValueError for other choices, and for scores that are not
    finite.

    >>> agreement([3.0, 1.0, 2.0], [2.0, 5.0, 2.0], [1, 1, -1]).tolist()
    [1.0, 0.0, 0.5]
    """
    left_M, right_M = np.asarray(left_scores, float), np.asarray(right_scores, float)
    chosen_M = np.asarray(choices)
    if left_M.ndim != 1 or left_M.shape != right_M.shape or left_M.shape != chosen_M.shape:
        raise ValueError(
            "scores and choices must be rows of one length, got "
            f"{left_M.shape}, {right_M.shape} and {chosen_M.shape}"
        )
    if not (np.isfinite(left_M).all() and np.isfinite(right_M).all()):
        raise ValueError("scores must be finite: leave out pairs without one")
    if not np.isin(chosen_M, (1, -1)).all():
        raise ValueError("a choice must be 1 (left) or -1 (right): leave out undecided pairs")
    side_M = np.sign(left_M - right_M) * (1 if higher_is_better else -1)
    return np.asarray((1 + side_M * chosen_M) / 2)


def accuracy(
    correct: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    seed: int,
    resamples: int = 9999,
    confidence: float = 0.95,
) -> Accuracy:
    """Share of pairs on which a metric agrees with people; clusters (M,) name each pair's cluster.

    Where every pair is a cluster of its own (or none is given) the interval is Clopper and
    Pearson's; else clusters are resampled (`bootstrap_clusters`). Where the metric is right on all
    pairs, or wrong on all, resampling would give no width: then it is Clopper and Pearson's with
    clusters, not pairs, as trials. No pairs: no value.
    """
    correct_M = _checked(correct)
    n, ties = len(correct_M), int((correct_M == 0.5).sum())
    if not n:
        return Accuracy(None, None, None, "no pairs", method="")
    sums_K, counts_K = cluster_sums(correct_M, np.arange(n) if clusters is None else clusters)
    k, value = len(sums_K), float(correct_M.mean())
    if k == n:
        low, high = clopper_pearson(float(correct_M.sum()), n, confidence)
        return Accuracy(value, low, high, None, n, ties, k, "Clopper-Pearson")
    if value in (0, 1):
        low, high = clopper_pearson(value * k, k, confidence)
        return Accuracy(value, low, high, None, n, ties, k, "Clopper-Pearson over photos")
    found = bootstrap_clusters(
        sums_K, counts_K, seed=seed, resamples=resamples, confidence=confidence
    )
    return Accuracy(
        value, found.low, found.high, found.reason, n, ties, k, "BCa bootstrap over photos"
    )


def accuracy_by_tag(
    correct: ArrayLike,
    tags: Sequence[str],
    clusters: ArrayLike | None = None,
    *,
    seed: int,
    resamples: int = 9999,
    confidence: float = 0.95,
) -> dict[str, Accuracy]:
    """`accuracy` of the pairs of each tag, (M,) and (M,), in the order of the tags' names."""
    correct_M, tags_M = _checked(correct), np.asarray(tags, dtype=object)
    if tags_M.shape != correct_M.shape:
        raise ValueError(f"each pair must have a tag, got {len(tags_M)} for {len(correct_M)}")
    clusters_M = np.arange(len(correct_M)) if clusters is None else np.asarray(clusters)
    return {
        tag: accuracy(
            correct_M[tags_M == tag],
            clusters_M[tags_M == tag],
            seed=seed,
            resamples=resamples,
            confidence=confidence,
        )
        for tag in sorted(set(tags))
    }


def clopper_pearson(k: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share k / n of independent trials.

    Its ends are quantiles of Beta(k, n - k + 1) and Beta(k + 1, n - k). A tie that counts half
    makes k fractional, where these still hold and are, if anything, too wide: a half varies less
    than a right or wrong. Source: Clopper and Pearson 1934.

    >>> [round(end, 4) for end in clopper_pearson(9, 10)]
    [0.555, 0.9975]
    """
    tail = (1 - confidence) / 2
    low = scipy.special.betaincinv(k, n - k + 1, tail) if k > 0 else 0.0
    high = scipy.special.betaincinv(k + 1, n - k, 1 - tail) if k < n else 1.0
    return float(low), float(high)


def mcnemar(a_better: int, b_better: int, *, mid_p: bool = False) -> Significance:
    """McNemar's test on the pairs where two metrics differ; the statistic is the smaller count.

    Under the null hypothesis each such pair is as likely to favour either: p = 2 P(X <= smaller),
    X ~ Binomial(a + b, 1/2), at most 1. The mid-p version takes P(X = smaller) once, not twice; it
    is less conservative and keeps its level in practice. It holds for pairs that are independent.
    Source: McNemar 1947; Fagerland, Lydersen and Laake 2013.
    """
    name = "McNemar, mid-p" if mid_p else "McNemar, exact"
    n, smaller = a_better + b_better, min(a_better, b_better)
    if not n:
        return Significance(None, None, name, "no pair on which they differ")
    p_value = 2 * scipy.stats.binom.cdf(smaller, n, 0.5)
    if mid_p:
        p_value -= scipy.stats.binom.pmf(smaller, n, 0.5)
    return Significance(float(smaller), float(min(p_value, 1.0)), name)


def compare_metrics(
    a_correct: ArrayLike,
    b_correct: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    a: str,
    b: str,
    seed: int,
    resamples: int = 9999,
    confidence: float = 0.95,
) -> MetricComparison:
    """Compare two metrics on the same pairs, `correct` (M,) of each.

    A pair counts for the metric that does better on it: right against wrong, or either against a
    tie. McNemar's test takes pairs for independent; where clusters have several, each
    cluster's summed difference is flipped as a whole instead. Pass several comparisons through
    `adjust_metrics`.
    """
    a_M, b_M = _checked(a_correct), _checked(b_correct)
    if a_M.shape != b_M.shape or not len(a_M):
        raise ValueError(f"metrics must be compared on the same pairs, got {len(a_M)}, {len(b_M)}")
    n = len(a_M)
    sums_K, counts_K = cluster_sums(a_M - b_M, np.arange(n) if clusters is None else clusters)
    a_better, b_better = int((a_M > b_M).sum()), int((a_M < b_M).sum())
    mid_p = mcnemar(a_better, b_better, mid_p=True)
    alone = len(sums_K) == n
    test = mid_p if alone else sign_flip(sums_K, seed=seed, resamples=resamples)
    return MetricComparison(
        a=a,
        b=b,
        n=n,
        difference=bootstrap_clusters(
            sums_K, counts_K, seed=seed, resamples=resamples, confidence=confidence
        ),
        a_better=a_better,
        b_better=b_better,
        mcnemar=mcnemar(a_better, b_better),
        test=AdjustedSignificance(**vars(test), p_adjusted=test.p_value),
    )


def adjust_metrics(comparisons: Sequence[MetricComparison]) -> list[MetricComparison]:
    """Correct the p-values of one study's comparisons by Holm; undefined ones are not counted."""
    adjusted = holm([c.test.p_value for c in comparisons])
    return [
        replace(c, test=replace(c.test, p_adjusted=p))
        for c, p in zip(comparisons, adjusted, strict=True)
    ]


def _checked(correct: ArrayLike) -> FloatArray:
    correct_M = np.asarray(correct, dtype=np.float64)
    if correct_M.ndim != 1 or not np.isin(correct_M, (0, 0.5, 1)).all():
        raise ValueError("agreement with a choice must be a row of 0, 1/2 and 1")
    return correct_M
