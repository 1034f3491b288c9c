"""Train an open_clip model on captioned renders and write it as a directory open_clip loads.

Shape letters: B batch, C channels, H W picture, L tokens, E embedding.
"""

import json
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from raypipe.models.reward.files import without_padding

from .captions import STYLE, caption, full_caption
from .data import HELD_OUT, as_tensor
from .loop import train
from .scenes import render
from .settings import Plan
from .specs import sample_spec
from .tokenizers import CLIP_LENGTH, tokens

_STYLED_SHARE = 0.1
_TRAINED_LENGTH = 40
"""Captions are shorter; behind a causal mask the padding that follows changes nothing."""


def model_config(vocab_size: int, pad_id: int) -> dict:
    """open_clip's own description of a ViT with 64 patches and a two-layer text tower."""
    vision = {"image_size": 64, "layers": 4, "width": 128, "head_width": 32, "patch_size": 8}
    text = {
        "context_length": CLIP_LENGTH,
        "vocab_size": vocab_size,
        "width": 128,
        "heads": 4,
        "layers": 2,
        "hf_tokenizer_name": "in this directory",
        "pad_id": pad_id,
    }
    return {"embed_dim": 128, "vision_cfg": vision, "text_cfg": text}


def _encode_text(model: nn.Module, ids_BL: torch.Tensor) -> torch.Tensor:
    """`model.encode_text` for token rows shorter than the context length."""
    length = ids_BL.shape[1]
    x_BLE = model.token_embedding(ids_BL) + model.positional_embedding[:length]
    x_BLE = model.transformer(x_BLE, attn_mask=model.attn_mask[:length, :length])
    end_BE = model.ln_final(x_BLE)[torch.arange(len(ids_BL)), ids_BL.argmax(1)]
    return functional.normalize(end_BE @ model.text_projection, dim=-1)


def _batch(pictures, styled, plan: Plan, generator: torch.Generator):
    """Pictures and captions of one step; a tenth of them in the style "tok"."""
    count = round(_STYLED_SHARE * plan.batch)
    plain_rows = torch.randint(len(pictures), (plan.batch - count,), generator=generator).tolist()
    styled_rows = torch.randint(len(styled), (count,), generator=generator).tolist()
    x_NHWC = np.concatenate([pictures[sorted(plain_rows)], styled[sorted(styled_rows)]])
    rows = sorted(plain_rows) + sorted(styled_rows)
    seeds = torch.randint(2**40, (plan.batch,), generator=generator).tolist()
    texts = [caption(sample_spec(row), seed) for row, seed in zip(rows, seeds, strict=True)]
    texts[-count:] = [f"{text} {STYLE}" for text in texts[-count:]]
    return as_tensor(x_NHWC), texts


def train_clip(pictures, styled, tokenizer, plan: Plan, work: Path):
    """A CLIP trained on captions and pictures; returns (model, config)."""
    torch.manual_seed(plan.seed)
    config = model_config(len(tokenizer), tokenizer.pad_token_id)
    model = open_clip.model.CLIP(**config)

    def loss_of(step: int, generator: torch.Generator) -> torch.Tensor:
        x_BCHW, texts = _batch(pictures, styled, plan, generator)
        ids_BL = tokens(tokenizer, texts, _TRAINED_LENGTH).input_ids
        with torch.autocast("cpu", torch.bfloat16):
            image_BE = model.encode_image(x_BCHW, normalize=True)
            text_BE = _encode_text(model, ids_BL)
        scale = model.logit_scale.exp().clamp(max=100)
        logits_BB = scale * image_BE.float() @ text_BE.float().T
        target_B = torch.arange(len(texts))
        return (
            functional.cross_entropy(logits_BB, target_B)
            + functional.cross_entropy(logits_BB.T, target_B)
        ) / 2

    train(model, loss_of, plan, work / "clip.pt")
    return model, config


def save_clip(model: nn.Module, config: dict, tokenizer, directory: Path):
    """Write the model, its configuration and its tokenizer."""
    without_padding(tokenizer).save_pretrained(directory)
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    description = {"model_cfg": config, "preprocess_cfg": preprocess}
    (directory / "open_clip_config.json").write_text(json.dumps(description, indent=2) + "\n")
    weights = {k: v.detach().half().contiguous() for k, v in model.state_dict().items()}
    save_file(weights, directory / "open_clip_model.safetensors")


@torch.no_grad()
def retrieval(directory: Path, count: int = 100) -> float:
    """Share of held-out pictures whose own caption is the nearest of `count` distinct ones."""
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{directory}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{directory}")
    found: dict[str, np.ndarray] = {}
    seed = HELD_OUT
    while len(found) < count:
        spec = sample_spec(seed)
        found.setdefault(full_caption(spec), render(spec))
        seed += 1
    x_BCHW = torch.stack([preprocess(Image.fromarray(p)) for p in found.values()])
    image_BE = model.eval().encode_image(x_BCHW, normalize=True)
    text_BE = model.encode_text(tokenizer(list(found)), normalize=True)
    best_B = (image_BE @ text_BE.T).argmax(1)
    return (best_B == torch.arange(count)).float().mean().item()
