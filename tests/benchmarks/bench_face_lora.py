"""Training the face LoRA: pictures and captions encoded once against in every step; two workers.

The plain side is what a script of its own would do: the same network, batch, loss and optimiser,
but each step decodes its pictures, and takes them through the VAE and its captions through the text
encoder. Both sides train for some steps, in turn, on one thread: the miniature Stable Diffusion
with the guidance loss and with the plain one, and Stable Diffusion 1.5 at its full size (random
weights) with the plain one, which is what a LoRA script trains. Two workers are two processes of
one thread each, against one, at the same global batch.
"""

import io
import json
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from raypipe.miniature.photos import photo_specs
from raypipe.miniature.scenes import render
from raypipe.models.diffusion.latents import LatentEncoder
from raypipe.models.diffusion.loading import load_pipeline
from raypipe.storage.files import Folder
from raypipe.studies.face_lora.settings import FaceLora
from raypipe.studies.face_lora.task import CRITERION, Batch, FaceLoraTask
from raypipe.training.loop import STEPS, Trainer
from raypipe.weights.node import model_on_node
from tests.benchmarks.ratios import one_thread, row
from tests.support import full_size, lora_runs, pair_runs, processes
from tests.support.pictures import encoded

N_STEPS, REPETITIONS = 12, 3
FULL_STEPS, FULL_SCALE, FULL_BATCH = 4, 4, 2
"""At full size: pictures of 256×256."""
CAPTION = "a portrait of a smiling woman with dark skin and curly blonde hair in a purple shirt"
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2"]
SFT = {"kind": "sft"}
GUIDANCE = {"kind": "guidance", "keep": 1.0}


class PlainTask(FaceLoraTask):
    """The same training, with everything decoded and encoded anew in every step."""

    def __init__(self, config: FaceLora, uri: str, device: str):
        super().__init__(config, uri, device)
        sampler = config.sampler_of_model
        self._vae = LatentEncoder(model_on_node(config.model), sampler, device)
        pipe = load_pipeline(model_on_node(config.model), sampler, "text")
        self._tokenizer, self._encoder = pipe.tokenizer, pipe.text_encoder.eval()
        (spec,) = photo_specs(1, faceless=0.0)
        self._png = encoded(pair_runs.enlarged(render(spec), config.size // 64))

    def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        rows = len(batch.pairs.t_B)
        n_pictures, n_texts = rows * (1 if self._loss.kind == "sft" else 2), rows
        if batch.general is not None:
            n_pictures, n_texts = n_pictures + rows, n_texts + rows
        self._vae([np.asarray(Image.open(io.BytesIO(self._png))) for _ in range(n_pictures)])
        length = self._tokenizer.model_max_length
        ids_NT = self._tokenizer(
            [CAPTION] * n_texts, padding="max_length", max_length=length, return_tensors="pt"
        ).input_ids
        with torch.inference_mode():
            self._encoder(ids_NT)
        return super().losses(batch)


def run() -> list[dict[str, Any]]:
    with one_thread(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = {
            "pairs": pair_runs.write(folder / "pairs", 48),
            "general": str(lora_runs.write_general(folder / "general", 40)),
        }
        source = folder / "source"
        lora_runs.prepare(_config(source, loss=GUIDANCE, **inputs))
        inputs["encoded"] = str(source)
        return [
            _encoded_once("miniature, guidance and keep", folder, loss=GUIDANCE, **inputs),
            _encoded_once("miniature, sft", folder, loss=SFT, **inputs),
            *_two_workers(folder, loss=GUIDANCE, **inputs),
            _full_size(folder),
        ]


def _config(output: Path, pairs: Path, **changes: Any) -> FaceLora:
    changes.setdefault("adapter", {"rank": 16, "targets": TARGETS})
    training = {"steps": N_STEPS, "batch": 16, "micro_batch": 8} | changes.pop("training", {})
    training |= {"validate_every": 1000, "checkpoint_every": 1000}
    return lora_runs.config(pairs, output, held_out=1, training=training, **changes)


def _encoded_once(name: str, folder: Path, **settings: Any) -> dict[str, Any]:
    ratios = []
    for turn in range(REPETITIONS):
        seconds = []
        for kind in (FaceLoraTask, PlainTask):
            config = _config(folder / name / f"{kind.__name__}{turn}", **settings)
            task = kind(config, config.output, "cpu")
            Trainer(task, config.training, Folder(config.output), best=CRITERION).run()
            seconds.append(_step_seconds(config))
        ratios.append(seconds[1] / seconds[0])
    told = f"face LoRA, steps/s with pictures and texts encoded once over in every step: {name}"
    return row(told, ratios, ">= 1.5")


def _full_size(folder: Path) -> dict[str, Any]:
    settings = {
        "model": {"name": "sd15", "id": str(full_size.sd15(folder / "sd15"))},
        "pairs": pair_runs.write(folder / "large", 12, scale=FULL_SCALE),
        "sampler": {"steps": 4, "width": 64 * FULL_SCALE, "height": 64 * FULL_SCALE},
        "adapter": {"rank": 16},
        "loss": SFT,
        "training": {"steps": FULL_STEPS, "batch": FULL_BATCH, "micro_batch": FULL_BATCH},
    }
    source = folder / "large_source"
    lora_runs.prepare(_config(source, **settings))
    name = f"Stable Diffusion 1.5 at {64 * FULL_SCALE}², sft"
    return _encoded_once(name, folder, encoded=str(source), **settings)


def _two_workers(folder: Path, **settings: Any) -> list[dict[str, Any]]:
    """How much faster they are, and the shares of a step's parts."""
    ratios: list[float] = []
    shares: dict[str, list[float]] = {}
    for turn in range(REPETITIONS):
        seconds = []
        for world in (1, 2):
            config = _config(folder / f"workers{world}-{turn}", **settings)
            parts = _train_in(config, world)
            seconds.append(_step_seconds(config))
        ratios.append(seconds[0] / seconds[1])
        for part, spent in parts.items():
            shares.setdefault(part, []).append(spent / sum(parts.values()))
    name = "face LoRA, steps/s of two workers of one thread over one"
    told = [row(f"of a step of two workers: {part}", of, "none") for part, of in shares.items()]
    return [row(name, ratios, ">= 1.6"), *told]


def _train_in(config: FaceLora, world: int) -> dict[str, float]:
    """Seconds of the first worker by part."""
    script = "tests/support/train_lora.py"
    workers = processes.start(script, config.model_dump_json(), world=world, stdout=subprocess.PIPE)
    told = [worker.communicate()[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * world
    parts: dict[str, float] = json.loads(told[0].splitlines()[-1])
    return parts


def _step_seconds(config: FaceLora) -> float:
    """Median time of a step, without the first, which is slower."""
    lines = (Folder(config.output).read(STEPS) or b"").decode().splitlines()
    return statistics.median(json.loads(line)["seconds"] for line in lines[1:])
