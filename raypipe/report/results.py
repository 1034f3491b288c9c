"""`results.json`: everything that the statistics of a consistency run say.

`build_results` is a pure function of its arguments, with a fixed bootstrap seed, so that a resumed
run writes the same bytes as an undisturbed one. The page and the terminal table only render what
stands here. `docs/results.md` describes each key.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.core.consistency import ConvergencePoint

ALPHA = 0.05


@dataclass(frozen=True)
class Missing:
    """A piece of evidence that could not be computed."""

    reason: str
    """One plain sentence; it stands in results.json beside the nulls."""


@dataclass(frozen=True)
class Estimate:
    """A value with the bounds of its confidence interval, at level 1 - alpha."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Pair:
    """The scores of two models on the prompts that both could be scored on.

    Each prompt's two scores come from the same seeds: a seed that failed on one side is left out
    on the other side too, so these may differ from the scores of the models by themselves. P is
    the number of prompts; all arrays are (P,) and in the order of `prompt_ids`.
    """

    a: str
    """Name of the first model; differences are a minus b."""
    b: str
    prompt_ids: Sequence[str]
    scs_a: NDArray[np.float64]
    scs_b: NDArray[np.float64]
    se_a: NDArray[np.float64] | None
    """Jackknife standard errors over images; None where some prompt has only two."""
    se_b: NDArray[np.float64] | None
    n_images: NDArray[np.int64]
    """Seeds that both models have, 2 or more."""
    left_out_prompts: int = 0
    """Prompts left out because fewer than two seeds were usable in both models."""
    crossed: Estimate | Missing = Missing("not computed")
    """Mean difference with its bootstrap interval over prompts × seeds."""


def build_results(
    scores: pa.Table,
    *,
    pairs: Sequence[Pair] = (),
    convergence: Mapping[str, Sequence[ConvergencePoint] | Missing] | None = None,
    a_a: Mapping[str, Pair | Missing] | None = None,
    quarantined: Mapping[str, int] | None = None,
    truncated: Mapping[str, int] | None = None,
    devices: Mapping[str, Sequence[str]] | None = None,
    models: Sequence[str] | None = None,
    alpha: float = ALPHA,
) -> dict[str, Any]:
    """Turn scores and evidence into the content of results.json.

    scores: raypipe.schema.SCORES, of one encoder (ValueError for several).
    pairs: one per comparison, in the order of the report; Holm's correction runs over all of them.
    convergence: by model name, what raypipe.core.consistency.convergence gave.
    a_a: by model name, that model's first half of the seeds (a) against the second half (b).
    quarantined: number of samples by reason.
    truncated: number of samples by model whose prompt was longer than a text encoder reads.
    devices: kinds of device by model that made its images, for the note on mixed devices.
    models: their order in the report; without it, the order in which `scores` names them.
    """
    raise NotImplementedError
