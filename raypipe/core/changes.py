"""What a change of model did to a metric: paired by prompt, from scores of single pictures.

Shape letters: N pictures, P prompts (or other clusters, such as source photos).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raypipe.core.bootstrap import bootstrap_mean
from raypipe.core.estimates import AdjustedSignificance, Estimate
from raypipe.core.paired import wilcoxon
from raypipe.core.pairs import FloatArray
from raypipe.core.statistics import holm

Picture = tuple[str, str]
"""(its cluster, what pairs it across models), such as a prompt and one of its seeds."""


@dataclass(frozen=True)
class Change:
    """A variant against a baseline by one metric; positive means that the variant scores higher."""

    variant: str
    baseline: str
    metric: str
    n: int
    """Pictures that both have a score for."""
    prompts: int
    mean: Estimate
    """Mean over prompts of variant minus baseline, with its BCa bootstrap interval."""
    test: AdjustedSignificance
    """Wilcoxon's signed-rank test over prompts."""
    win_rate: float | None
    """Share of prompts on which the variant is better, in the metric's direction; ties half."""


def paired_change(
    variant: Mapping[Picture, float],
    baseline: Mapping[Picture, float],
    *,
    names: tuple[str, str],
    metric: str,
    higher_is_better: bool = True,
    seed: int,
    resamples: int = 9999,
    confidence: float = 0.95,
) -> Change:
    """Compare two models, (prompt, seed) → score of each, on the pictures that both have.

    A prompt's difference is the mean over its common pictures, so that each prompt counts once.
    Without a common picture nothing has a value.
    """
    d_P, n = prompt_differences(variant, baseline)
    if not len(d_P):
        reason = "no picture has a score in both"
        none = AdjustedSignificance(None, None, "wilcoxon", reason)
        return Change(*names, metric, 0, 0, Estimate(None, None, None, reason), none, None)
    test = wilcoxon(d_P)
    wins_P = (1 + np.sign(d_P) * (1 if higher_is_better else -1)) / 2
    return Change(
        *names,
        metric=metric,
        n=n,
        prompts=len(d_P),
        mean=bootstrap_mean(d_P, seed=seed, resamples=resamples, confidence=confidence),
        test=AdjustedSignificance(**vars(test), p_adjusted=test.p_value),
        win_rate=float(wins_P.mean()),
    )


def prompt_differences(
    variant: Mapping[Picture, float], baseline: Mapping[Picture, float]
) -> tuple[FloatArray, int]:
    """Mean difference of each prompt (P,), by the prompts' names, and the number of pictures.

    >>> a = {("p", "1"): 3.0, ("p", "2"): 5.0, ("q", "1"): 1.0}
    >>> b = {("p", "1"): 1.0, ("q", "1"): 2.0}
    >>> prompt_differences(a, b)[0].tolist()
    [2.0, -1.0]
    """
    by_prompt: dict[str, list[float]] = {}
    for key in sorted(variant.keys() & baseline.keys()):
        by_prompt.setdefault(key[0], []).append(variant[key] - baseline[key])
    means = [float(np.mean(values)) for _, values in sorted(by_prompt.items())]
    return np.array(means), sum(map(len, by_prompt.values()))


def adjust_changes(changes: Sequence[Change]) -> list[Change]:
    """Correct the p-values of one study's comparisons by Holm; undefined ones are not counted."""
    adjusted = holm([change.test.p_value for change in changes])
    return [
        replace(change, test=replace(change.test, p_adjusted=p))
        for change, p in zip(changes, adjusted, strict=True)
    ]


def change_record(change: Change) -> dict[str, Any]:
    """A comparison as `comparisons` of results.json has it."""
    return {
        "variant": change.variant,
        "baseline": change.baseline,
        "metric": change.metric,
        "prompts": change.prompts,
        "n": change.n,
        "mean_change": change.mean.value,
        "low": change.mean.low,
        "high": change.mean.high,
        "p_value": change.test.p_value,
        "p_adjusted": change.test.p_adjusted,
        "win_rate": change.win_rate,
        "method": change.test.method,
        "reason": change.mean.reason or change.test.reason,
    }
