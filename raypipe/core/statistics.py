"""Which model is more consistent? Descriptions, paired comparisons and their verdict.

Scores are (n,), one per prompt; the scores of two models are aligned by prompt. Differences are
a - b throughout: positive means that a scores higher.

The verdict is that of differences.py, from one interval and one p-value which know of the seeds.
All that is computed from prompts alone (bootstrap, Wilcoxon, Kolmogorov-Smirnov, effect sizes)
describes these prompts under these seeds: as tests, they would not hold their level.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike

from raypipe.core import paired
from raypipe.core.bootstrap import bootstrap_mean
from raypipe.core.differences import FEW_SEEDS, Difference
from raypipe.core.differences import compare_pairs as compare_pairs  # where scripts look for it
from raypipe.core.estimates import Estimate, Significance
from raypipe.core.pairs import FloatArray

Verdict = Literal[
    "a_more_consistent",
    "b_more_consistent",
    "no_difference_shown",
    "undecided",
    "too_few_prompts",
    "too_few_seeds",
]

FEW_PROMPTS = 6
"""Below this many prompts no verdict is given: a t-interval then rests on the normal
distribution alone, which scores need not follow."""


@dataclass(frozen=True)
class Summary:
    """The scores of one model over prompts."""

    n: int
    mean: float
    median: float
    sd: float | None
    """With n - 1 in the denominator; None for one prompt."""
    min: float
    max: float
    reasons: dict[str, str]
    """Why a field is None."""


@dataclass(frozen=True)
class Description(Summary):
    """A summary with the interval of its mean over prompts."""

    mean_interval: Estimate


@dataclass(frozen=True)
class Normality:
    """The paper's two rows beside the question that matters."""

    paper_a: Significance
    paper_b: Significance
    differences: Significance


@dataclass(frozen=True)
class Comparison:
    """Model a against model b on the prompts that both have."""

    a: str
    b: str
    difference: Difference
    """What the verdict is about: the mean over prompts and seeds of a - b."""
    p_adjusted: float | None
    """Its p-value, corrected for the other comparisons of the study (Holm)."""
    verdict: Verdict
    verdict_reason: str
    n: int
    """Prompts that the descriptions below are about."""
    summary_a: Summary
    summary_b: Summary
    mean_over_prompts: Estimate
    """The mean of these prompts under these seeds, with its BCa bootstrap interval."""
    wilcoxon: Significance
    ks_2samp: Significance
    hodges_lehmann: Estimate
    rank_biserial: float | None
    normality: Normality
    reasons: dict[str, str]
    """Why a field is None."""


@dataclass(frozen=True)
class RankAgreement:
    """Do two encoders put the prompts in the same order?"""

    n: int
    spearman: Significance
    kendall: Significance


def summarize(scores: ArrayLike) -> Summary:
    """Mean, median and spread of one model's scores; ValueError for none or non-finite ones."""
    x = _scores(scores)
    sd = float(x.std(ddof=1)) if len(x) > 1 else None
    reasons = {} if sd is not None else {"sd": "a standard deviation needs two or more prompts"}
    median = float(np.median(x))
    return Summary(len(x), float(x.mean()), median, sd, float(x.min()), float(x.max()), reasons)


def describe(
    scores: ArrayLike, *, seed: int, resamples: int = 9999, confidence: float = 0.95
) -> Description:
    """`summarize`, with the BCa bootstrap interval of the mean over prompts."""
    x = _scores(scores)
    interval = bootstrap_mean(x, seed=seed, resamples=resamples, confidence=confidence)
    return Description(**vars(summarize(x)), mean_interval=interval)


def compare(
    a_scores: ArrayLike,
    b_scores: ArrayLike,
    difference: Difference,
    *,
    a: str,
    b: str,
    seed: int,
    resamples: int = 9999,
) -> Comparison:
    """Compare two models, score by score, on the same prompts.

    difference: of the same models, with the seeds in it (differences.py): the verdict is its, as
    the only comparison of a study; pass several through `adjust`. seed: of the bootstrap's own
    draws. ValueError for scores that are not aligned, missing or not finite.
    """
    x_a, x_b = _aligned(a_scores, b_scores)
    d = x_a - x_b
    alpha = difference.alpha
    effect = paired.rank_biserial(d)
    verdict, reason = decide(difference, difference.p_value)
    return Comparison(
        a=a,
        b=b,
        difference=difference,
        p_adjusted=difference.p_value,
        verdict=verdict,
        verdict_reason=reason,
        n=len(d),
        summary_a=summarize(x_a),
        summary_b=summarize(x_b),
        mean_over_prompts=bootstrap_mean(d, seed=seed, resamples=resamples, confidence=1 - alpha),
        wilcoxon=paired.wilcoxon(d),
        ks_2samp=paired.ks_two_sample(x_a, x_b),
        hodges_lehmann=paired.hodges_lehmann(d, confidence=1 - alpha),
        rank_biserial=effect,
        normality=Normality(
            paper_a=paired.normality_as_in_paper(x_a),
            paper_b=paired.normality_as_in_paper(x_b),
            differences=paired.normality(d),
        ),
        reasons={"rank_biserial": "all paired differences are zero"} if effect is None else {},
    )


def adjust(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Correct the p-values of one study's comparisons by Holm, and decide again.

    Tests that are undefined are not counted. Holm bounds the chance of any false verdict by alpha,
    whatever the dependence between the comparisons. The intervals stay as they are, each at
    1 - alpha. ValueError where comparisons were made at different alpha.
    """
    levels = {c.difference.alpha for c in comparisons}
    if len(levels) > 1:
        raise ValueError(f"comparisons of one study must share one alpha, got {sorted(levels)}")
    adjusted = holm([c.difference.p_value for c in comparisons])
    result = []
    for c, p in zip(comparisons, adjusted, strict=True):
        verdict, reason = decide(c.difference, p)
        result.append(replace(c, p_adjusted=p, verdict=verdict, verdict_reason=reason))
    return result


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values of one family corrected by Holm; None, an undefined test, stays and does not count.

    >>> holm([0.01, None, 0.04])
    [0.02, None, 0.04]
    """
    from statsmodels.stats.multitest import multipletests  # a second's import: only where needed

    defined = [p for p in p_values if p is not None]
    adjusted = iter(multipletests(defined, method="holm")[1].tolist() if defined else [])
    return [None if p is None else next(adjusted) for p in p_values]


def decide(difference: Difference, p_adjusted: float | None) -> tuple[Verdict, str]:
    """The verdict of one comparison, and why.

    p_adjusted: the difference's p-value, corrected for the other comparisons of the study. Nothing
    is claimed where the interval, which is of this comparison alone, excludes zero and the
    corrected p-value does not.
    """
    if difference.n_seeds is not None and difference.n_seeds < FEW_SEEDS:
        return "too_few_seeds", str(difference.reason)
    if difference.n_prompts < FEW_PROMPTS:
        reason = f"a verdict needs {FEW_PROMPTS} prompts, got {difference.n_prompts}"
        return "too_few_prompts", reason
    if p_adjusted is None or difference.low is None or difference.high is None:
        zero = difference.mean == 0
        return ("no_difference_shown" if zero else "undecided"), str(difference.reason)
    if difference.low <= 0 <= difference.high:
        return "no_difference_shown", "the interval of the mean holds zero"
    if p_adjusted >= difference.alpha:
        return "undecided", "the interval of the mean excludes zero, but the corrected p does not"
    verdict: Verdict = "a_more_consistent" if difference.low > 0 else "b_more_consistent"
    return verdict, "the interval of the mean excludes zero, and so does the corrected p"


def rank_agreement(x_scores: ArrayLike, y_scores: ArrayLike) -> RankAgreement:
    """Spearman's and Kendall's (tau-b) rank correlation of per-prompt scores of two encoders.

    Undefined, with the reason, for fewer than three prompts and for equal scores.
    """
    x, y = _aligned(x_scores, y_scores)
    reason = None
    if len(x) < 3:
        reason = f"rank agreement needs three or more prompts, got {len(x)}"
    elif np.ptp(x) == 0 or np.ptp(y) == 0:
        reason = "all scores of one encoder are equal"
    if reason:
        none = [Significance(None, None, name, reason) for name in ("spearman", "kendall tau-b")]
        return RankAgreement(len(x), *none)
    rho, tau = scipy.stats.spearmanr(x, y), scipy.stats.kendalltau(x, y)
    return RankAgreement(
        len(x),
        Significance(float(rho.statistic), float(rho.pvalue), "spearman"),
        Significance(float(tau.statistic), float(tau.pvalue), "kendall tau-b"),
    )


def _aligned(x_scores: ArrayLike, y_scores: ArrayLike) -> tuple[FloatArray, FloatArray]:
    x, y = _scores(x_scores), _scores(y_scores)
    if len(x) != len(y):
        raise ValueError(f"paired scores must have one length, got {len(x)} and {len(y)}")
    return x, y


def _scores(values: ArrayLike) -> FloatArray:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not len(x):
        raise ValueError(f"scores must be a non-empty row, one per prompt, got shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"scores must be finite, got {x[~np.isfinite(x)][0]}")
    return x
