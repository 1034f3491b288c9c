"""Small real runs: drawn pictures, embedded by their own pixels, scored by the real core."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raypipe.core.consistency import convergence, score_prompts
from raypipe.core.differences import compare_pairs
from raypipe.core.ids import prompt_id
from raypipe.core.pairs import n_images_of, pair_scores
from raypipe.core.power import power_table
from raypipe.core.split_half import split_half
from raypipe.report.thumbnail import make_thumbnail
from raypipe.storage import schema
from raypipe.studies.consistency.evidence import Missing, Pair
from raypipe.studies.consistency.pictures import Thumbnail
from tests.support import HOSTILE
from tests.support.pictures import encoded

ENCODER = "pixels"


@dataclass
class World:
    """What a finished run hands to the report."""

    scores: pa.Table
    evidence: dict[str, Any]
    """Keyword arguments of build_results."""
    thumbnails: Any
    calls: list[tuple[str, str]] = field(default_factory=list)
    """(model, prompt_id) of each call of `thumbnails`."""


def draw(rng: np.random.Generator, colour: np.ndarray, spread: float) -> np.ndarray:
    """A picture (16, 16, 3): a ground, and a disc whose place and colour vary by `spread`."""
    y, x = np.mgrid[:16, :16]
    centre = 8 + 4 * spread * rng.normal(size=2)
    disc = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < 16
    ground = np.clip(colour + 40 * spread * rng.normal(size=3), 0, 255)
    return np.where(disc[..., None], 255 - ground, ground).astype(np.uint8)


def make_world(
    models: Mapping[str, float], prompts: Sequence[str], n_images: int, seed: int = 0
) -> World:
    """models: name → how much its pictures vary with the seed."""
    rng = np.random.default_rng(seed)
    ids = [prompt_id(prompt) for prompt in prompts]
    colours = rng.uniform(40, 215, size=(len(prompts), 3))
    pictures = {
        name: [[draw(rng, colour, spread) for _ in range(n_images)] for colour in colours]
        for name, spread in models.items()
    }
    rows, pairs = [], {}
    for name, drawn in pictures.items():
        embeddings_PND = np.reshape(drawn, (len(prompts), n_images, -1)).astype(np.float32)
        pairs[name] = pair_scores(embeddings_PND)
        for prompt, key, score in zip(prompts, ids, score_prompts(embeddings_PND), strict=True):
            rows.append(
                {
                    "model": name,
                    "prompt_id": key,
                    "prompt": prompt,
                    "encoder": ENCODER,
                    "scs": score.scs,
                    "scs_se": score.scs_se,
                    "n_images": n_images,
                    "medoid_sample_id": f"{name}/{key}/{score.medoid}",
                    "outlier_sample_id": f"{name}/{key}/{score.outlier}",
                    "clip_score": 25.0 + score.scs / 100,
                    "reason": None,
                }
            )
    evidence = {
        "encoder": ENCODER,
        "models": list(models),
        "pairs": _pairs(pairs, ids),
        "convergence": {name: convergence(scores) for name, scores in pairs.items()},
        "a_a": {name: _against_itself(scores, n_images) for name, scores in pairs.items()},
        "resamples": 499,
    }
    world = World(pa.Table.from_pylist(rows, schema=schema.SCORES), evidence, None)

    def thumbnails(model: str, key: str) -> list[Thumbnail]:
        world.calls.append((model, key))
        drawn = pictures[model][ids.index(key)]
        return [
            Thumbnail(f"{model}/{key}/{i}", 1000 + i, make_thumbnail(encoded(picture)), schema.OK)
            for i, picture in enumerate(drawn)
        ]

    world.thumbnails = thumbnails
    return world


def _pairs(pairs: dict[str, np.ndarray], ids: list[str]) -> list[Pair]:
    names, made = list(pairs), []
    for index, a in enumerate(names):
        for b in names[index + 1 :]:
            difference = pairs[a] - pairs[b]
            made.append(
                Pair(
                    a,
                    b,
                    ids,
                    pairs[a].mean(axis=1),
                    pairs[b].mean(axis=1),
                    np.full(len(ids), n_images_of(difference.shape[1])),
                    compare_pairs(pairs[a], pairs[b]),
                    power=power_table(difference),
                )
            )
    return made


def _against_itself(scores: np.ndarray, n_images: int) -> Any:
    if n_images < 6:
        return Missing("two halves need six or more seeds")
    return split_half(scores, seed=0, splits=20)


@pytest.fixture(scope="session")
def small() -> World:
    """Two models that differ, hostile prompts and a plain one, six seeds."""
    return make_world({"wild": 1.0, "calm": 0.3}, [*HOSTILE, "a disc on a ground"], n_images=6)


@pytest.fixture(scope="session")
def world() -> Any:
    """make_world, for tests that need another shape of run."""
    return make_world
