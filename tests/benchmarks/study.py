"""The consistency job on `miniature/sdxl`, as several benchmarks run it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.support import ROOT

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

LOAD = """
import sys, time, diffusers, torch
from raypipe.weights.locate import miniature_path
pipe = diffusers.DiffusionPipeline.from_pretrained(miniature_path(sys.argv[1]))
pipe.set_progress_bar_config(disable=True)
"""
"""How a script begins that knows nothing else of raypipe."""


def write(output: Path, batch: int, prompts: Any, seeds: int, **changes: Any) -> Path:
    """A config beside its run directory `output`; returns its path."""
    tree = {
        "models": [{"name": "sdxl", "id": "miniature/sdxl"}],
        "prompts": prompts,
        "seeds": seeds,
        "sampler": {"steps": 20, "guidance": 7.5, "width": 64, "height": 64},
        "encoder": {"id": "miniature/clip"},
        "statistics": {"resamples": 99},
        "pools": {
            "generate": {"cpus_per_actor": 1, "batch_size": batch},
            "embed": {"cpus_per_actor": 0.5},
        },
        "output": str(output),
        **changes,
    }
    file = output.with_name(f"{output.name}.yaml")
    file.write_text(yaml.safe_dump(tree))
    return file


def python(*arguments: Any, **settings: str) -> str:
    """What a Python process prints, on one thread."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=ENVIRONMENT | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    ).stdout


def job(config: Path) -> None:
    """Run it to its end."""
    python("jobs/consistency.py", config)
