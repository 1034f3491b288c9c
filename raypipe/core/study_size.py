"""How many annotators and prompts does a study need? Shape letters: M items."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from raypipe.core.ranking import clopper_pearson

MOST_PROMPTS = 10**7

PRECISIONS = (-3.0, 7.0)
"""Logarithms between which the votes' precision a + b is searched."""


@dataclass(frozen=True)
class SizeRow:
    """One size of study."""

    annotators: int
    agreement: float
    """Expected agreement of the score with the majority of so many, where they are decided."""
    width: float
    """Of the interval that is wanted, from end to end."""
    prompts: int
    """Decided prompts that make it so narrow."""


@dataclass(frozen=True)
class SizePlan:
    """What the votes so far predict for other sizes."""

    agreement_of_one: float | None
    """Probability that one decided annotator agrees with the score."""
    precision: float | None
    """a + b of the beta distribution: near 0, people agree with each other on every prompt; large,
    the same chance holds for each prompt and person."""
    rows: list[SizeRow]
    reason: str | None = None


def plan(
    agreeing: ArrayLike,
    votes: ArrayLike,
    *,
    annotators: Sequence[int] = (1, 3, 5, 7, 9, 15),
    widths: Sequence[float] = (0.05, 0.1, 0.2),
    confidence: float = 0.95,
) -> SizePlan:
    """Sizes of study, from the decided votes on each item, (M,), and those agreeing with a score.

    The chance q that somebody agrees with the score differs between items: q ~ Beta(a, b), fitted
    by maximum likelihood. A majority of k agrees with probability P(Y > k/2), Y beta-binomial,
    divided by that of no tie. The prompts are those for which Clopper and Pearson's interval at
    that agreement is at most as wide as asked. Annotators do not differ in this model, and the
    fitted values are uncertain themselves: it is for planning.

    Undefined without an item that has two decided votes.
    """
    y_M, n_M = np.asarray(agreeing, dtype=np.float64), np.asarray(votes, dtype=np.float64)
    y_M, n_M = y_M[n_M > 0], n_M[n_M > 0]
    if not (n_M > 1).any():
        return SizePlan(None, None, [], "a plan needs prompts with two or more decided answers")
    mean, precision = _fit(y_M, n_M)
    a, b = mean * precision, (1 - mean) * precision
    agreements = {k: majority_agreement(k, a, b) for k in annotators}
    rows = [
        SizeRow(k, agreement, width, prompts_for(agreement, width, confidence))
        for k, agreement in agreements.items()
        for width in widths
    ]
    return SizePlan(mean, precision, rows)


def majority_agreement(k: int, a: float, b: float) -> float:
    """Probability that most of k annotators agree with the score, given that they are decided.

    Each agrees with probability q ~ Beta(a, b) of the item.

    >>> round(majority_agreement(1, 3.0, 1.0), 6)
    0.75
    """
    chances = scipy.stats.betabinom.pmf(np.arange(k + 1), k, a, b)
    for_it = chances[k // 2 + 1 :].sum()
    tied = chances[k // 2] if k % 2 == 0 else 0.0
    return float(np.clip(for_it / (1 - tied), 0.0, 1.0))


def prompts_for(agreement: float, width: float, confidence: float = 0.95) -> int:
    """Fewest decided prompts whose interval of this agreement is at most `width` wide.

    >>> prompts_for(0.94, 0.1)
    107
    """
    if not 0 < width < 1:
        raise ValueError(f"a width must be between 0 and 1, got {width}")

    def wide(n: int) -> bool:
        low, high = clopper_pearson(agreement * n, n, confidence)
        return high - low > width

    high = 1
    while wide(high) and high < MOST_PROMPTS:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if wide(middle) else (low, middle)
    return high


def _fit(y_M: np.ndarray, n_M: np.ndarray) -> tuple[float, float]:
    """Mean and precision (a + b) of the beta distribution behind y of n, by maximum likelihood."""

    def loss(x: np.ndarray) -> float:
        mean, precision = scipy.special.expit(x[0]), np.exp(x[1])
        a, b = mean * precision, (1 - mean) * precision
        log = scipy.special.betaln(y_M + a, n_M - y_M + b) - scipy.special.betaln(a, b)
        return -float(log.sum())

    start = scipy.special.logit((y_M.sum() + 0.5) / (n_M.sum() + 1))
    bounds = [(-7.0, 7.0), PRECISIONS]
    found = scipy.optimize.minimize(loss, [start, 0.0], method="L-BFGS-B", bounds=bounds)
    return float(scipy.special.expit(found.x[0])), float(np.exp(found.x[1]))
