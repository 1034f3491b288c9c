"""Face Score as a task of the training loop: the good face must score above the bad one.

Shape letters: B pairs, C H W the network's picture.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from raypipe.config.networks import FACE_TEXT, RewardFacts
from raypipe.core.pictures import open_picture
from raypipe.core.ranking_loss import ranking_loss
from raypipe.models.reward.files import read_reward, save_reward
from raypipe.models.reward.input import preprocess
from raypipe.models.reward.layout import find_reward
from raypipe.storage.files import Folder
from raypipe.studies.face_score.data import FOLDER, read_split
from raypipe.studies.face_score.settings import FaceScore
from raypipe.training import state
from raypipe.training.group import Group
from raypipe.training.loop import Outcome
from raypipe.weights.fetch import fetch
from raypipe.weights.node import reward_on_node

MODEL = "model"
"""Folder of the trained network, in the layout of raypipe.models.reward.files."""

TESTED = "test.parquet"


class FaceScoreTask:
    """The network to train, and the pairs, on one worker."""

    def __init__(self, config: FaceScore, uri: str, device: str):
        self.device = device
        files = find_reward(Path(reward_on_node(config.start).id))
        self.module, self._texts, self._facts = read_reward(files)
        self.module.freeze_first_layers(config.frozen)
        self.module.checkpoint_gradients(config.training.gradient_checkpointing)
        self.module.to(device).train()
        data = fetch(f"{uri}/{FOLDER}", what="training data")
        self._train, self._held = read_split(data, "train"), read_split(data, "validation")
        self._test = read_split(data, "test")
        self._flip = config.flip
        self._at_once = config.training.micro_batch
        self.n_rows = len(self._train)

    def load(self, rows: np.ndarray, seed: int) -> torch.Tensor:
        """Crops as the network sees them, good and bad (2, B, C, H, W)."""
        flips = np.random.default_rng(seed).random(len(rows)) < (0.5 if self._flip else 0)
        return self._pixels(self._train, rows.tolist(), flips.tolist())

    def _pixels(
        self, table: pa.Table, rows: Sequence[int], flips: Sequence[bool] | None = None
    ) -> torch.Tensor:
        sides = []
        for name in ("good", "bad"):
            column = table[name]
            pictures = [open_picture(column[row].as_py()) for row in rows]
            if flips is not None:
                pictures = [
                    picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else picture
                    for picture, flip in zip(pictures, flips, strict=True)
                ]
            sides.append(torch.stack([preprocess(p, self._facts.image_size) for p in pictures]))
        return torch.stack(sides)

    def _scores(self, pixels_2BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Raw scores of the good and the bad faces, (B,) each."""
        pixels_NCHW = pixels_2BCHW.flatten(0, 1).to(self.device)
        ids_1T, mask_1T = self._texts([FACE_TEXT])
        count = len(pixels_NCHW)
        ids_NT, mask_NT = (t.to(self.device).expand(count, -1) for t in (ids_1T, mask_1T))
        good_B, bad_B = self.module(pixels_NCHW, ids_NT, mask_NT).float().chunk(2)
        return good_B, bad_B

    def losses(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        """−log σ(good − bad) of each pair, and whether the order is right."""
        good_B, bad_B = self._scores(batch)
        return {"loss": ranking_loss(good_B, bad_B), "accuracy": good_B > bad_B}

    def validate(self, rank: int, world: int) -> dict[str, tuple[float, float]]:
        """Pair accuracy of the validation split, in all and by kind and tag."""
        sums: dict[str, list[float]] = {}
        for row, good, bad in self._score_all(self._held, rank, world):
            right = 1.0 if good > bad else 0.5 if good == bad else 0.0
            pair = self._held.slice(row, 1).select(["kind", "tags"]).to_pylist()[0]
            for name in ("all", pair["kind"], *pair["tags"]):
                total = sums.setdefault(f"accuracy {name}" if name != "all" else "accuracy", [0, 0])
                total[0] += right
                total[1] += 1
        return {name: (right, count) for name, (right, count) in sums.items()}

    def _score_all(self, table: pa.Table, rank: int, world: int) -> list[tuple[int, float, float]]:
        """(row, good, bad) of this worker's rows of a table."""
        rows = list(range(rank, len(table), world))
        scored = []
        for first in range(0, len(rows), self._at_once):
            some = rows[first : first + self._at_once]
            good_B, bad_B = self._scores(self._pixels(table, some))
            scored += zip(some, good_B.tolist(), bad_B.tolist(), strict=True)
        return scored

    def finish(self, outcome: Outcome, group: Group, folder: Folder) -> None:
        """Write the best network and its scores of the test split."""
        state.put_back(folder, outcome.result, self.module)
        self.module.eval()
        with torch.inference_mode():
            shares = group.gather(self._score_all(self._test, group.rank, group.world))
        if group.rank:
            return
        scores = sorted(line for share in shares for line in share)
        table = self._test.select(["pair_id", "photo_id", "kind", "tags"])
        for column, index in (("good_score", 1), ("bad_score", 2)):
            values = pa.array([line[index] for line in scores], pa.float64())
            table = table.append_column(column, values)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self._save_model(folder)
        folder.write(TESTED, sink.getvalue())

    def _save_model(self, folder: Folder) -> None:
        facts = RewardFacts.model_validate(self._facts.model_dump() | {"kind": "face_score"})
        with tempfile.TemporaryDirectory() as local:
            save_reward(Path(local), self.module.cpu(), self._texts.tokenizer, facts)
            for file in sorted(Path(local).iterdir()):
                folder.write(f"{MODEL}/{file.name}", file.read_bytes())


def make(config: str, uri: str, device: str) -> FaceScoreTask:
    """The task, from a config as JSON: what is sent to workers."""
    return FaceScoreTask(FaceScore.model_validate(json.loads(config)), uri, device)
