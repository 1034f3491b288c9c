"""Loads a pipeline, or the parts of it that one stage needs."""

from typing import Any, Literal

import diffusers
import torch
from safetensors import SafetensorError

from raypipe.errors import UserError
from raypipe.models.families import TEXT_PARTS
from raypipe.settings import Model, Sampler
from raypipe.weights import locate, pipeline_index

SCHEDULERS = {
    "euler": diffusers.EulerDiscreteScheduler,
    "euler_a": diffusers.EulerAncestralDiscreteScheduler,
    "ddim": diffusers.DDIMScheduler,
    "dpmpp_2m": diffusers.DPMSolverMultistepScheduler,
    "unipc": diffusers.UniPCMultistepScheduler,
    "lcm": diffusers.LCMScheduler,
}

Parts = Literal["all", "text", "pictures"]
"""Of a pipeline: everything, what encodes text, or what makes pictures of encoded text."""


def load_pipeline(
    model: Model, sampler: Sampler, parts: Parts = "all"
) -> diffusers.DiffusionPipeline:
    """Load a pipeline by hub id or directory, with its scheduler and VAE, without its LoRA.

    Parts that are left out are None. Raises UserError for weights that cannot be loaded.
    """
    assert model.id is not None
    dtype = getattr(torch, model.dtype)
    try:
        given: dict[str, Any] = dict.fromkeys(_left_out(model, parts))
        if model.vae is not None and parts != "text":
            given["vae"] = diffusers.AutoencoderKL.from_pretrained(locate(model.vae), dtype=dtype)
        pipe = diffusers.DiffusionPipeline.from_pretrained(
            locate(model.id),
            revision=model.revision,
            variant=model.variant,
            dtype=dtype,
            use_safetensors=True,
            **given,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"model {model.name} cannot be loaded: {model.id}: {error}") from error
    if sampler.scheduler is not None:
        scheduler = SCHEDULERS[sampler.scheduler]
        pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
    return pipe


def _left_out(model: Model, parts: Parts) -> list[str]:
    """Names of the components that are not to be loaded."""
    if parts == "all":
        return []
    components = [
        name for name, value in pipeline_index(model).items() if isinstance(value, list | tuple)
    ]
    if parts == "pictures":
        return [name for name in components if name in TEXT_PARTS]
    return [name for name in components if name not in (*TEXT_PARTS, "scheduler")]
