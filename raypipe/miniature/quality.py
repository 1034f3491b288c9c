"""Quality figures of the committed models, on captions of seeds that no part was trained on."""

import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoPipelineForText2Image, EulerDiscreteScheduler

from . import judge, reward
from .captions import STYLE, full_caption
from .clip import retrieval
from .data import HELD_OUT, as_tensor
from .scenes import render
from .specs import Portrait, Spec, sample_portrait, sample_scene, sample_spec

PORTRAITS, SCENES = 200, 100
STEPS, GUIDANCE = 20, 7.5
_BATCH = 20


def load(directory: Path, adapter: Path | None = None):
    """A stock pipeline with the Euler sampler, and the LoRA where one is given."""
    pipeline = AutoPipelineForText2Image.from_pretrained(directory, torch_dtype=torch.float32)
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    if adapter is not None:
        pipeline.load_lora_weights(adapter)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generate(pipeline, prompts: list[str], guidance: float = GUIDANCE) -> np.ndarray:
    """One picture for each prompt, uint8 NHWC; the seed is the prompt's place in the list."""
    options = {"num_inference_steps": STEPS, "guidance_scale": guidance, "output_type": "np"}
    if "PixArt" in type(pipeline).__name__:
        options |= {"use_resolution_binning": False, "clean_caption": False}
    made = []
    for first in range(0, len(prompts), _BATCH):
        batch = prompts[first : first + _BATCH]
        seeds = [torch.Generator().manual_seed(first + i) for i in range(len(batch))]
        made.append(pipeline(batch, generator=seeds, height=64, width=64, **options).images)
    return (np.concatenate(made) * 255).round().astype(np.uint8)


def held_out() -> list[Spec]:
    """The specs that the figures are about: portraits, then scenes."""
    portraits = [sample_portrait(HELD_OUT + i) for i in range(PORTRAITS)]
    return portraits + [sample_scene(HELD_OUT + i) for i in range(SCENES)]


def follows(pictures_NHWC: np.ndarray, specs: list[Spec]) -> dict[str, float]:
    """Shares of pictures with the background and hair that were asked for, and with a face."""
    pairs = list(zip(pictures_NHWC, specs, strict=True))
    portraits = [(picture, spec) for picture, spec in pairs if isinstance(spec, Portrait)]
    right = {
        "background": [judge.background(picture) == spec.background for picture, spec in pairs],
        "hair": [judge.hair(picture) == spec.hair for picture, spec in portraits],
        "face": [len(judge.faces(picture)) > 0 for picture, _ in portraits],
    }
    return {name: round(float(np.mean(hits)), 4) for name, hits in right.items()}


def measure_pipeline(directory: Path) -> dict:
    """The figures of one pipeline, with the seconds that a picture took."""
    specs = held_out()
    pipeline = load(directory)
    started = time.process_time()
    pictures_NHWC = generate(pipeline, [full_caption(spec) for spec in specs])
    seconds = (time.process_time() - started) / len(specs)
    counts = {"n_background": len(specs), "n_hair": PORTRAITS, "n_face": PORTRAITS}
    return {**follows(pictures_NHWC, specs), **counts, "cpu_seconds": round(seconds, 3)}


def measure_lora(directory: Path, adapter: Path, count: int = 100) -> dict:
    """How much hatching the trigger brings, against the same prompts and seeds without the LoRA."""
    specs = held_out()[:count]
    prompts = [f"{full_caption(spec)} {STYLE}" for spec in specs]
    plain_NHWC = generate(load(directory), prompts)
    styled = load(directory, adapter)
    styled_NHWC = generate(styled, prompts)
    untriggered_NHWC = generate(styled, [full_caption(spec) for spec in specs])

    def hatched(pictures_NHWC: np.ndarray) -> float:
        return round(float(np.mean([judge.hatching(picture) for picture in pictures_NHWC])), 4)

    return {
        **follows(styled_NHWC, specs),
        "n": count,
        "hatching_with_trigger": hatched(styled_NHWC),
        "hatching_without_trigger": hatched(untriggered_NHWC),
        "hatching_without_lora": hatched(plain_NHWC),
    }


@torch.no_grad()
def reconstruction(directory: Path, count: int = 200) -> dict:
    """Mean absolute error of the autoencoder on held-out renders, in levels of 255."""
    vae = AutoencoderKL.from_pretrained(directory, torch_dtype=torch.float32)
    specs = [sample_spec(HELD_OUT + i) for i in range(count)]
    x_NHWC = np.stack([render(spec) for spec in specs])
    y_NCHW = vae.decode(vae.encode(as_tensor(x_NHWC)).latent_dist.mean).sample
    y_NHWC = ((y_NCHW.clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
    error = float(np.abs(y_NHWC - x_NHWC).mean())
    portraits = [isinstance(spec, Portrait) for spec in specs]
    faces = [len(judge.faces(y)) > 0 for y in y_NHWC[portraits].astype(np.uint8)]
    return {
        "mean_absolute_error": round(error, 3),
        "n": count,
        "face": round(float(np.mean(faces)), 4),
        "n_face": len(faces),
    }


def measure(weights: Path) -> dict:
    """Every figure, with the number of pictures behind it."""
    return {
        "sampler": {"name": "EulerDiscreteScheduler", "steps": STEPS, "guidance": GUIDANCE},
        "vae": reconstruction(weights / "sdxl" / "vae"),
        "clip": {"retrieval_top1": round(retrieval(weights / "clip"), 4), "n": 100},
        "sdxl": measure_pipeline(weights / "sdxl"),
        "pixart": measure_pipeline(weights / "pixart"),
        "sd15": measure_pipeline(weights / "sd15"),
        "reward": {**reward.choices(weights / "reward"), "n": 300},
        "lora": measure_lora(weights / "sdxl", weights / "lora"),
    }
