"""Tests and effect sizes on paired differences d_p = score_a(p) - score_b(p).

Positive always means that a scores higher. Arrays are (n,), one value per prompt.
"""

import warnings

import numpy as np
import scipy
from numpy.typing import ArrayLike

from raypipe.core.estimates import Estimate, Significance
from raypipe.core.pairs import FloatArray

EXACT_LIMIT = 50
"""Up to this many differences the signed-rank distribution is taken exactly, as scipy does."""

SHAPIRO_LIMIT = 5000
"""Above this many values the Shapiro-Wilk p-value is not calibrated."""


def wilcoxon(differences: ArrayLike) -> Significance:
    """Two-sided Wilcoxon signed-rank test; the statistic is min(W+, W-).

    Zero differences are dropped (Wilcoxon's own rule), so that the test and the rank-biserial
    correlation stand on the same ranks. Exact up to 50 differences without ties and up to 13 with
    ties; else the normal approximation, corrected for ties. All zero: undefined.
    """
    d = _finite(differences)
    d = d[d != 0]
    if not len(d):
        return Significance(None, None, "wilcoxon", "all paired differences are zero")
    tied = len(np.unique(np.abs(d))) < len(d)
    if len(d) <= 13 and tied:
        method, label = scipy.stats.PermutationMethod(n_resamples=2**13), "exact permutation"
    elif len(d) <= EXACT_LIMIT and not tied:
        method, label = "exact", "exact"
    else:
        method, label = "asymptotic", "normal approximation"
    outcome = scipy.stats.wilcoxon(d, method=method)
    return Significance(
        float(outcome.statistic), float(outcome.pvalue), f"wilcoxon, {label}, zeros dropped"
    )


def rank_biserial(differences: ArrayLike) -> float | None:
    """Matched-pairs rank-biserial correlation (W+ - W-) / (W+ + W-), from -1 to 1.

    The share of rank mass that favours a minus the share that favours b. None if all differences
    are zero. Source: Kerby 2014, "The simple difference formula".

    >>> rank_biserial([3.0, 2.0, -1.0])  # ranks 3 + 2 against 1
    0.6666666666666666
    """
    d = _finite(differences)
    d = d[d != 0]
    if not len(d):
        return None
    ranks = scipy.stats.rankdata(np.abs(d))
    return float((ranks * np.sign(d)).sum() / ranks.sum())


def hodges_lehmann(differences: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """Typical shift of a over b: the median of all n(n+1)/2 Walsh averages (d_i + d_j) / 2, i <= j.

    The interval holds the shifts that the signed-rank test would not reject: from the c-th smallest
    Walsh average to the c-th largest, c the smallest count with P(W+ <= c) >= (1 - confidence) / 2
    (exact up to 50 prompts, else the normal approximation with continuity correction). With ties it
    is conservative. Too few prompts for that confidence: no interval.
    Source: Hollander, Wolfe and Chicken 2014, section 3.3.

    Walsh averages are selected by counting, never listed: memory grows with n, not n².
    """
    d = np.sort(_finite(differences))
    n_walsh = len(d) * (len(d) + 1) // 2
    middle = [_walsh_average(d, (n_walsh + 1) // 2), _walsh_average(d, n_walsh // 2 + 1)]
    value = sum(middle) / 2
    c = _signed_rank_quantile(len(d), (1 - confidence) / 2)
    if c == 0:
        reason = f"{len(d)} prompts are too few for an interval of {confidence:.0%} by signed ranks"
        return Estimate(value, None, None, reason)
    return Estimate(value, _walsh_average(d, c), _walsh_average(d, n_walsh + 1 - c))


def ks_two_sample(a: ArrayLike, b: ArrayLike) -> Significance:
    """Two-sample Kolmogorov-Smirnov test, as the paper reports it. It ignores the pairing."""
    with warnings.catch_warnings():  # where its exact method fails, scipy says so and goes on
        warnings.filterwarnings("ignore", "ks_2samp: Exact", RuntimeWarning)
        outcome = scipy.stats.ks_2samp(_finite(a), _finite(b))
    return Significance(float(outcome.statistic), float(outcome.pvalue), "ks_2samp, pairs ignored")


def normality_as_in_paper(scores: ArrayLike) -> Significance:
    """The paper's kstest(x, "norm") on raw scores: against N(0, 1), so it rejects every model.

    Kept to reproduce the paper's row. `normality` asks the question that matters.
    """
    outcome = scipy.stats.kstest(_finite(scores), "norm")
    label = "paper: kstest of raw scores against N(0, 1)"
    return Significance(float(outcome.statistic), float(outcome.pvalue), label)


def normality(differences: ArrayLike) -> Significance:
    """Are the paired differences normal? Shapiro-Wilk, or Lilliefors above 5,000 prompts.

    Lilliefors' p-value comes from a table and stops at 0.001 and 0.2. Undefined for fewer than
    three prompts and for equal differences.
    """
    d = _finite(differences)
    if len(d) < 3 or np.ptp(d) == 0:
        reason = "three or more prompts needed" if len(d) < 3 else "all differences are equal"
        return Significance(None, None, "shapiro-wilk", reason)
    if len(d) <= SHAPIRO_LIMIT:
        outcome = scipy.stats.shapiro(d)
        return Significance(float(outcome.statistic), float(outcome.pvalue), "shapiro-wilk")
    from statsmodels.stats.diagnostic import lilliefors  # a second's import: only where needed

    statistic, p_value = lilliefors(d, dist="norm", pvalmethod="table")
    return Significance(float(statistic), float(p_value), "lilliefors, p between 0.001 and 0.2")


def _finite(values: ArrayLike) -> FloatArray:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
        raise ValueError(f"scores must be a non-empty row of finite numbers, got {x!r}")
    return x


def _walsh_average(d_sorted: FloatArray, k: int) -> float:
    """The k-th smallest Walsh average (k from 1), by bisection on its value.

    Exact up to averages that differ by less than 1e-12 of the largest.
    """
    low, high = 2 * d_sorted[0], 2 * d_sorted[-1]
    if _count_sums(d_sorted, low) >= k:
        return float(low / 2)
    tolerance = 1e-12 * max(abs(low), abs(high))
    while high - low > tolerance:  # fewer than k sums are <= low, k or more are <= high
        middle = (low + high) / 2
        if _count_sums(d_sorted, middle) >= k:
            high = middle
        else:
            low = middle
    partners = np.searchsorted(d_sorted, high - d_sorted, side="right")
    kept = partners > 0
    return float((d_sorted[kept] + d_sorted[partners[kept] - 1]).max() / 2)


def _count_sums(d_sorted: FloatArray, limit: float) -> int:
    """Number of pairs i <= j with d_i + d_j <= limit."""
    ordered = np.searchsorted(d_sorted, limit - d_sorted, side="right").sum()
    diagonal = np.count_nonzero(d_sorted <= limit - d_sorted)
    return int(ordered + diagonal) // 2


def _signed_rank_quantile(n: int, level: float) -> int:
    """Smallest c with P(W+ <= c) >= level for n differences under the null hypothesis."""
    if n <= EXACT_LIMIT:
        probability = np.ones(1)
        for rank in range(1, n + 1):
            probability = np.pad(probability, (0, rank)) + np.pad(probability, (rank, 0))
            probability /= 2
        return int(np.searchsorted(probability.cumsum(), level))
    mean, variance = n * (n + 1) / 4, n * (n + 1) * (2 * n + 1) / 24
    return int(np.ceil(mean - 0.5 + scipy.special.ndtri(level) * variance**0.5))
