"""SDXL on a GPU, with random weights: what bench_generation adds where there is one.

Three sides make pictures of 768² in 20 steps at guidance 7.5, in turn: a plain diffusers loop
(float32, one prompt and one seed a call), diffusers' fast recipe (bfloat16, channels last, fused
projections, a compiled denoiser and decoder, one call for the batch), and our generator (bfloat16,
`compile`). It has not been run yet: no GPU was at hand when it was written.
"""

import tempfile
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch.utils.flop_counter import FlopCounterMode

from raypipe.config.model import Model, Sampler
from raypipe.models.diffusion.compiled import denoiser_of
from raypipe.models.diffusion.generator import Generator
from tests.benchmarks.ratios import row, seconds
from tests.support import full_size

SAMPLER = Sampler(steps=20, guidance=7.5, width=768, height=768)
PROMPT, BATCH, REPETITIONS = "a portrait of a woman", 8, 3
PEAK = 989e12
"""bfloat16 FLOP/s of an H100 or H200 (SXM), dense, as NVIDIA's data sheet says."""


def run_on_gpu() -> list[dict[str, Any]]:
    torch.backends.cuda.matmul.allow_tf32 = False
    with tempfile.TemporaryDirectory() as folder:
        full_size.sdxl(Path(folder))
        loop, recipe = _plain(folder), _recipe(folder)
        model = Model(name="m", id=folder, dtype="bfloat16", compile=True)
        generator = Generator(model, SAMPLER, "cuda")

    def ours() -> Any:
        return generator([PROMPT] * BATCH, list(range(BATCH)))

    sides = {
        "loop": lambda: _synced(lambda: _call(loop, [0])),
        "recipe": lambda: _synced(lambda: _call(recipe, list(range(BATCH)))),
        "ours": lambda: _synced(ours),
    }
    for side in sides.values():
        side()
    each = {name: [seconds(side) for _ in range(REPETITIONS)] for name, side in sides.items()}
    each["loop"] = [BATCH * value for value in each["loop"]]
    busy = [_busy(generator, ours) for _ in range(REPETITIONS)]
    with FlopCounterMode(display=False) as counter:
        _call(loop, [0])
    flops = BATCH * counter.get_total_flops()

    def over(side: str) -> list[float]:
        return [theirs / mine for theirs, mine in zip(each[side], each["ours"], strict=True)]

    what = f"SDXL at 768² on {torch.cuda.get_device_name()}"
    used = [flops / value / PEAK for value in each["ours"]]
    return [
        row(f"{what}: times faster than a plain diffusers loop", over("loop"), ">= 3"),
        row(f"{what}: times faster than diffusers' fast recipe", over("recipe"), ">= 1.1"),
        row(f"{what}: pictures a second", [BATCH / value for value in each["ours"]], "none"),
        row(f"{what}: share of an H200's bfloat16 peak", used, ">= 0.4"),
        row(f"{what}: share of the time in the denoiser", busy, ">= 0.95"),
    ]


def _plain(folder: str) -> diffusers.DiffusionPipeline:
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder).to("cuda")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _recipe(folder: str) -> diffusers.DiffusionPipeline:
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder, dtype=torch.bfloat16).to("cuda")
    pipe.set_progress_bar_config(disable=True)
    pipe.fuse_qkv_projections()
    for network in (pipe.unet, pipe.vae):
        network.to(memory_format=torch.channels_last)
    pipe.unet = torch.compile(pipe.unet, mode="max-autotune", fullgraph=True)
    pipe.vae.decode = torch.compile(pipe.vae.decode, mode="max-autotune", fullgraph=True)
    return pipe


def _call(pipe: diffusers.DiffusionPipeline, seeds: list[int]) -> Any:
    return pipe(
        [PROMPT] * len(seeds),
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        num_inference_steps=SAMPLER.steps,
        guidance_scale=SAMPLER.guidance,
        width=SAMPLER.width,
        height=SAMPLER.height,
    )


def _synced(action: Any) -> None:
    action()
    torch.cuda.synchronize()


def _busy(generator: Generator, action: Any) -> float:
    """Share of a batch's time that the GPU spends in the denoiser, by events on its stream."""
    network, events = denoiser_of(generator._pipe), []

    def mark(*_: Any) -> None:
        events.append(torch.cuda.Event(enable_timing=True))
        events[-1].record()

    hooks = [network.register_forward_pre_hook(mark), network.register_forward_hook(mark)]
    taken = seconds(lambda: _synced(action))
    for hook in hooks:
        hook.remove()
    pairs = zip(events[::2], events[1::2], strict=True)
    return sum(begin.elapsed_time(end) for begin, end in pairs) / 1000 / taken
