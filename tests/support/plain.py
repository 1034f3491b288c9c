"""Pictures as a user of diffusers makes them, with nothing of raypipe."""

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch


def pipeline(
    directory: Path,
    scheduler: Any = diffusers.EulerDiscreteScheduler,
    kind: Any = diffusers.DiffusionPipeline,
) -> Any:
    """The pipeline of a directory; `scheduler` None leaves its own."""
    pipe = kind.from_pretrained(directory)
    if scheduler:
        pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def picture(
    pipe: Any, prompt: str = "a red ball", seed: int = 1, steps: int = 3, **more: Any
) -> np.ndarray:
    """One picture (32, 32, 3), from 0 to 1, at a guidance of 5."""
    if isinstance(pipe, diffusers.PixArtAlphaPipeline):
        more |= {"use_resolution_binning": False, "clean_caption": False}
    return pipe(
        prompt,
        generator=torch.Generator("cpu").manual_seed(seed),
        num_inference_steps=steps,
        guidance_scale=5.0,
        width=32,
        height=32,
        output_type="np",
        **more,
    ).images[0]
