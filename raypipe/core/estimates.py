"""What a statistic looks like in results.json: a value, or null with the reason why.

One convention for everything: an undefined quantity is None and `reason` explains it; NaN and
infinity never leave this package. `dataclasses.asdict` gives the JSON form. A plain number that
may be undefined (a standard deviation of one prompt) has its reason in its record's `reasons`,
keyed by the field's name.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A point estimate with its interval; `value` may stand while `low` and `high` are None."""

    value: float | None
    low: float | None
    high: float | None
    reason: str | None = None


@dataclass(frozen=True)
class Significance:
    """The outcome of one hypothesis test."""

    statistic: float | None
    p_value: float | None
    method: str
    """Which test, and which null distribution (exact or approximate)."""
    reason: str | None = None


@dataclass(frozen=True)
class AdjustedSignificance(Significance):
    """The outcome of one test among several."""

    p_adjusted: float | None = None
    """p_value corrected for the other comparisons of the study (Holm)."""
