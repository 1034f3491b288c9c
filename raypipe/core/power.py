"""How many prompts and seeds would show this difference? Shape letters: P prompts, M pairs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy
from numpy.typing import ArrayLike

from raypipe.core.consistency import jackknife_se
from raypipe.core.pairs import n_images_of
from raypipe.core.statistics import too_few_prompts

WILCOXON_EFFICIENCY = 3 / np.pi
"""Prompts that a t-test needs per prompt of the Wilcoxon test, differences being normal: 0.955."""


@dataclass(frozen=True)
class PowerRow:
    n_prompts: int
    n_seeds: int
    power: float
    """Probability that the Wilcoxon test comes out below alpha, unadjusted."""


@dataclass(frozen=True)
class PowerTable:
    """The difference, where its noise comes from, and the power of other study sizes."""

    difference: float
    """Mean over prompts of a - b, taken as the true one."""
    sd_between_prompts: float | None
    """SD over prompts of the true difference: more seeds do not lower it."""
    sd_within_prompt: float | None
    """Error of one prompt's difference with the seeds that were drawn: falls as 1/sqrt(seeds)."""
    n_prompts: int
    n_seeds: int
    alpha: float
    rows: list[PowerRow]
    """Empty where undefined; `reason` explains it."""
    reason: str | None = None


def power_table(
    pair_differences: ArrayLike,
    *,
    prompts: Sequence[int] = (10, 20, 50, 100, 200, 500),
    seeds: Sequence[int] = (5, 10, 20, 50),
    alpha: float = 0.05,
) -> PowerTable:
    """Power of the paired Wilcoxon test for a true difference as large as the observed one.

    pair_differences (P, M): pair scores of a minus those of b, same prompts and seeds. The variance
    over prompts of the observed d_p is split into  between = Var(d_p) - mean(se_p²), floored at
    zero, and  within = mean(se_p²), se_p the jackknife error of d_p over the N seeds; with n seeds
    SD(n)² = between + within · N/n. Power is that of the two-sided t-test (noncentral t) with
    3/π · prompts; zero where no outcome could be significant.

    Read it as a plan, not a proof: the observed difference is itself uncertain, and one that was
    selected for being large promises too much; with three to five seeds the jackknife overstates
    `within`; and noise that all prompts share through the common seeds is not in it.
    Undefined (with a reason) for one prompt, two seeds, or differences without any spread.
    """
    d_PM = np.asarray(pair_differences, dtype=np.float64)
    n_prompts, n_seeds = len(d_PM), n_images_of(d_PM.shape[1])
    d_P = d_PM.mean(axis=1)
    difference = float(d_P.mean())
    table = PowerTable(difference, None, None, n_prompts, n_seeds, alpha, rows=[])
    if n_prompts < 2 or n_seeds < 3:
        return replace(table, reason="power needs two or more prompts and three or more seeds")
    within = float((jackknife_se(d_PM) ** 2).mean())
    between = max(0.0, float(d_P.var(ddof=1)) - within)
    table = replace(table, sd_between_prompts=between**0.5, sd_within_prompt=within**0.5)
    if between + within == 0:
        return replace(table, reason="the differences have no spread over prompts and seeds")
    rows = [
        PowerRow(p, n, wilcoxon_power(difference, between + within * n_seeds / n, p, alpha))
        for p in prompts
        for n in seeds
    ]
    return replace(table, rows=rows)


def wilcoxon_power(difference: float, variance: float, n_prompts: int, alpha: float) -> float:
    """Power of the two-sided signed-rank test on normal paired differences, variance > 0.

    >>> round(wilcoxon_power(0.5, 1.0, 34, 0.05), 2)
    0.79
    """
    if too_few_prompts(n_prompts, alpha):
        return 0.0
    n = WILCOXON_EFFICIENCY * n_prompts
    noncentrality = difference**2 * n / variance
    if noncentrality == 0:
        return alpha
    if noncentrality > 400:  # t = 20 is certain, and larger values are not always computed
        return 1.0
    # t squared is F: both tails at once, and scipy's noncentral t gives NaN in the far one
    limit = scipy.stats.f.isf(alpha, 1, n - 1)
    return float(np.clip(scipy.stats.ncf.sf(limit, 1, n - 1, noncentrality), 0.0, 1.0))
