"""The denoiser of a pipeline, and torch.compile of it."""

import os
import shutil

import diffusers
import torch

from raypipe.errors import UserError


def denoiser_of(pipe: diffusers.DiffusionPipeline) -> torch.nn.Module:
    """The network that a pipeline runs in every step. UserError where it has no such network."""
    for name in ("unet", "transformer"):
        if isinstance(getattr(pipe, name, None), torch.nn.Module):
            return getattr(pipe, name)
    raise UserError(f"compile needs a unet or a transformer, {type(pipe).__name__} has neither")


def compile_denoiser(pipe: diffusers.DiffusionPipeline, device: str) -> None:
    """Compile a pipeline's denoiser, once for each input shape.

    Raises UserError where there is no compiler.
    """
    compiler = os.environ.get("CXX", "g++")
    if device == "cpu" and shutil.which(compiler) is None:
        raise UserError(f"compile needs a C++ compiler on a CPU, and there is no {compiler}")
    denoiser_of(pipe).compile(dynamic=False)
