"""Pictures a second against a plain diffusers loop, and against diffusers' own batched call.

Each miniature makes the same pictures three ways, in turn, on one thread: as a user would write it
(one prompt and one seed a call, default settings), in one call of diffusers with the whole batch
(what its documentation advises), and by our generator. Times are CPU seconds, so that a neighbour
on the machine counts for less. The peak is that of a large float32 product in the same run.

Where there is a GPU, SDXL at 768² with random weights is compared too: see gpu_generation.py.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import diffusers
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from raypipe import miniature
from raypipe.models.compiled import denoiser_of
from raypipe.models.diffusion import Generator
from raypipe.models.families import FIXED_OPTIONS
from raypipe.settings import Memory, Model, Sampler
from tests.benchmarks.gpu_generation import run_on_gpu
from tests.benchmarks.ratios import one_thread, row

PROMPTS = [
    "a portrait of a woman with dark hair",
    "a red ball on a blue box",
    "a green tree",
    "a yellow house on a hill",
]
SEEDS, ALONE, REPETITIONS = 8, 4, 5
PIECE = 8
"""Pictures whose activations fit a core's own cache, as `memory.batch` can say."""
SAMPLER = Sampler(steps=20, guidance=7.5, width=64, height=64)
MODELS = {"sdxl": ">= 2.5", "pixart": ">= 2.5", "sd15": ">= 2.5"}
BATCH = [(prompt, seed) for prompt in PROMPTS for seed in range(SEEDS)]
SOME = BATCH[:: len(BATCH) // ALONE]
Action = Callable[[], Any]


def run() -> list[dict[str, Any]]:
    with one_thread():
        rows = [line for name, goal in MODELS.items() for line in _compare(name, goal)]
    return rows + (run_on_gpu() if torch.cuda.is_available() else [])


def _compare(name: str, goal: str) -> list[dict[str, Any]]:
    keys: dict[str, Any] = {"name": "m", "id": f"miniature/{name}"}
    generator = Generator(Model(**keys), SAMPLER, "cpu")
    sides = {
        "pieces": Generator(Model(**keys, memory=Memory(batch=PIECE)), SAMPLER, "cpu"),
        "half": Generator(Model(**keys, dtype="bfloat16"), SAMPLER, "cpu"),
    }
    pipe = diffusers.DiffusionPipeline.from_pretrained(miniature.path(name))
    pipe.set_progress_bar_config(disable=True)
    prompts, seeds = [prompt for prompt, _ in BATCH], [seed for _, seed in BATCH]

    def plain() -> Any:
        return [_call(pipe, prompt, torch.Generator().manual_seed(s)) for prompt, s in SOME]

    def batched() -> Any:
        return _call(pipe, prompts, [torch.Generator().manual_seed(seed) for seed in seeds])

    def ours() -> Any:
        return generator(prompts, seeds)

    _check_same(ours().images_BHWC[:: len(BATCH) // ALONE], plain())
    flops = _flops(ours)
    peak = _peak()
    each: dict[str, list[float]] = defaultdict(list)
    for _ in range(REPETITIONS):
        each["loop"].append(_cpu_seconds(plain) / ALONE)
        each["batched"].append(_cpu_seconds(batched) / len(BATCH))
        with _Busy(denoiser_of(generator._pipe)) as busy:
            spent = _cpu_seconds(ours)
        each["ours"].append(spent / len(BATCH))
        each["busy"].append(busy.seconds / spent)
        for side, other in sides.items():
            spent = _cpu_seconds(partial(other, prompts, seeds))
            each[side].append(spent / len(BATCH))

    def over(side: str, other: str = "ours") -> list[float]:
        return [a / b for a, b in zip(each[side], each[other], strict=True)]

    what = f"miniature/{name}, {len(PROMPTS)} prompts × {SEEDS} seeds"
    used = [flops / seconds / len(BATCH) / peak for seconds in each["ours"]]
    return [
        row(f"{what}: times faster than a plain diffusers loop", over("loop"), goal),
        row(f"{what}, {PIECE} at once: times faster than the loop", over("loop", "pieces"), goal),
        row(f"{what}, bfloat16: times faster than the loop", over("loop", "half"), goal),
        row(f"{what}: times faster than diffusers' batched call", over("batched"), ">= 1.1"),
        row(f"{what}: pictures a CPU second", [1 / s for s in each["ours"]], "none"),
        row(f"{what}: share of the core's float32 peak", used, "none"),
        row(f"{what}: share of the time in the denoiser", each["busy"], "none"),
    ]


def _call(pipe: diffusers.DiffusionPipeline, prompt: Any, generator: Any) -> Any:
    options = FIXED_OPTIONS.get(type(pipe).__name__, {})  # PixArt would draw 512² and shrink it
    return pipe(
        prompt,
        generator=generator,
        num_inference_steps=SAMPLER.steps,
        guidance_scale=SAMPLER.guidance,
        width=SAMPLER.width,
        height=SAMPLER.height,
        **options,
    ).images


def _check_same(ours_BHWC: np.ndarray, theirs: Any) -> None:
    """The sides must make the same pictures, up to a level of 8 bits here and there."""
    theirs_BHWC = np.stack([np.asarray(images[0]) for images in theirs])
    off = np.abs((ours_BHWC * 255).round() - theirs_BHWC)
    assert off.max() <= 2, f"the two sides must agree, but differ by {off.max()} levels"


def _cpu_seconds(action: Action) -> float:
    started = time.process_time()
    action()
    return time.process_time() - started


def _flops(action: Action) -> float:
    with FlopCounterMode(display=False) as counter:
        action()
    return float(counter.get_total_flops())


def _peak(side: int = 2048) -> float:
    """FLOP/s of a square product, the best of a few."""
    matrix = torch.randn(side, side)
    return 2 * side**3 / min(_cpu_seconds(lambda: matrix @ matrix) for _ in range(5))


class _Busy:
    """CPU seconds inside a network's forward."""

    def __init__(self, network: torch.nn.Module):
        self.seconds, self._network, self._since = 0.0, network, 0.0

    def __enter__(self) -> "_Busy":
        self._hooks = [
            self._network.register_forward_pre_hook(self._begin),
            self._network.register_forward_hook(self._end),
        ]
        return self

    def __exit__(self, *_: Any) -> None:
        for hook in self._hooks:
            hook.remove()

    def _begin(self, *_: Any) -> None:
        self._since = time.process_time()

    def _end(self, *_: Any) -> None:
        self.seconds += time.process_time() - self._since
