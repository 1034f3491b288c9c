"""Training the face LoRA: pictures and captions encoded once against in every step; two workers.

The plain side is what a script of its own would do: the same network, batch, loss and optimiser,
but each step takes its pictures through the VAE and its captions through the text encoder first.
Both sides train the miniature Stable Diffusion for some steps, in turn, on one thread. Two workers
are two processes of one thread each, against one, at the same global batch.
"""

import json
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raypipe.files import Folder
from raypipe.lora_settings import FaceLora
from raypipe.models.latents import LatentEncoder
from raypipe.models.loading import load_pipeline
from raypipe.models.node import model_on_node
from raypipe.train.face_lora import CRITERION, Batch, FaceLoraTask
from raypipe.train.loop import STEPS, Trainer
from tests import lora_runs, pair_runs
from tests.benchmarks.ratios import one_thread, row

N_STEPS, REPETITIONS = 12, 3
CAPTION = "a portrait of a smiling woman with dark skin and curly blonde hair in a purple shirt"


class PlainTask(FaceLoraTask):
    """The same training, with everything encoded anew in every step."""

    def __init__(self, config: FaceLora, uri: str, device: str):
        super().__init__(config, uri, device)
        sampler = config.sampler_of_model
        self._vae = LatentEncoder(model_on_node(config.model), sampler, device)
        pipe = load_pipeline(model_on_node(config.model), sampler, "text")
        self._tokenizer, self._encoder = pipe.tokenizer, pipe.text_encoder.eval()
        self._pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)

    def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        assert batch.general is not None
        count = len(batch.pairs.t_B)
        self._vae([self._pixels] * (3 * count))  # good, bad, and general pictures
        length = self._tokenizer.model_max_length
        ids_NT = self._tokenizer(
            [CAPTION] * (2 * count), padding="max_length", max_length=length, return_tensors="pt"
        ).input_ids
        with torch.inference_mode():
            self._encoder(ids_NT)
        return super().losses(batch)


def run() -> list[dict[str, Any]]:
    with one_thread(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = pair_runs.write(folder / "pairs", 48)
        general = lora_runs.write_general(folder / "general", 40)
        return [_encoded_once(folder, pairs, general), _two_workers(folder, pairs, general)]


def _config(pairs: Path, general: Path, output: Path, encoded: Path | None) -> FaceLora:
    return lora_runs.config(
        pairs,
        output,
        general=str(general),
        encoded=None if encoded is None else str(encoded),
        adapter={"rank": 16, "targets": ["to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2"]},
        loss={"keep": 1.0},
        held_out=1,
        training={"steps": N_STEPS, "batch": 16, "micro_batch": 8}
        | {"validate_every": 1000, "checkpoint_every": 1000},
    )


def _encoded_once(folder: Path, pairs: Path, general: Path) -> dict[str, Any]:
    source = folder / "source"
    lora_runs.prepare(_config(pairs, general, source, None))
    ratios = []
    for turn in range(REPETITIONS):
        seconds = []
        for kind in (FaceLoraTask, PlainTask):
            config = _config(pairs, general, folder / f"{kind.__name__}{turn}", source)
            task = kind(config, config.output, "cpu")
            Trainer(task, config.training, Folder(config.output), best=CRITERION).run()
            seconds.append(_step_seconds(config))
        ratios.append(seconds[1] / seconds[0])
    name = "face LoRA, steps/s with pictures and texts encoded once over encoded in every step"
    return row(name, ratios, ">= 1.5")


def _two_workers(folder: Path, pairs: Path, general: Path) -> dict[str, Any]:
    ratios = []
    for turn in range(REPETITIONS):
        seconds = []
        for world in (1, 2):
            config = _config(pairs, general, folder / f"workers{world}-{turn}", folder / "source")
            _train_in(config, world)
            seconds.append(_step_seconds(config))
        ratios.append(seconds[0] / seconds[1])
    return row("face LoRA, steps/s of two workers of one thread over one", ratios, ">= 1.6")


def _train_in(config: FaceLora, world: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = [sys.executable, "tests/train_lora.py", config.model_dump_json()]
    places = [[str(rank), str(world), str(port)] for rank in range(world)]
    processes = [subprocess.Popen([*script, *place]) for place in places]
    assert [process.wait() for process in processes] == [0] * world


def _step_seconds(config: FaceLora) -> float:
    """Median time of a step, without the first, which is slower."""
    lines = (Folder(config.output).read(STEPS) or b"").decode().splitlines()
    return statistics.median(json.loads(line)["seconds"] for line in lines[1:])
