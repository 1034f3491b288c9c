"""Guidance in a part of the steps, and the prompt alone in the others, at half the cost.

Source: Kynkäänniemi et al. 2024, "Applying Guidance in a Limited Interval Improves Sample and
Distribution Quality in Diffusion Models" (arXiv 2404.07724); there the interval is one of noise
levels, here one of steps.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import diffusers
import torch

from raypipe.models.diffusion.compiled import denoiser_of

Interval = tuple[float, float]


@contextmanager
def guided_within(pipe: diffusers.DiffusionPipeline, interval: Interval) -> Iterator[None]:
    """Within it one call of `pipe` is guided from share `low` of its steps to before `high`.

    The pipeline stacks the negative half of a batch on the conditional one. Outside the interval
    the denoiser sees the conditional half only, and its output c is used for both: guidance g then
    gives c + g (c - c) = c.
    """
    denoiser = denoiser_of(pipe)
    low, high = interval
    step, is_halved = 0, False

    def before(_: torch.nn.Module, args: Any, kwargs: Any) -> Any:
        nonlocal step, is_halved
        share = step / len(pipe.scheduler.timesteps)
        step, is_halved = step + 1, not low <= share < high
        return _halved((args, kwargs), len(args[0])) if is_halved else None

    def after(_: torch.nn.Module, __: Any, output: Any) -> Any:
        return (torch.cat([output[0]] * 2), *output[1:]) if is_halved else None

    hooks = [
        denoiser.register_forward_pre_hook(before, with_kwargs=True),
        denoiser.register_forward_hook(after),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _halved(value: Any, rows: int) -> Any:
    """The second half of every tensor of `rows` rows, wherever in the arguments it is."""
    if isinstance(value, torch.Tensor):
        return value[rows // 2 :] if value.ndim and len(value) == rows else value
    if isinstance(value, dict):
        return {key: _halved(item, rows) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_halved(item, rows) for item in value)
    return value
