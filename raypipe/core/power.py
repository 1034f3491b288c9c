"""How many prompts and seeds would show this difference? Shape letters: P prompts, M pairs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy
from numpy.typing import ArrayLike

from raypipe.core.components import COMPONENT_SEEDS, Components, variance_components
from raypipe.core.differences import Design
from raypipe.core.pairs import n_images_of


@dataclass(frozen=True)
class PowerRow:
    n_prompts: int
    n_seeds: int
    power: float
    """Probability that the verdict's p-value comes out below alpha, unadjusted."""


@dataclass(frozen=True)
class PowerTable:
    """The difference, where its noise comes from, and the power of other study sizes."""

    difference: float
    """Mean over prompts of a - b, taken as the true one."""
    sd_between_prompts: float | None
    """SD over prompts of the true difference: more seeds do not lower it."""
    sd_within_prompt: float | None
    """Error of one prompt's difference by its own pictures: falls with the seeds."""
    sd_shared_seeds: float | None
    """Error of every prompt's difference alike, by the seeds that they share: more prompts do not
    lower it; seeds of its own for each prompt would."""
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
    design: Design = "crossed",
) -> PowerTable:
    """Power of the verdict's test for a true difference as large as the observed one.

    pair_differences (P, M): pair scores of a minus those of b, same prompts and seeds. Their
    components (components.py) give the variance of a study of another size, the same design.

    Read it as a plan, not a proof: the observed difference is itself uncertain, and one that was
    selected for being large promises too much.
    Undefined (with a reason) for one prompt, three seeds, or differences without any spread.
    """
    d_PM = np.asarray(pair_differences, dtype=np.float64)
    n_prompts, n_seeds = len(d_PM), n_images_of(d_PM.shape[1])
    difference = float(d_PM.mean())
    table = PowerTable(difference, None, None, None, n_prompts, n_seeds, alpha, rows=[])
    if n_prompts < 2 or n_seeds < COMPONENT_SEEDS:
        rule = f"power needs two or more prompts and {COMPONENT_SEEDS} or more seeds"
        return replace(table, reason=rule)
    parts = variance_components(d_PM, design)
    sds = (parts.between**0.5, parts.within(n_seeds) ** 0.5, parts.shared(n_seeds) ** 0.5)
    table = replace(
        table, sd_between_prompts=sds[0], sd_within_prompt=sds[1], sd_shared_seeds=sds[2]
    )
    if not any(sds):
        return replace(table, reason="the differences have no spread over prompts and seeds")
    rows = [
        PowerRow(p, n, power(difference, parts, p, n, design, alpha))
        for p in prompts
        for n in seeds
    ]
    return replace(table, rows=rows)


def power(
    difference: float, parts: Components, prompts: int, seeds: int, design: Design, alpha: float
) -> float:
    """Power of the two-sided test of core/differences.py for this difference.

    Averaged over the half-widths that the rule may give.

    >>> round(power(0.5, Components(1.0, 0.0, 0.0, 0.0), 34, 8, "crossed", 0.05), 2)
    0.81
    """
    variance = parts.variance(prompts, seeds, design)
    noncentrality = difference**2 / variance
    if noncentrality == 0:
        return alpha
    limits_K = parts.half_widths(prompts, seeds, design, alpha) / variance**0.5
    # t squared is F: both tails at once, and scipy's noncentral t gives NaN in the far one;
    # beyond 1e4 it is not always computed, and the outcome is certain
    found_K = scipy.stats.ncf.sf(limits_K**2, 1, prompts - 1, min(noncentrality, 1e4))
    return float(np.clip(found_K.mean(), 0.0, 1.0))
