"""How often is a verdict false? `make calibrate` simulates the rule of core/differences.py.

Two models of equal consistency are drawn again and again, and compared. A picture is a unit
vector: its prompt's mean plus its noise, of which a share belongs to the seed and is common to all
prompts. Each row is a size of study, each column a share; a cell is the percentage of replicates
whose interval excludes zero. At 2,000 replicates its standard error is 0.5 around 5.
"""

import argparse
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from raypipe.core.differences import Design, compare_pairs
from raypipe.core.pairs import FloatArray, pair_scores

DIMENSION = 32
SPREAD = 1.0
"""Length of a picture's noise over that of its prompt's mean."""


@dataclass(frozen=True)
class Study:
    """What is simulated: two models of equal consistency over the same prompts and seeds."""

    prompts: int
    seeds: int
    share: float = 0.0
    """Part of the variance within a prompt that a seed has in common over prompts."""
    design: Design = "crossed"
    alike: float = 0.0
    """Correlation of the two models' noise, picture by picture."""
    skew: float = 0.0
    """Sigma of lognormal factors on a prompt's noise, of each model by itself."""
    one_sided: float = 0.0
    """Sigma of lognormal effects of prompts, of mean zero, added to one model's scores."""
    heavy: bool = False
    """Noise from t with six degrees of freedom in place of the normal distribution."""
    lost: float = 0.0
    """Part of the pictures that is missing, of each model by itself."""
    lost_seeds: float = 0.0
    """Part of the seeds of which a model lacks every picture after a random prompt."""


def simulate(study: Study, draw: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Pair scores (P, M) of the two models."""
    size = (study.prompts, study.seeds, DIMENSION)
    mean_PD = draw.standard_normal((study.prompts, 1, DIMENSION))
    mean_PD /= np.linalg.norm(mean_PD, axis=2, keepdims=True)
    both = noise(study, size, draw)
    models = []
    for _ in range(2):
        own = noise(study, size, draw)
        e_PND = study.alike**0.5 * both + (1 - study.alike) ** 0.5 * own
        factor_P = np.exp(study.skew * draw.standard_normal((study.prompts, 1, 1)))
        scores = pair_scores(mean_PD + SPREAD / DIMENSION**0.5 * factor_P * e_PND)
        models.append(lose(study, scores, draw))
    if study.one_sided:
        effect_P1 = np.exp(study.one_sided * draw.standard_normal((study.prompts, 1)))
        models[0] = models[0] + 5 * (effect_P1 - np.exp(study.one_sided**2 / 2))
    return models[0], models[1]


def noise(study: Study, size: tuple[int, int, int], draw: np.random.Generator) -> FloatArray:
    """Noise (P, N, D) of variance 1, in part common to a seed's pictures of all prompts."""
    normal: Callable[..., FloatArray] = draw.standard_normal
    if study.heavy:
        normal = lambda shape: draw.standard_t(6, shape) / 1.5**0.5  # noqa: E731
    shared = (1, *size[1:]) if study.design == "crossed" else size
    return study.share**0.5 * normal(shared) + (1 - study.share) ** 0.5 * normal(size)


def lose(study: Study, s_PM: FloatArray, draw: np.random.Generator) -> FloatArray:
    """The scores without the pictures that are lost at random, and by whole seeds."""
    if not study.lost and not study.lost_seeds:
        return s_PM
    gone_PN = draw.random((study.prompts, study.seeds)) < study.lost
    for seed in np.flatnonzero(draw.random(study.seeds) < study.lost_seeds):
        gone_PN[draw.integers(study.prompts) :, seed] = True
    rows, columns = np.tril_indices(study.seeds, -1)
    return np.where(gone_PN[:, rows] | gone_PN[:, columns], np.nan, s_PM)


def study_number(study: Study) -> int:
    """So that no two cells of the table stand on the same draws."""
    return zlib.crc32(repr(study).encode())


def false_verdicts(study: Study, replicates: int, seed: int) -> float:
    """Percentage of replicates whose interval excludes zero."""
    false = 0
    for draw in (np.random.default_rng([seed, study_number(study), k]) for k in range(replicates)):
        p_value = compare_pairs(*simulate(study, draw), design=study.design).p_value
        false += p_value is not None and p_value < 0.05
    return 100 * false / replicates


SIZES = ((12, 8), (50, 20), (100, 20), (1000, 4))
SHARES = (0.0, 0.05, 0.2, 0.5)
VARIANTS: dict[str, dict[str, object]] = {
    "crossed": {},
    "nested": {"design": "nested"},
    "heavy tails": {"heavy": True},
    "correlated 0.7": {"alike": 0.7},
    "10 % missing": {"lost": 0.1},
    "50 % missing": {"lost": 0.5},
    "10 % of seeds broken off": {"lost_seeds": 0.1},
    "noise of prompts lognormal 0.5": {"skew": 0.5},
    "effects of prompts lognormal 0.5": {"one_sided": 0.5},
    "effects of prompts lognormal 1.5": {"one_sided": 1.5},
}


def rows(replicates: int, seed: int) -> Iterator[str]:
    """The table, a line at a time."""
    yield f"{'prompts x seeds, share:':<44}" + "".join(f"{share:>8.0%}" for share in SHARES)
    for name, options in VARIANTS.items():
        for prompts, seeds in SIZES:
            cells = [
                false_verdicts(Study(prompts, seeds, share, **options), replicates, seed)  # type: ignore[arg-type]
                for share in SHARES
            ]
            label = f"{prompts} x {seeds}, {name}"
            yield f"{label:<44}" + "".join(f"{cell:8.1f}" for cell in cells)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for line in rows(options.replicates, options.seed):
        print(line, flush=True)
