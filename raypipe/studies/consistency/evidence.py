"""The evidence besides the scores: from a run's pair scores, and as results.json records it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypipe.config.sections import Statistics
from raypipe.core.consistency import ConvergencePoint, convergence
from raypipe.core.differences import Difference, compare_sums
from raypipe.core.estimates import Estimate
from raypipe.core.power import PowerTable, power_table
from raypipe.core.split_half import SplitHalf, split_half
from raypipe.studies.consistency.scores import ModelScores


@dataclass(frozen=True)
class Missing:
    """A piece of evidence that could not be computed."""

    reason: str
    """One plain sentence, stored in results.json beside the nulls."""


NOT_COMPUTED = Missing("not computed")
TOO_MANY = Missing("there are too many prompts to keep every pair score")
NO_COMPLETE = Missing("no prompt has an image for every seed in all models")


@dataclass(frozen=True)
class Pair:
    """The scores of two models on the prompts that both could be scored on.

    Each prompt's scores come from the same seeds: one that failed in some model of the run is left
    out in all. P is the number of prompts; all arrays are (P,) and in the order of `prompt_ids`.
    """

    a: str
    """Name of the first model; differences are a minus b."""
    b: str
    prompt_ids: Sequence[str]
    scs_a: NDArray[np.float64]
    scs_b: NDArray[np.float64]
    n_images: NDArray[np.int64]
    """Seeds that both models have for the prompt, 2 or more."""
    difference: Difference
    """What the verdict is about."""
    left_out_prompts: int = 0
    """Prompts left out because fewer than two seeds were usable in both models."""
    power: PowerTable | Missing = NOT_COMPUTED

    def in_order(self) -> "Pair":
        """The same pair with its prompts sorted, so that the order of reading changes nothing."""
        order = np.argsort(np.asarray(self.prompt_ids, dtype=np.str_), kind="stable")
        return replace(
            self,
            prompt_ids=[self.prompt_ids[index] for index in order.tolist()],
            scs_a=np.asarray(self.scs_a, dtype=np.float64)[order],
            scs_b=np.asarray(self.scs_b, dtype=np.float64)[order],
            n_images=np.asarray(self.n_images, dtype=np.int64)[order],
        )


def pair_of(a: str, b: str, of_a: ModelScores, of_b: ModelScores, settings: Statistics) -> Pair:
    """The prompts that both models have a score for; one side's failed seeds are out of both."""
    scored_b = {row["prompt_id"]: row for row in of_b.rows if row["scs"] is not None}
    both = [
        (row, scored_b[row["prompt_id"]])
        for row in of_a.rows
        if row["scs"] is not None and row["prompt_id"] in scored_b
    ]
    if of_a.pairs_PM is None or of_b.pairs_PM is None:
        power: Any = _why_no_pairs(of_a if of_a.pairs_PM is None else of_b)
    else:
        assert of_a.complete == of_b.complete
        difference_PM = of_a.pairs_PM.astype(np.float64) - of_b.pairs_PM
        power = power_table(difference_PM, alpha=settings.alpha)
    return Pair(
        a=a,
        b=b,
        prompt_ids=[str(row["prompt_id"]) for row, _ in both],
        scs_a=np.array([row["scs"] for row, _ in both], dtype=np.float64),
        scs_b=np.array([row["scs"] for _, row in both], dtype=np.float64),
        n_images=np.array([row["n_images"] for row, _ in both], dtype=np.int64),
        difference=compare_sums(of_a.sums_PN, of_b.sums_PN, alpha=settings.alpha),
        left_out_prompts=len(of_a.rows) - len(both),
        power=power,
    )


def _why_no_pairs(scores: ModelScores) -> Missing:
    return TOO_MANY if scores.too_many else NO_COMPLETE


def convergence_of(scores: ModelScores) -> list[ConvergencePoint] | Missing:
    """The convergence curve of one model."""
    return _why_no_pairs(scores) if scores.pairs_PM is None else convergence(scores.pairs_PM)


def split_half_of(scores: ModelScores, settings: Statistics) -> SplitHalf | Missing:
    """The A/A check of one model."""
    if scores.pairs_PM is None:
        return _why_no_pairs(scores)
    try:
        return split_half(scores.pairs_PM, seed=settings.seed, alpha=settings.alpha)
    except ValueError as error:
        return Missing(str(error))


def estimate_record(estimate: Estimate | Missing) -> dict[str, Any]:
    """`{value, low, high, reason}`."""
    if isinstance(estimate, Missing):
        estimate = Estimate(None, None, None, estimate.reason)
    return asdict(estimate)


def difference_record(found: Difference) -> dict[str, Any]:
    """What a verdict rests on, as `comparisons` of results.json has it."""
    return {
        "mean_difference": asdict(Estimate(found.mean, found.low, found.high, found.reason)),
        "p_value": found.p_value,
        "design": found.design,
        "df": found.df,
        "variance": asdict(found.variance),
        "n_prompts": found.n_prompts,
        "n_seeds": found.n_seeds,
        "left_out": found.left_out,
    }


def power_record(table: PowerTable | Missing) -> dict[str, Any]:
    """The power table as a grid: `power[i][j]` belongs to `prompts[i]` and `seeds[j]`."""
    if isinstance(table, Missing):
        names = ("difference", "sd_between_prompts", "sd_within_prompt", "sd_shared_seeds")
        empty: dict[str, Any] = dict.fromkeys(names)
        return empty | {"prompts": [], "seeds": [], "power": [], "reason": table.reason}
    prompts = sorted({row.n_prompts for row in table.rows})
    seeds = sorted({row.n_seeds for row in table.rows})
    cell = {(row.n_prompts, row.n_seeds): row.power for row in table.rows}
    return {
        "difference": table.difference,
        "sd_between_prompts": table.sd_between_prompts,
        "sd_within_prompt": table.sd_within_prompt,
        "sd_shared_seeds": table.sd_shared_seeds,
        "prompts": prompts,
        "seeds": seeds,
        "power": [[cell[p, s] for s in seeds] for p in prompts],
        "reason": table.reason,
    }


def curve_record(model: str, points: Sequence[ConvergencePoint] | Missing) -> dict[str, Any]:
    """The convergence curve of one model as parallel lists, one entry per number of images."""
    known, reason = ([], points.reason) if isinstance(points, Missing) else (points, None)
    return {
        "model": model,
        "n_prompts": len(known[0].scs) if known else 0,
        "n_images": [point.n_images for point in known],
        "scs": [point.mean for point in known],
        "se": [point.mean_se for point in known],
        "prompt_se": [point.prompt_se for point in known],
        "reason": reason,
    }


def split_half_record(model: str, check: SplitHalf | Missing) -> dict[str, Any]:
    """The A/A check of one model."""
    if isinstance(check, Missing):
        names = ("n_prompts", "seeds_per_half", "splits", "significant", "rate", "low", "high")
        return {"model": model} | dict.fromkeys(names) | {"reason": check.reason}
    record = {"model": model} | asdict(check) | {"reason": None}
    record.pop("alpha")
    return record


def range_record(counts: NDArray[Any]) -> dict[str, int | None]:
    """Smallest and largest count; nulls where there are none."""
    if not len(counts):
        return {"min": None, "max": None}
    return {"min": int(counts.min()), "max": int(counts.max())}
