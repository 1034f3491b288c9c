"""Batched scoring of pictures against upstream's one at a time, at full size, on one CPU thread.

Both sides score the same pictures and texts with the same random weights, in turn, from picture to
number; ours in float32, as theirs is, and in bfloat16. Where `make env-imagereward` has been run,
the other side is the package image-reward itself (its `ImageReward.score`); else it is the port
called as that calls its own network: a picture at a time, texts padded to 35 tokens, with a graph
for gradients.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from raypipe.config.networks import Reward, RewardFacts
from raypipe.errors import UserError
from raypipe.models.reward.files import save_reward
from raypipe.models.reward.input import ADDED_TOKENS
from raypipe.models.reward.keys import Geometry
from raypipe.models.reward.network import new_network
from raypipe.models.reward.scores import LoadedReward, load_reward
from raypipe.models.reward.upstream import interpreter
from tests.benchmarks.ratios import one_thread, row, speedups

BATCH, REPETITIONS = 8, 5
TOLERANCES = {"float32": 1e-4, "bfloat16": 0.03}
"""Largest difference of a score from upstream's, whose spread is ten times the larger one."""
GOAL = ">= 1.3"
Score = Callable[[list[Image.Image], list[str]], np.ndarray]


def run() -> list[dict[str, Any]]:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of upstream's process
    with one_thread(), tempfile.TemporaryDirectory() as folder:
        _write(Path(folder))
        return [_compare(folder, precision) for precision in TOLERANCES]


def _compare(folder: str, precision: str) -> dict[str, Any]:
    port = load_reward(Reward.model_validate({"id": folder, "precision": precision}), "cpu")
    assert isinstance(port, LoadedReward)
    try:
        interpreter(Reward(backend="upstream"))
        theirs: Score = load_reward(Reward(id=folder, backend="upstream"), "cpu").score
        other = "image-reward 1.5's one by one"
    except UserError:
        alone = load_reward(folder, "cpu")
        assert isinstance(alone, LoadedReward)
        theirs, other = _one_by_one(alone), "the port's one by one as upstream does it"
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (BATCH, 224, 224, 3), dtype=np.uint8)
    images = [Image.fromarray(picture) for picture in pixels]
    texts = [" ".join(f"word{w}" for w in rng.integers(0, 30000, 12)) for _ in images]
    expected, got = theirs(images, texts), port.score(images, texts)
    off, most = np.abs(got - expected).max(), TOLERANCES[precision]
    assert off < most < np.ptp(expected) / 10, f"they must agree, but differ by {off}"
    ratios = speedups(lambda: port.score(images, texts), lambda: theirs(images, texts), REPETITIONS)
    name = f"reward at full size on a CPU, {precision} in batches of {BATCH} over {other}"
    return row(name, ratios, GOAL)


def _one_by_one(port: LoadedReward) -> Score:
    def score(images: list[Image.Image], texts: list[str]) -> np.ndarray:
        told = []
        for image, text in zip(images, texts, strict=True):
            read = port.texts.tokenizer(
                text, padding="max_length", truncation=True, max_length=35, return_tensors="pt"
            )
            pixels = port.preprocess(image)[None]
            raw = port.network.requires_grad_()(pixels, read["input_ids"], read["attention_mask"])
            told.append((raw.item() - port.facts.mean) / port.facts.std)
        return np.array(told)

    return score


def _write(folder: Path) -> None:
    """A reward of the published size with random weights and a vocabulary of made-up words."""
    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += [f"word{i}" for i in range(30522 - len(words))]
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    tokenizer = transformers.BertTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(list(ADDED_TOKENS), special_tokens=True)
    network = new_network(Geometry())
    for layer in network.mlp.layers:  # as they begin, rewards hardly differ from one another
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    save_reward(folder, network, tokenizer, RewardFacts(kind="image_reward"))
