"""Pictures a second against a plain diffusers loop, and against diffusers' own batched call.

On the whole machine: a script as a user would write it (one prompt and one seed a call, everything
at its defaults, PyTorch's threads too) against as many generators of one thread as there are cores,
in images a second.

On one core: each miniature makes the same pictures by that loop, in one call of diffusers with the
whole batch (what its documentation advises), and by our generator, in turn, on one thread. Times
are CPU seconds, so that a neighbour on the machine counts for less. The peak is that of a large
float32 product in the same run.

Where there is a GPU, SDXL at 768² with random weights is compared too: see gpu_generation.py.
"""

import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import diffusers
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from raypipe.config.model import Model, Sampler
from raypipe.models.diffusion.compiled import denoiser_of
from raypipe.models.diffusion.generator import Generator
from raypipe.weights.families import FIXED_OPTIONS
from raypipe.weights.locate import miniature_path
from tests.benchmarks import study
from tests.benchmarks.gpu_generation import run_on_gpu
from tests.benchmarks.ratios import makes_environment, one_thread, row
from tests.support import ROOT

PROMPTS = [
    "a portrait of a woman with dark hair",
    "a red ball on a blue box",
    "a green tree",
    "a yellow house on a hill",
]
SEEDS, ALONE, REPETITIONS = 8, 4, 3
SAMPLER = Sampler(steps=20, guidance=7.5, width=64, height=64)
MODELS = ("sdxl", "pixart")
BATCH = [(prompt, seed) for prompt in PROMPTS for seed in range(SEEDS)]
SOME = BATCH[:: len(BATCH) // ALONE]
Action = Callable[[], Any]

LOOP = (
    study.LOAD
    + """
size = {"width": 64, "height": 64}
if "PixArt" in type(pipe).__name__:
    size["use_resolution_binning"] = False
images = 0
for prompt in sys.argv[2:]:
    for seed in range(4):
        pipe(prompt, generator=torch.Generator().manual_seed(seed), num_inference_steps=20,
             guidance_scale=7.5, **size)
        images += 1
        if images == 2:
            started = time.perf_counter()
print((images - 2) / (time.perf_counter() - started))
"""
)
OURS = """
import sys, time, torch
torch.set_num_threads(1)
from raypipe.models.diffusion.generator import Generator
from raypipe.config.model import Model, Sampler
name, prompts = sys.argv[1], sys.argv[2:]
sampler = Sampler(steps=20, guidance=7.5, width=64, height=64)
generator = Generator(Model(name="m", id=f"miniature/{name}"), sampler, "cpu")
batch = [p for p in prompts for _ in range(4)], list(range(4)) * len(prompts)
generator(*batch)
sys.stdout.write("ready\\n")
sys.stdout.flush()
sys.stdin.readline()
started = time.perf_counter()
for _ in range(3):
    generator(*batch)
print(3 * len(batch[0]) / (time.perf_counter() - started))
"""


def run() -> list[dict[str, Any]]:
    rows = [_machine(name) for name in MODELS]
    with one_thread():
        rows += [line for name in MODELS for line in _compare(name)]
    return rows + (run_on_gpu() if torch.cuda.is_available() else [])


def _machine(name: str) -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0))
    ratios = []
    for _ in range(REPETITIONS):
        plain = _started(LOOP, name, {})
        rate = float(plain.communicate()[0].split()[-1])
        generators = [_started(OURS, name, makes_environment()) for _ in range(cores)]
        for one in generators:  # all are warm before the first begins
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        for one in generators:
            assert one.stdin is not None
            one.stdin.write("go\n")
            one.stdin.flush()
        ratios.append(sum(float(one.communicate()[0]) for one in generators) / rate)
    what = f"miniature/{name}, {cores} cores, a generator on each"
    return row(f"{what}: images/s over a plain diffusers loop's", ratios, ">= 2.5")


def _started(script: str, name: str, settings: dict[str, str]) -> subprocess.Popen[str]:
    """A process of its own; of the environment only what `settings` says is about speed."""
    speed = ("MALLOC_", "OMP_", "MKL_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(speed)}
    return subprocess.Popen(
        [sys.executable, "-c", script, name, *PROMPTS],
        cwd=ROOT,
        env={**environment, **settings, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _compare(name: str) -> list[dict[str, Any]]:
    keys: dict[str, Any] = {"name": "m", "id": f"miniature/{name}"}
    generator = Generator(Model(**keys), SAMPLER, "cpu")
    half = Generator(Model(**keys, dtype="bfloat16"), SAMPLER, "cpu")
    pipe = diffusers.DiffusionPipeline.from_pretrained(miniature_path(name))
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
        each["half"].append(_cpu_seconds(lambda: half(prompts, seeds)) / len(BATCH))

    def over(side: str, other: str = "ours") -> list[float]:
        return [a / b for a, b in zip(each[side], each[other], strict=True)]

    what = f"miniature/{name}, one core, {len(PROMPTS)} prompts × {SEEDS} seeds"
    used = [flops / seconds / len(BATCH) / peak for seconds in each["ours"]]
    return [
        row(f"{what}: times faster than a plain diffusers loop", over("loop"), "none"),
        row(f"{what}, bfloat16: times faster than the loop", over("loop", "half"), ">= 2.5"),
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
