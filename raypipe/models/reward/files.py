"""Rewards on disk: the published layouts, and our own.

Published: ImageReward.pt with med_config.json (hub id THUDM/ImageReward), and FS_model.pt, the
same network (AIGCer-OPPO/FaceScore; in its later home OPPOer/FaceScore, in a folder), both
pickled state dictionaries, without the tokenizer. Our own: model.safetensors with upstream's
names, config.json (`RewardFacts`) and the tokenizer.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from raypipe.config.networks import Kind, RewardFacts
from raypipe.core.limits import parse_json
from raypipe.errors import UserError
from raypipe.models.reward.input import VOCABULARY_FILES, Texts, read_tokenizer
from raypipe.models.reward.network import (
    RewardNetwork,
    load_upstream_state_dict,
    upstream_state_dict,
)
from raypipe.weights.node import bert_on_node

OWN, FACTS, MED_CONFIG = "model.safetensors", "config.json", "med_config.json"

PUBLISHED: dict[str, Kind] = {"ImageReward.pt": "image_reward", "FS_model.pt": "face_score"}
"""Names of published files, and what they are."""

_MED_KEYS = {
    "hidden_size": "text_width",
    "intermediate_size": "text_mlp",
    "num_hidden_layers": "text_layers",
    "vocab_size": "vocabulary",
    "max_position_embeddings": "positions",
}


@dataclass(frozen=True)
class RewardFiles:
    """Where a reward's files are on this node, and what the tensors do not show."""

    weights: Path
    facts: RewardFacts
    med_config: dict[str, Any] | None
    """The content of med_config.json, where there is one."""

    @property
    def tokenizer(self) -> Path:
        """The tokenizer's directory: the reward's own, else bert-base-uncased, fetched."""
        folder = self.weights.parent
        if self.weights.name == OWN or any((folder / f).is_file() for f in VOCABULARY_FILES):
            return folder
        return Path(bert_on_node())


def find_reward(folder: Path) -> RewardFiles:
    """The files of a reward's directory. UserError where it is in none of the layouts."""
    if (folder / OWN).is_file():
        return RewardFiles(folder / OWN, _facts(folder / FACTS), None)
    found = [path for name in PUBLISHED for path in sorted(folder.rglob(name))]
    if len(found) != 1:
        raise UserError(
            f"a reward's directory must hold {OWN} or one of {', '.join(PUBLISHED)}, got "
            f"{len(found) or 'none'}: {folder}"
        )
    weights, med_config = found[0], None
    heads = RewardFacts.model_fields["heads"].default
    if (weights.parent / MED_CONFIG).is_file():
        med_config = _json(weights.parent / MED_CONFIG)
        heads = (heads[0], med_config.get("num_attention_heads", heads[1]))
    facts = _validated({"kind": PUBLISHED[weights.name], "heads": heads}, weights.parent)
    return RewardFiles(weights, facts, med_config)


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
    checks = {"image_size": (facts.image_size, sizes.image)}
    for key, name in _MED_KEYS.items():
        if files.med_config and key in files.med_config:
            checks[key] = (files.med_config[key], getattr(sizes, name))
    for key, (expected, got) in checks.items():
        if expected != got:
            raise UserError(
                f"a reward's weights must fit its config: {key} is {expected}, the weights have "
                f"{got}: {weights}"
            )
    if facts.max_length > sizes.positions:
        raise UserError(
            f"max_length must not exceed the {sizes.positions} positions of the weights, got "
            f"{facts.max_length}: {weights.parent}"
        )
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


def _facts(file: Path) -> RewardFacts:
    if not file.is_file():
        raise UserError(f"a reward's directory must hold {FACTS} beside {OWN}: {file.parent}")
    return _validated(_json(file), file)


def _validated(tree: dict[str, Any], where: Path) -> RewardFacts:
    try:
        return RewardFacts.model_validate(tree)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(f"{where}: {key}: {first['msg']}, got {first['input']!r}") from None


def _json(file: Path) -> dict[str, Any]:
    try:
        tree = parse_json(file.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read: {error}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{file} must hold a mapping, got {type(tree).__name__}")
    return tree


def without_padding(tokenizer):
    """The tokenizer without the padding of its last call, which it would else be saved with."""
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    return tokenizer
