"""Loads a pipeline, or the parts of it that one stage needs."""

from pathlib import Path
from typing import Any, Literal

import diffusers
import torch
from safetensors import SafetensorError

from raypipe.config.model import Model, Sampler
from raypipe.errors import UserError
from raypipe.weights.families import TEXT_PARTS
from raypipe.weights.locate import is_local, locate, pipeline_index
from raypipe.weights.trust import check_folder

SCHEDULERS = {
    "euler": diffusers.EulerDiscreteScheduler,
    "euler_a": diffusers.EulerAncestralDiscreteScheduler,
    "ddim": diffusers.DDIMScheduler,
    "dpmpp_2m": diffusers.DPMSolverMultistepScheduler,
    "unipc": diffusers.UniPCMultistepScheduler,
    "lcm": diffusers.LCMScheduler,
}

LOADING_ERRORS = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)
"""What the libraries raise for weights that are damaged or do not fit their config."""

Parts = Literal["all", "text", "pictures", "vae", "denoiser"]
"""Of a pipeline: everything, what encodes text, what makes pictures of encoded text, or one network
alone; each with the scheduler, but for text."""


def load_pipeline(
    model: Model, sampler: Sampler, parts: Parts = "all"
) -> diffusers.DiffusionPipeline:
    """Load a pipeline with its scheduler and VAE, without its LoRA, from this node's files.

    Parts that are left out are None. Raises UserError for weights that cannot be loaded, or that
    bring code.
    """
    assert model.id is not None
    _check_trust(model)
    dtype = getattr(torch, model.dtype)
    try:
        given: dict[str, Any] = dict.fromkeys(_left_out(model, parts))
        if model.vae is not None and parts not in ("text", "denoiser"):
            given["vae"] = diffusers.AutoencoderKL.from_pretrained(
                locate(model.vae),
                revision=model.vae_revision,
                dtype=dtype,
                use_safetensors=True,
            )
        if model.config is not None:
            pipe = _from_single_file(model, dtype, given)
        else:
            pipe = diffusers.DiffusionPipeline.from_pretrained(
                locate(model.id),
                revision=model.revision,
                variant=model.variant,
                dtype=dtype,
                use_safetensors=True,
                **given,
            )
    except LOADING_ERRORS as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"model {model.name} cannot be loaded: {model.id}: {reason}") from error
    if sampler.scheduler is not None:
        scheduler = SCHEDULERS[sampler.scheduler]
        pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
    return pipe


def place(pipe: diffusers.DiffusionPipeline, model: Model, device: str) -> None:
    """Put a pipeline on its device, as the model's `memory` asks."""
    memory = model.memory
    vae = getattr(pipe, "vae", None)
    for wanted, way in ((memory.vae_slicing, "slicing"), (memory.vae_tiling, "tiling")):
        if wanted and vae is not None:
            if not hasattr(vae, f"enable_{way}"):
                raise UserError(
                    f"memory.vae_{way} needs a VAE that can do so, got {type(vae).__name__} "
                    f"(model {model.name})"
                )
            getattr(vae, f"enable_{way}")()
    if memory.offload == "none":
        pipe.to(device)
    elif device == "cpu":
        raise UserError(f"memory.offload needs a GPU, got device cpu (model {model.name})")
    elif memory.offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.enable_sequential_cpu_offload(device=device)


def _check_trust(model: Model) -> None:
    """UserError for a model that is more than weights for a pipeline of diffusers."""
    what, index = f"model {model.name}", pipeline_index(model)
    if not hasattr(diffusers, index["_class_name"]):
        raise UserError(
            f"{what} must be a pipeline of diffusers {diffusers.__version__}, got "
            f"{index['_class_name']}"
        )
    for where in (model.id if model.config is None else model.config, model.vae):
        if where is not None and is_local(locate(where)):
            check_folder(Path(locate(where)), what)


def _from_single_file(
    model: Model, dtype: torch.dtype, given: dict[str, Any]
) -> diffusers.DiffusionPipeline:
    """Load a checkpoint in the original layout, with the configs of a pipeline's directory."""
    assert model.id is not None
    assert model.config is not None
    kind = getattr(diffusers, pipeline_index(model)["_class_name"])
    pipe = kind.from_single_file(
        locate(model.id), config=locate(model.config), local_files_only=True, dtype=dtype, **given
    )
    for name, part in pipe.components.items():
        if isinstance(part, torch.nn.Module):
            empty = [key for key, value in part.named_parameters() if value.is_meta]
            if empty:
                raise ValueError(
                    f"it holds no weights for {len(empty)} layers, as {name}.{empty[0]}"
                )
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
    kept = {"text": TEXT_PARTS, "vae": ("vae",), "denoiser": ("unet", "transformer")}[parts]
    return [name for name in components if name not in (*kept, "scheduler")]
