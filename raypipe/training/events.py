"""A training's logs as TensorBoard reads them: `tensorboard --logdir RUN/log/tensorboard`.

The steps between two checkpoints have a file of their own, named after its first step: an object
store cannot append, and a training resumed from a checkpoint writes the same names again.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from raypipe.storage.files import Folder

FOLDER = "log/tensorboard"
PREFIX = "events.out.tfevents."
"""What TensorBoard looks for; it reads a folder's files in the order of their names."""


def write(
    folder: Folder, steps: Sequence[dict[str, Any]], validations: Sequence[dict[str, Any]]
) -> None:
    """Write lines of both logs, every number as a scalar: `train/NAME` and `validation/NAME`."""
    if not steps:
        return
    with tempfile.TemporaryDirectory() as local:
        writer = SummaryWriter(local)
        now = time.time()
        for line in steps:
            _add(writer, "train", line, line["step"] + 1, now)
        for line in validations:
            _add(writer, "validation", line, line["step"], now)
        writer.close()
        (file,) = Path(local).iterdir()
        folder.write(f"{FOLDER}/{PREFIX}{steps[0]['step']:010d}", file.read_bytes())


def _add(writer: SummaryWriter, group: str, line: dict[str, Any], step: int, now: float) -> None:
    for name, value in line.items():
        if name != "step":
            writer.add_scalar(f"{group}/{name.replace(' ', '_')}", value, step, walltime=now)
