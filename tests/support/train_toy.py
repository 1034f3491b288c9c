"""A small training in a process of its own: `train_toy.py FOLDER STEPS RANK WORLD PORT`.

A network with dropout learns which of two noisy vectors was made by a fixed direction. With WORLD
above 1 the processes form a gloo group on PORT.
"""

import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from raypipe.config.training import Training
from raypipe.storage.files import Folder
from raypipe.training.loop import Trainer
from tests.support import processes

ROWS, HELD_OUT, DIM = 60, 40, 8


class Toy:
    """The task: rows are pairs of vectors, the first of which is the better one."""

    device = "cpu"
    n_rows = ROWS

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(
            nn.Linear(DIM, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1, bias=False)
        ).train()
        rng = np.random.default_rng(0)
        pairs_N2D = rng.normal(size=(ROWS + HELD_OUT, 2, DIM)).astype(np.float32)
        pairs_N2D[:, 0, 0] += 2.0
        self.pairs_N2D = torch.from_numpy(pairs_N2D)

    def load(self, rows: np.ndarray, seed: int) -> torch.Tensor:
        return self.pairs_N2D[torch.from_numpy(rows)]

    def margins(self, pairs_B2D: torch.Tensor) -> torch.Tensor:
        good_B, bad_B = self.module(pairs_B2D)[..., 0].unbind(1)
        return good_B - bad_B

    def losses(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        margin_B = self.margins(batch)
        return {"loss": -functional.logsigmoid(margin_B), "accuracy": margin_B > 0}

    def validate(self, rank: int, world: int) -> dict[str, tuple[float, float]]:
        margin_B = self.margins(self.pairs_N2D[ROWS + rank :: world])
        return {"accuracy": (float((margin_B > 0).sum()), float(len(margin_B)))}

    def finish(self, outcome, group, folder) -> None:
        if group.rank == 0:
            folder.write("finished.txt", str(outcome.step).encode())


class SlowToy(Toy):
    """The same, made by a launcher, with time for a kill in every step."""

    def __init__(self, uri: str, device: str) -> None:
        super().__init__()

    def losses(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        time.sleep(0.02)
        return super().losses(batch)


def plan(**changes) -> Training:
    settings = {
        "steps": 60,
        "batch": 12,
        "micro_batch": 3,
        "lr": 0.02,
        "warmup": 5,
        "precision": "float32",
        "seed": 1,
        "validate_every": 10,
        "checkpoint_every": 7,
    }
    return Training.model_validate(settings | changes)


if __name__ == "__main__":
    folder, steps, *place = sys.argv[1:]
    task, plan, group = Toy(), plan(steps=int(steps)), processes.join(*place)
    print(Trainer(task, plan, Folder(folder), best="accuracy", group=group).run())
