"""Small rewards in the published layouts, and a tokenizer as large as bert-base-uncased's."""

import json
from pathlib import Path

import torch
import transformers

from raypipe.models.reward.input import ADDED_TOKENS
from raypipe.models.reward.keys import Geometry
from tests.support import reward_recipe as recipe

KNOWN = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
KNOWN |= {1037: "a", 2227: "face", 1012: ".", 2417: "red", 3608: "ball", 1055: "s", 4: "##s"}
BERT_SIZE = 30522

TINY = {**recipe.TINY, "vdim": 64, "tdim": 48, "tmlp": 72}
"""Widths that the published 16 and 12 heads divide."""

SMALL = Geometry(
    image=32,
    patch=8,
    vision_width=48,
    vision_mlp=96,
    vision_layers=3,
    vision_heads=4,
    text_width=36,
    text_mlp=72,
    text_layers=3,
    text_heads=3,
    vocabulary=BERT_SIZE + 2,
    positions=64,
)


def vocabulary(folder: Path) -> Path:
    """A vocab.txt of 30,522 words, of which those of small texts have BERT's own numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [KNOWN.get(i, f"[unused{i}]") for i in range(BERT_SIZE)]
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    return folder


def tokenizer(folder: Path) -> transformers.BertTokenizer:
    """The tokenizer of such a folder, with BLIP's two tokens."""
    made = transformers.BertTokenizer.from_pretrained(vocabulary(folder))
    made.add_tokens(list(ADDED_TOKENS), special_tokens=True)
    return made


def published(folder: Path, file: str, sizes: dict[str, int] = TINY, seed: int = 5) -> dict:
    """A directory like the hub's, with a vocabulary; returns the weights."""
    vocabulary(folder)
    state = recipe.state_dict(seed, sizes)
    torch.save(state, folder / file)
    if file == "ImageReward.pt":
        (folder / "med_config.json").write_text(json.dumps(med_config(sizes)))
    return state


def med_config(sizes: dict[str, int]) -> dict:
    """What the published med_config.json says, for these sizes (`encoder_width` is not the used
    one there either)."""
    return {
        "architectures": ["BertModel"],
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": sizes["tdim"],
        "initializer_range": 0.02,
        "intermediate_size": sizes["tmlp"],
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": sizes["maxpos"],
        "model_type": "bert",
        "num_attention_heads": 12,
        "num_hidden_layers": sizes["tlayers"],
        "pad_token_id": 0,
        "type_vocab_size": 2,
        "vocab_size": sizes["vocab"],
        "encoder_width": 768,
        "add_cross_attention": True,
    }
