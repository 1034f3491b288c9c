"""What a user may switch on to save time, and what it does to the scores.

Fewer steps with a better solver, and guidance in a part of the steps, make other pictures: so each
is compared with 20 steps of the miniature's own scheduler on the same prompts and seeds, in CPU
seconds, and in semantic consistency and CLIPScore (mean paired difference over prompts, 95 % BCa).
RAYPIPE_BENCH_PROMPTS (24) and RAYPIPE_BENCH_SEEDS (6) say how many pictures.
"""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from raypipe.config.model import Model, Sampler
from raypipe.config.networks import Encoder
from raypipe.core.bootstrap import bootstrap_mean
from raypipe.core.consistency import semantic_consistency_score
from raypipe.metrics.clip import cosines
from raypipe.models.diffusion.generator import Generator
from raypipe.models.encoder import LoadedEncoder
from tests.benchmarks.ratios import one_thread, row

ROOT = Path(__file__).parents[2]
PROMPTS = int(os.environ.get("RAYPIPE_BENCH_PROMPTS", "24"))
SEEDS = int(os.environ.get("RAYPIPE_BENCH_SEEDS", "6"))
BASE = {"steps": 20, "guidance": 7.5, "width": 64, "height": 64}
SHORTCUTS: dict[str, dict[str, Any]] = {
    "dpmpp_2m, 10 steps": {"scheduler": "dpmpp_2m", "steps": 10},
    "unipc, 10 steps": {"scheduler": "unipc", "steps": 10},
    "guidance_interval [0, 0.5]": {"guidance_interval": (0.0, 0.5)},
    "guidance_interval [0.2, 0.7]": {"guidance_interval": (0.2, 0.7)},
}


def run() -> list[dict[str, Any]]:
    lines = (ROOT / "configs/prompts/miniature.txt").read_text().splitlines()
    prompts = lines[:: max(1, len(lines) // PROMPTS)][:PROMPTS]
    encoder = LoadedEncoder(Encoder(id="miniature/clip"), "cpu")
    samplers = {"": BASE, **{name: {**BASE, **keys} for name, keys in SHORTCUTS.items()}}
    with one_thread():
        generators = {
            name: Generator(Model(name="m", id="miniature/sdxl"), Sampler(**keys), "cpu")
            for name, keys in samplers.items()
        }
        told: dict[str, list[tuple[float, float, float]]] = {name: [] for name in samplers}
        for prompt in prompts:  # the sides take turns
            for name, generator in generators.items():
                told[name].append(_measure(generator, encoder, prompt))
    base_PT = np.array(told.pop(""))
    rows = []
    for name, values in told.items():
        value_PT = np.array(values)
        faster_P = base_PT[1:, 0] / value_PT[1:, 0]  # the first call of each side warms it up
        rows.append(row(f"{name}: times faster than 20 steps", faster_P.tolist(), "none"))
        for column, metric in ((1, "SCS"), (2, "CLIPScore")):
            change = bootstrap_mean(value_PT[:, column] - base_PT[:, column], seed=0)
            what = f"{name}: change of {metric} from {base_PT[:, column].mean():.2f}"
            line = {"ratio": change.value, "low": change.low, "high": change.high}
            rows.append({"name": what, **line, "goal": "none"})
    return rows


def _measure(
    generator: Generator, encoder: LoadedEncoder, prompt: str
) -> tuple[float, float, float]:
    """CPU seconds, semantic consistency and mean CLIPScore of one prompt's pictures."""
    started = time.process_time()
    images_BHWC = generator([prompt] * SEEDS, list(range(SEEDS))).images_BHWC
    seconds = time.process_time() - started
    pictures = [Image.fromarray((image * 255).round().astype(np.uint8)) for image in images_BHWC]
    e_ND = encoder.images([encoder.preprocess(picture) for picture in pictures])
    clip_N = np.maximum(cosines(encoder, pictures, [prompt] * SEEDS), 0)
    return seconds, float(semantic_consistency_score(e_ND)), float(clip_N.mean())
