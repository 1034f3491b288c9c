"""What a run was to cost, over what it took: rates of one small run foretell another one.

The first run makes pictures of `miniature/sdxl` at two numbers of steps; the second has other
prompts, seeds and steps, between the two.
"""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from raypipe.config.strict import load
from raypipe.engine.stage import SECONDS
from raypipe.studies.consistency.cost import estimate
from raypipe.studies.consistency.rates import Rates, measure
from raypipe.studies.consistency.run import Run
from raypipe.studies.consistency.settings import Consistency
from tests.benchmarks import study
from tests.benchmarks.ratios import row

BATCH = 16


def run() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        measured = _config(Path(folder) / "rates", prompts=6, seeds=16, steps=(8, 24))
        asked = _config(Path(folder) / "asked", prompts=8, seeds=24, steps=(16,))
        study.job(measured)
        rates = Rates(rates=tuple(measure(Run(str(measured.with_suffix(""))))))
        config = load(asked, (), Consistency)
        foretold = estimate(config, rates, {"sdxl16": (8 * 24, 8 * 24)}, "cpu")
        assert not foretold.unknown
        study.job(asked)
        took = _held_s(asked.with_suffix(""))
    return [
        row(f"{step}: device seconds foretold over taken", foretold.held_s[step] / took[step], goal)
        for step, goal in (("generate", "0.8 to 1.2"), ("embed", "0.8 to 1.2"))
    ]


def _held_s(output: Path) -> Counter[str]:
    """Seconds by step, added up over a run's files."""
    held: Counter[str] = Counter()
    for step, name in (("generate", "images"), ("embed", "embeddings")):
        for path in (output / name).iterdir():
            held[step] += float((pq.read_schema(path).metadata or {})[SECONDS])
    return held


def _config(output: Path, prompts: int, seeds: int, steps: tuple[int, ...]) -> Path:
    models = [{"name": f"sdxl{n}", "id": "miniature/sdxl", "sampler": {"steps": n}} for n in steps]
    texts = [f"a portrait of a woman, number {i}" for i in range(prompts)]
    return study.write(output, BATCH, texts, seeds, models=models)
