"""Rewards on disk: the published layouts, and our own.

Published: ImageReward.pt with med_config.json (hub id THUDM/ImageReward), and FS_model.pt, the
same network (AIGCer-OPPO/FaceScore; in its later home OPPOer/FaceScore, in a folder), both
pickled state dictionaries, without the tokenizer. Our own: model.safetensors with upstream's
names, config.json (`RewardFacts`) and the tokenizer.
"""

import json
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from raypipe.config.networks import RewardFacts
from raypipe.errors import UserError
from raypipe.models.reward.input import Texts, read_tokenizer
from raypipe.models.reward.layout import FACTS, OWN, RewardFiles, check_sizes
from raypipe.models.reward.network import (
    RewardNetwork,
    load_upstream_state_dict,
    upstream_state_dict,
)


def read_reward(files: RewardFiles) -> tuple[RewardNetwork, Texts, RewardFacts]:
    """The network, float32 on the CPU, its tokenizer, and its facts.

    UserError for weights that cannot be read, have a missing or foreign key, or do not match their
    config.
    """
    weights, facts = files.weights, files.facts
    try:
        network = load_upstream_state_dict(_tensors(weights), facts.heads).float()
    except (OSError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:600]
        raise UserError(f"reward cannot be loaded: {weights}: {reason}") from error
    sizes = network.sizes
    if files.weights.name != OWN:  # only the tensors show the size then
        facts = facts.model_copy(update={"image_size": sizes.image})
    check_sizes(files, facts, sizes)
    tokenizer = read_tokenizer(files.tokenizer, sizes.vocabulary, adds=weights.name != OWN)
    return network, Texts(tokenizer, facts.max_length), facts


def save_reward(
    folder: Path,
    network: RewardNetwork,
    tokenizer: transformers.BertTokenizer,
    facts: RewardFacts,
) -> None:
    """Write a reward in our own layout; `facts` must be the network's.

    vocab.txt holds the words without added tokens, for the package image-reward.
    """
    sizes = network.sizes
    assert facts.heads == (sizes.vision_heads, sizes.text_heads)
    assert facts.image_size == sizes.image
    assert len(tokenizer) == sizes.vocabulary
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: t.contiguous() for name, t in upstream_state_dict(network).items()}
    save_file(tensors, folder / OWN, metadata={"format": "pt"})
    without_padding(tokenizer).save_pretrained(folder)
    words = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)
    ordered = sorted(words, key=words.__getitem__)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in ordered), "utf-8")
    (folder / FACTS).write_text(json.dumps(facts.model_dump(mode="json"), indent=1))


def _tensors(file: Path) -> dict[str, torch.Tensor]:
    """The file's tensors. OSError, ValueError or SafetensorError for any other file."""
    if file.suffix == ".safetensors":
        return dict(load_file(file))
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged zip or pickle raises nearly anything
        raise ValueError(f"no file of tensors: {error}") from error
    if not isinstance(state, dict) or not all(map(torch.is_tensor, state.values())):
        raise ValueError(f"it must hold tensors by name, got {type(state).__name__}")
    return state


def without_padding(tokenizer):
    """The tokenizer without the padding of its last call, which it would else be saved with."""
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    return tokenizer
