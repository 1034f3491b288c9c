"""Train the miniature world's models on two cores. `part=vae,clip` runs some of the parts:
vae, clip, sdxl, pixart, lora, sd15, reward, quality; each resumes from its own checkpoint."""

import os
import sys

from raypipe.console import message
from raypipe.engine.session import Session
from raypipe.job import Command
from raypipe.miniature.settings import TrainMiniature

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "1073741824",
    "MALLOC_MMAP_MAX_": "0",
}
"""One thread per process, and a malloc that keeps its memory: page faults cost a third."""


def train_miniature(config: TrainMiniature, session: Session, dry_run: bool) -> str:
    """The recipe; returns the directory of the weights."""
    if dry_run:
        message(f"would run {', '.join(config.part)} in {config.work}, writing {config.output}")
        return config.output
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        os.execve(
            sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **ENVIRONMENT}
        )
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    from raypipe.miniature import parts

    return parts.run(config)


JOB = Command(__doc__, TrainMiniature, train_miniature)
