"""The reward backend `upstream`: the package image-reward, in a process with its own Python.

image-reward 1.5 needs a timm and a transformers of 2024 and cannot be imported beside ours.
`raypipe.models.reward.upstream_worker` is what that process runs.
"""

import io
import json
import os
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from raypipe.config.networks import Reward
from raypipe.errors import UserError
from raypipe.models.reward.input import standardized, texts_for
from raypipe.models.reward.layout import DEFAULT as DEFAULT
from raypipe.models.reward.layout import VARIABLE as VARIABLE
from raypipe.models.reward.layout import RewardFiles, interpreter

WORKER = Path(__file__).with_name("upstream_worker.py")

MED_CONFIG = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "add_cross_attention": True,
    "hidden_act": "gelu",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "vocab_size": 30524,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "pad_token_id": 0,
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
}
"""The text encoder's sizes, for weights that come without med_config.json."""

PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")


class UpstreamReward:
    """Upstream's model in a process of its own, one picture at a time; full size only."""

    def __init__(self, config: Reward, files: RewardFiles, device: str):
        python = interpreter(config)
        self.facts = files.facts
        self._standardize = config.standardize
        self._folder = tempfile.TemporaryDirectory(prefix="raypipe-upstream-")
        folder = Path(self._folder.name)
        self._stderr = folder / "stderr"
        self._process = _start(python, files, device, folder)
        weakref.finalize(self, _stop, self._process, self._folder)
        ready = self._answer()
        if "error" in ready:
            reason = " ".join(ready["error"].split())[:600]
            raise UserError(f"reward cannot be loaded: {files.weights}: {reason}")

    def score(
        self, images: Sequence[Image.Image], texts: Sequence[str] | None = None
    ) -> np.ndarray:
        """See `raypipe.models.reward.scores.Scorer`."""
        pictures = [_encode(image) for image in images]
        request = {
            "texts": texts_for(self.facts, texts, len(images)),
            "sizes": [len(picture) for picture in pictures],
        }
        stdin = _pipe(self._process.stdin)
        with suppress(BrokenPipeError):  # it ended, which `_answer` reports
            stdin.write(b"".join([json.dumps(request).encode(), b"\n", *pictures]))
            stdin.flush()
        answer = self._answer()
        if "error" in answer:
            raise RuntimeError(f"image-reward failed: {answer['error']}")
        return standardized(np.array(answer["scores"], np.float64), self.facts, self._standardize)

    def _answer(self) -> dict[str, Any]:
        line = _pipe(self._process.stdout).readline()
        if not line:
            status = self._process.wait()
            last = self._stderr.read_text(errors="replace").strip().splitlines()[-1:]
            raise RuntimeError(f"image-reward's process ended with status {status}: {last}")
        return dict(json.loads(line))


def _start(python: Path, files: RewardFiles, device: str, folder: Path) -> subprocess.Popen[bytes]:
    """The worker, from a folder where upstream finds bert-base-uncased without asking a hub."""
    if not (files.tokenizer / "vocab.txt").is_file():
        raise UserError(f"backend upstream needs the tokenizer's vocab.txt: {files.tokenizer}")
    (folder / "bert-base-uncased").symlink_to(files.tokenizer.absolute())
    med_config = folder / "med_config.json"
    med_config.write_text(json.dumps(files.med_config or MED_CONFIG))
    weights = str(files.weights.absolute())
    arguments = {"weights": weights, "med_config": str(med_config), "device": device}
    with (folder / "stderr").open("wb") as stderr:
        return subprocess.Popen(
            [python, "-I", WORKER, json.dumps(arguments)],
            cwd=folder,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )


def _stop(process: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory) -> None:
    for pipe in (process.stdin, process.stdout):
        with suppress(BrokenPipeError):
            _pipe(pipe).close()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    folder.cleanup()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    whole = image if image.mode in PNG_MODES else image.convert("RGB")
    whole.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
