"""Training data: renders and captions of a range of seeds, cached on disk.

Seeds from `HELD_OUT` on are never trained on. Shape letters: N pictures, H W 64×64, C colours.
"""

from functools import partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch

from .captions import training_caption
from .scenes import render, stylise
from .specs import sample_spec

HELD_OUT = 10_000_000
_CHUNK = 500


def _render_chunk(first: int, styled: bool) -> np.ndarray:
    pictures = [render(sample_spec(seed)) for seed in range(first, first + _CHUNK)]
    if styled:
        pictures = [stylise(p, first + i) for i, p in enumerate(pictures)]
    return np.stack(pictures)


def pictures(count: int, cache: Path, styled: bool = False) -> np.ndarray:
    """Renders of the seeds 0 to count − 1, uint8 NHWC; rendered once and then read from `cache`."""
    path = cache / f"{'styled' if styled else 'plain'}_{count}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with Pool(2) as pool:
            chunks = pool.map(partial(_render_chunk, styled=styled), range(0, count, _CHUNK))
        unfinished = path.with_suffix(".part.npy")
        np.save(unfinished, np.concatenate(chunks)[:count])
        unfinished.replace(path)
    return np.load(path, mmap_mode="r")


def as_tensor(pictures_NHWC: np.ndarray) -> torch.Tensor:
    """uint8 pictures as float32 NCHW in −1 to 1, the range that the VAE works in."""
    x_NHWC = torch.from_numpy(np.array(pictures_NHWC)).float()
    return (x_NHWC / 127.5 - 1).permute(0, 3, 1, 2).contiguous()


def some_captions(count: int = 20_000) -> list[str]:
    """Captions of the first seeds: the tokenizers' training text."""
    return [training_caption(sample_spec(seed), seed) for seed in range(count)]
