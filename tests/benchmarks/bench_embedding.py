"""The Embed stage against open_clip as its README shows it: a picture at a time, on the same cores.

Both sides go from the same encoded pictures to unit vectors, in one process and in turn, with as
many threads of PyTorch. The stage is called as the chain calls it: whole batches, two calls at a
time; the loop opens, transforms and embeds one picture after the other. The encoders are the
miniature one, and one of ViT-B-32's size with random weights, whose pictures have 768 × 768 pixels.
"""

import io
import json
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pyarrow as pa
import torch
from PIL import Image
from safetensors.torch import save_file

from raypipe.config.networks import Encoder
from raypipe.config.sections import Pool, Storage
from raypipe.engine.stage import CALLS
from raypipe.inputs.codec import to_bytes
from raypipe.miniature.scenes import render
from raypipe.miniature.specs import sample_spec
from raypipe.storage import schema
from raypipe.studies.consistency.embed import Embed, columns
from raypipe.weights.locate import miniature_path
from tests.benchmarks.ratios import row, speedups

BATCH, BATCHES, REPETITIONS = 16, 4, 3
CORES = (1, 2)
PROMPT = "a portrait of a woman"
ARCHITECTURE, SIDE = "ViT-B-32", 768


def run() -> list[dict[str, Any]]:
    threads, free = torch.get_num_threads(), sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder))
        sides = (
            ("miniature, 64²", Encoder(id="miniature/clip"), miniature_path("clip"), 64),
            (f"{ARCHITECTURE}, {SIDE}²", Encoder(id=folder), Path(folder), SIDE),
        )
        try:
            return [
                _compare(name, encoder, directory, side, free[:cores])
                for name, encoder, directory, side in sides
                for cores in CORES
                if cores <= len(free)
            ]
        finally:
            _pin(free)
            torch.set_num_threads(threads)


def _compare(
    name: str, encoder: Encoder, directory: Path, side: int, cores: list[int]
) -> dict[str, Any]:
    pictures = [_picture(index, side) for index in range(BATCH * BATCHES)]
    _pin(cores)
    stage = Embed(encoder, Pool(cpus_per_actor=len(cores), batch_size=BATCH), is_last=True)
    loop = _plain(directory)
    tables = [_table(pictures[i : i + BATCH]) for i in range(0, len(pictures), BATCH)]

    def ours() -> np.ndarray:
        with ThreadPoolExecutor(CALLS) as calls:
            made = pa.concat_tables(calls.map(stage, tables))
        return np.array(made[columns(encoder)[0]].to_pylist())

    off = np.abs(ours() - loop(pictures)).max()
    assert off < 1e-5, f"both sides must make the same vectors, but differ by {off}"
    ratios = speedups(ours, lambda: loop(pictures), REPETITIONS)
    told = f"embedding, {name}, {len(cores)} cores: batches of {BATCH} over open_clip's plain loop"
    return row(told.replace("1 cores", "1 core"), ratios, ">= 1.5")


def _plain(directory: Path) -> Callable[[list[bytes]], np.ndarray]:
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{directory}")
    model.eval()

    def loop(pictures: list[bytes]) -> np.ndarray:
        made = []
        with torch.no_grad():
            for data in pictures:
                image = preprocess(Image.open(io.BytesIO(data))).unsqueeze(0)
                features = model.encode_image(image)
                features /= features.norm(dim=-1, keepdim=True)
                made.append(features)
        return torch.cat(made).numpy()

    return loop


def _table(pictures: list[bytes]) -> pa.Table:
    n = len(pictures)
    return pa.table({"image": pictures, "prompt": [PROMPT] * n, "status": [schema.OK] * n})


def _picture(index: int, side: int) -> bytes:
    """A drawing with the grain of a photo, which makes a PNG as large as a diffusion model's."""
    drawn = Image.fromarray(render(sample_spec(index))).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    grain = np.random.default_rng(index).normal(0, 3, (side, side, 3))
    pixels = (np.asarray(drawn) + grain).clip(0, 255).astype(np.uint8)
    return to_bytes(Image.fromarray(pixels), Storage())


def _write(folder: Path) -> None:
    """An encoder of the published size with random weights, in open_clip's own format."""
    torch.manual_seed(0)
    config = open_clip.get_model_config(ARCHITECTURE)
    save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
    whole = {"model_cfg": config, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(whole))


def _pin(cores: list[int]) -> None:
    """Keep every thread of this process, and those that they start, on these cores."""
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)
