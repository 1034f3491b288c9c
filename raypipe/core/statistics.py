"""Which model is more consistent? Descriptions, paired comparisons and their verdict.

Scores are (n,), one per prompt; the scores of two models are aligned by prompt. Differences are
a - b throughout: positive means that a scores higher.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike

from raypipe.core import paired
from raypipe.core.bootstrap import bootstrap_mean
from raypipe.core.estimates import AdjustedSignificance, Estimate, Significance
from raypipe.core.pairs import FloatArray

Verdict = Literal[
    "a_more_consistent", "b_more_consistent", "no_difference_shown", "undecided", "too_few_prompts"
]


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
    n: int
    summary_a: Summary
    summary_b: Summary
    mean_difference: Estimate
    """The estimand: the mean over prompts of a - b, with its BCa bootstrap interval."""
    wilcoxon: AdjustedSignificance
    ks_2samp: Significance
    hodges_lehmann: Estimate
    rank_biserial: float | None
    normality: Normality
    alpha: float
    verdict: Verdict
    verdict_reason: str
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
    *,
    a: str,
    b: str,
    seed: int,
    resamples: int = 9999,
    alpha: float = 0.05,
) -> Comparison:
    """Compare two models, score by score, on the same prompts. Intervals have level 1 - alpha.

    seed: of the bootstrap's own draws. The verdict takes this as the only comparison; pass several
    through `adjust`. ValueError for scores that are not aligned, missing or not finite.
    """
    x_a, x_b = _aligned(a_scores, b_scores)
    d = x_a - x_b
    test = paired.wilcoxon(d)
    effect = paired.rank_biserial(d)
    mean = bootstrap_mean(d, seed=seed, resamples=resamples, confidence=1 - alpha)
    verdict, reason = _decide(len(d), mean, test.p_value, effect, alpha)
    return Comparison(
        a=a,
        b=b,
        n=len(d),
        summary_a=summarize(x_a),
        summary_b=summarize(x_b),
        mean_difference=mean,
        wilcoxon=AdjustedSignificance(**vars(test), p_adjusted=test.p_value),
        ks_2samp=paired.ks_two_sample(x_a, x_b),
        hodges_lehmann=paired.hodges_lehmann(d, confidence=1 - alpha),
        rank_biserial=effect,
        normality=Normality(
            paper_a=paired.normality_as_in_paper(x_a),
            paper_b=paired.normality_as_in_paper(x_b),
            differences=paired.normality(d),
        ),
        alpha=alpha,
        verdict=verdict,
        verdict_reason=reason,
        reasons={"rank_biserial": "all paired differences are zero"} if effect is None else {},
    )


def adjust(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Correct the Wilcoxon p-values of one study's comparisons by Holm, and decide again.

    Tests that are undefined (all differences zero) are not counted. Holm bounds the chance of any
    false verdict by alpha, whatever the dependence between the comparisons. The intervals stay as
    they are, each at 1 - alpha. ValueError where comparisons were made at different alpha.
    """
    levels = {c.alpha for c in comparisons}
    if len(levels) > 1:
        raise ValueError(f"comparisons of one study must share one alpha, got {sorted(levels)}")
    adjusted = holm([c.wilcoxon.p_value for c in comparisons])
    result = []
    for c, p in zip(comparisons, adjusted, strict=True):
        verdict, reason = _decide(c.n, c.mean_difference, p, c.rank_biserial, c.alpha)
        test = replace(c.wilcoxon, p_adjusted=p)
        result.append(replace(c, wilcoxon=test, verdict=verdict, verdict_reason=reason))
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


def too_few_prompts(n: int, alpha: float) -> bool:
    """Can no outcome of n paired prompts be significant? The smallest p-value is 2^(1 - n).

    >>> [n for n in range(1, 9) if not too_few_prompts(n, 0.05)]
    [6, 7, 8]
    """
    return 2.0 ** (1 - n) >= alpha


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


def _decide(
    n: int, mean: Estimate, p: float | None, effect: float | None, alpha: float
) -> tuple[Verdict, str]:
    """A verdict needs both: the bootstrap interval excludes zero, the adjusted p is below alpha.

    The interval is about the estimand, the mean; the test is not swayed by a few extreme prompts.
    Where only one of them sees a difference, or they see opposite ones, nothing is claimed.
    """
    if too_few_prompts(n, alpha):
        return "too_few_prompts", f"with {n} prompts no outcome can reach p < {alpha:g}"
    if p is None or effect is None:
        return "no_difference_shown", "all paired differences are zero"
    assert mean.low is not None, "two or more prompts have an interval"
    assert mean.high is not None, "two or more prompts have an interval"
    side = int(mean.low > 0) - int(mean.high < 0)
    if not side and p >= alpha:
        return "no_difference_shown", "the interval of the mean holds zero and the test agrees"
    if not side:
        return "undecided", "the test sees a difference, the interval of the mean holds zero"
    if p >= alpha:
        return "undecided", "the interval of the mean excludes zero, the adjusted test does not"
    if side * effect <= 0:
        return "undecided", "the mean and the ranks point in opposite directions"
    verdict: Verdict = "a_more_consistent" if side > 0 else "b_more_consistent"
    return verdict, "the interval of the mean excludes zero and the adjusted test agrees"


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
