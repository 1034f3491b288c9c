"""What malloc's settings cost: a training step in the Makefile's environment against two others.

glibc raises its threshold for mapping memory by itself, until one of the three settings is made by
hand; then it stays at 128 KiB, and every larger tensor is mapped and faulted in anew. Each side is
a process of its own, on one thread, in turn.
"""

import os
import subprocess
import sys
from typing import Any

from tests.benchmarks.ratios import makes_environment, row
from tests.support import ROOT

REPETITIONS = 3
STEP = """
import time, diffusers, torch
torch.set_num_threads(1)
from raypipe.weights.locate import miniature_path
unet = diffusers.UNet2DConditionModel.from_pretrained(miniature_path("sd15"), subfolder="unet")
latents, texts = torch.randn(16, 4, 16, 16), torch.randn(16, 77, 64)
seconds = []
for _ in range(10):
    started = time.perf_counter()
    unet(latents, torch.full((16,), 5), encoder_hidden_states=texts).sample.sum().backward()
    seconds.append(time.perf_counter() - started)
print(sorted(seconds)[len(seconds) // 2])
"""


def run() -> list[dict[str, Any]]:
    ours = makes_environment()
    two = {key: value for key, value in ours.items() if "MMAP" not in key}
    assert len(ours) == len(two) + 1
    sides: dict[str, list[float]] = {"the defaults": [], "two settings without the third": []}
    for _ in range(REPETITIONS):
        least = _seconds(ours)
        for name, settings in zip(sides, ({}, two), strict=True):
            sides[name].append(_seconds(settings) / least)
    goals = (">= 1", ">= 1.2")
    told = "a training step with the Makefile's malloc: times faster than with"
    return [row(f"{told} {n}", v, g) for (n, v), g in zip(sides.items(), goals, strict=True)]


def _seconds(settings: dict[str, str]) -> float:
    others = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    environment = {**others, **settings, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    told = subprocess.run(
        [sys.executable, "-c", STEP], env=environment, capture_output=True, text=True, check=True
    )
    return float(told.stdout.split()[-1])
