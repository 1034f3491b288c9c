"""Inpaints faces with any Stable Diffusion 1.5 or SDXL checkpoint, made for inpainting or not.

A checkpoint made for inpainting has a UNet of 9 channels (latents, mask, masked picture), one made
for text to image has 4, and is held to the photo outside the mask after every step. diffusers'
inpainting pipelines do both. Pasting undoes any change outside the mask.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import diffusers
import numpy as np
import torch
from PIL import Image

from raypipe.config.model import Model, Sampler
from raypipe.core.masks import Mask, Picture, paste
from raypipe.core.regions import Region
from raypipe.errors import UserError
from raypipe.models.diffusion.loading import load_pipeline, place
from raypipe.models.diffusion.text import PromptEncoder
from raypipe.models.lora.place import load_lora
from raypipe.models.memory import Pieces
from raypipe.weights.families import inpainting_of

CHANNELS = (4, 9)
"""Of UNets that inpaint."""


@dataclass(frozen=True)
class Task:
    """One face to inpaint."""

    photo_HWC: Picture
    """uint8 RGB, of any size."""
    mask_HW: Mask
    """Of the photo's size; the photo changes where it is above 0, see `raypipe.core.masks`."""
    region: Region
    """The part that the model sees, at its resolution; see `raypipe.core.regions.crop_for`."""
    prompt: str = ""
    seed: int = 0
    strength: float = 1.0
    """Share of the steps: 1 starts from noise alone, smaller values from the noised photo."""


@dataclass(frozen=True)
class Inpainted:
    """An inpainted photo, or why there is none."""

    photo_HWC: Picture | None
    """uint8, of the photo's size; equal to it outside the mask."""
    reason: str | None
    """`nan`, or `nsfw` where the pipeline has a safety checker; None for a photo that was made."""


class Inpainter:
    """One loaded inpainting pipeline on one device."""

    def __init__(self, model: Model, sampler: Sampler, device: str):
        self._sampler, self._device = sampler, device
        self._pipe = as_inpainting(load_pipeline(model, sampler), model)
        self._lora = load_lora(self._pipe, model)
        place(self._pipe, model, device)
        self._pipe.set_progress_bar_config(disable=True)
        self.device_kind = torch.cuda.get_device_name() if device == "cuda" else device
        self._options = dict(model.options)
        self._prompts = PromptEncoder(self._pipe, model, sampler, device)
        batch = model.memory.batch
        self._pieces = Pieces(
            f"one picture must fit the memory of its device, but model {model.name} at "
            f"{sampler.width}×{sampler.height} in {model.dtype} does not fit {self.device_kind}",
            None if batch == "auto" else batch,
        )

    def __call__(self, tasks: Sequence[Task]) -> list[Inpainted]:
        """One inpainted photo for each task, as the plain pipeline would make it alone.

        Noise, and the VAE's sampling, come from each task's own CPU generator: the same bits
        whatever else is in the batch. Tasks of one strength are made together, in halves where the
        memory is short. Raises UserError for a strength that leaves no step to be done, and where
        one picture does not fit.
        """
        lora, self._lora = self._lora, None
        if lora is not None and tasks:
            lora.check_acts(lambda: torch.from_numpy(self._paint(tasks[:1], steps=2).images))
        by_strength = defaultdict(list)
        for index, task in enumerate(tasks):
            self._check(task)
            by_strength[task.strength].append(index)
        inpainted: dict[int, Inpainted] = {}
        for indices in by_strength.values():
            alike = [tasks[index] for index in indices]
            made = self._pieces(len(alike), lambda piece, alike=alike: self._make(alike[piece]))
            inpainted |= zip(indices, (one for part in made for one in part), strict=True)
        return [inpainted[index] for index in range(len(tasks))]

    def roundtrip(self, tasks: Sequence[Task]) -> list[Inpainted]:
        """The same regions through the VAE alone, pasted with the same masks; no noise is drawn.

        So a good face has been through what an inpainted one has: the resizing, and the VAE by the
        mean of its latents. Raises UserError where one picture does not fit the memory.
        """
        made = self._pieces(len(tasks), lambda piece: self._encode_decode(tasks[piece]))
        images = [image for part in made for image in part]
        return [_finish(task, image, False) for task, image in zip(tasks, images, strict=True)]

    def _check(self, task: Task) -> None:
        if not 0 < task.strength <= 1 or int(self._sampler.steps * task.strength) < 1:
            raise UserError(
                f"strength must be from 1/steps to 1, got {task.strength} of "
                f"{self._sampler.steps} steps"
            )

    def _make(self, tasks: Sequence[Task]) -> list[Inpainted]:
        output = self._paint(tasks, self._sampler.steps)
        flags = getattr(output, "nsfw_content_detected", None) or [False] * len(tasks)
        return [_finish(*one) for one in zip(tasks, output.images, flags, strict=True)]

    def _paint(self, tasks: Sequence[Task], steps: int) -> Any:
        """The pipeline's output for tasks of one strength: float32 pictures B×H×W×C, 0 to 1."""
        texts = [self._prompts.encode(task.prompt) for task in tasks]
        text = {name: torch.cat([row[name].to(self._device) for row in texts]) for name in texts[0]}
        size = self._sampler.width, self._sampler.height
        with torch.inference_mode():
            return self._pipe(
                **text,
                image=[seen(task, size) for task in tasks],
                mask_image=[repainted(task, size, self._pipe.vae_scale_factor) for task in tasks],
                generator=[torch.Generator("cpu").manual_seed(task.seed) for task in tasks],
                strength=tasks[0].strength,
                num_inference_steps=steps,
                guidance_scale=self._sampler.guidance,
                width=size[0],
                height=size[1],
                output_type="np",
                **self._options,
            )

    def _encode_decode(self, tasks: Sequence[Task]) -> np.ndarray:
        vae, size = self._pipe.vae, (self._sampler.width, self._sampler.height)
        dtype = vae.dtype
        if vae.config.force_upcast:
            vae.to(torch.float32)
        pixels_BHWC = np.stack([np.asarray(seen(task, size)) for task in tasks])
        x_BCHW = torch.from_numpy(pixels_BHWC).permute(0, 3, 1, 2).to(self._device, vae.dtype)
        with torch.inference_mode():
            latents_BChw = vae.encode(x_BCHW / 127.5 - 1).latent_dist.mode()
            y_BCHW = vae.decode(latents_BChw).sample.float()
        if vae.dtype != dtype:
            vae.to(dtype)
        return (y_BCHW / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()


def as_inpainting(pipe: diffusers.DiffusionPipeline, model: Model) -> diffusers.DiffusionPipeline:
    """The same components as an inpainting pipeline. UserError for families without one."""
    name = inpainting_of(type(pipe).__name__, model.name)
    channels = pipe.unet.config.in_channels
    if channels not in CHANNELS:
        raise UserError(
            f"a UNet that inpaints has 4 or 9 channels, got {channels} (model {model.name})"
        )
    kind = getattr(diffusers, name)
    if "XL" in name:  # a watermark, where its package is installed, would change pixels
        kept = {key: pipe.config[key] for key in ("force_zeros_for_empty_prompt",)}
        return kind(**pipe.components, **kept, add_watermarker=False)
    return kind(**pipe.components, requires_safety_checker=pipe.config.requires_safety_checker)


def seen(task: Task, size: tuple[int, int]) -> Image.Image:
    """What the model sees: the task's region at (width, height)."""
    x0, y0, x1, y1 = task.region
    part = Image.fromarray(np.ascontiguousarray(task.photo_HWC[y0:y1, x0:x1]))
    return part.resize(size, Image.Resampling.LANCZOS)


def repainted(task: Task, size: tuple[int, int], factor: int) -> Image.Image:
    """Where the model inpaints: every latent that a masked pixel is part of; 255 or 0.

    The pipelines reduce a mask to the latents by taking one pixel of each block, which would leave
    a rim of the photo under the mask's soft edge.
    """
    x0, y0, x1, y1 = task.region
    part_HW = np.where(task.mask_HW[y0:y1, x0:x1] > 0, 255, 0).astype(np.uint8)
    masked = Image.fromarray(part_HW).resize(size, Image.Resampling.BILINEAR)
    blocks = np.asarray(masked).reshape(size[1] // factor, factor, size[0] // factor, factor)
    latents_hw = blocks.max(axis=(1, 3)) > 0
    return Image.fromarray(np.kron(latents_hw, np.full((factor, factor), 255, np.uint8)))


def _finish(task: Task, image_HWC: np.ndarray, is_flagged: bool) -> Inpainted:
    """The model's picture, resized to the region and pasted under the mask."""
    if not np.isfinite(image_HWC).all():
        return Inpainted(None, "nan")
    if is_flagged:
        return Inpainted(None, "nsfw")
    x0, y0, x1, y1 = task.region
    levels = Image.fromarray((image_HWC * 255).round().clip(0, 255).astype(np.uint8))
    whole = task.photo_HWC.copy()
    whole[y0:y1, x0:x1] = np.asarray(levels.resize((x1 - x0, y1 - y0), Image.Resampling.LANCZOS))
    return Inpainted(paste(task.photo_HWC, whole, task.mask_HW), None)
