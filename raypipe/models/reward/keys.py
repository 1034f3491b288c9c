"""Names and sizes of ImageReward's weights, as ImageReward.pt and FS_model.pt hold them.

Upstream's names (github.com/THUDM/ImageReward: a BLIP vision transformer, a BERT with cross
attention, and a linear head) against those of transformers' BLIP classes, which `raypipe` uses.
"""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

VISION, TEXT = "blip.visual_encoder.", "blip.text_encoder."

UNUSED = frozenset(
    {f"blip.{side}_proj.{kind}" for side in ("vision", "text") for kind in ("weight", "bias")}
    | {f"{TEXT}embeddings.position_ids"}
)
"""Keys of the published file on which no reward depends; they may be missing."""

HEAD_LAYERS = (0, 2, 4, 6, 7)
"""Places of the head's linear layers; dropout has the others."""

_VISION_BLOCK = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
_ATTENTION = ("self.query", "self.key", "self.value", "output.dense", "output.LayerNorm")
_TEXT_LAYER = (
    *(f"{kind}.{part}" for kind in ("attention", "crossattention") for part in _ATTENTION),
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)
_VISION_NAMES = (
    ("cls_token", "embeddings.class_embedding"),
    ("pos_embed", "embeddings.position_embedding"),
    ("patch_embed.proj.", "embeddings.patch_embedding."),
    ("blocks.", "encoder.layers."),
    ("attn.qkv.", "self_attn.qkv."),
    ("attn.proj.", "self_attn.projection."),
    ("norm1.", "layer_norm1."),
    ("norm2.", "layer_norm2."),
)


class Shaped(Protocol):
    """A tensor, or what a file's header tells of one."""

    @property
    def shape(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class Geometry:
    """Sizes of a reward network; the defaults are those of the published ones."""

    image: int = 224
    """Side of the square picture, pixels."""
    patch: int = 16
    vision_width: int = 1024
    vision_mlp: int = 4096
    vision_layers: int = 24
    vision_heads: int = 16
    text_width: int = 768
    text_mlp: int = 3072
    text_layers: int = 12
    text_heads: int = 12
    vocabulary: int = 30524
    positions: int = 512
    """Number of the text encoder's position embeddings."""


def upstream_names(vision_layers: int, text_layers: int) -> list[str]:
    """The names of all weights that the reward depends on."""
    vision = ["patch_embed.proj", "norm"]
    vision += [f"blocks.{i}.{part}" for i in range(vision_layers) for part in _VISION_BLOCK]
    text = ["embeddings.LayerNorm"]
    text += [f"encoder.layer.{i}.{part}" for i in range(text_layers) for part in _TEXT_LAYER]
    modules = [VISION + name for name in vision] + [TEXT + name for name in text]
    modules += [f"mlp.layers.{i}" for i in HEAD_LAYERS]
    names = [f"{module}.{kind}" for module in modules for kind in ("weight", "bias")]
    names += [f"{TEXT}embeddings.{kind}_embeddings.weight" for kind in ("word", "position")]
    return [*names, f"{VISION}cls_token", f"{VISION}pos_embed"]


def port_name(name: str) -> str:
    """The name in `raypipe.models.reward.network.RewardNetwork` of an upstream weight.

    >>> port_name("blip.visual_encoder.blocks.3.attn.proj.bias")
    'vision.encoder.layers.3.self_attn.projection.bias'
    """
    if name.startswith(TEXT):
        return "text." + name.removeprefix(TEXT)
    if not name.startswith(VISION):
        return name
    name = name.removeprefix(VISION)
    if name.startswith("norm."):
        return "vision.post_layernorm." + name.removeprefix("norm.")
    for upstream, ours in _VISION_NAMES:
        name = name.replace(upstream, ours, 1)
    return "vision." + name


def geometry(state: Mapping[str, Shaped], heads: tuple[int, int]) -> Geometry:
    """Read the sizes off the tensors; the `heads` of vision and text must be given.

    Raises ValueError, with the names, for missing and foreign keys, and for sizes that fit no
    network.
    """
    layers = _depth(state, f"{VISION}blocks."), _depth(state, f"{TEXT}encoder.layer.")
    _check_names(state, upstream_names(*layers))
    # A tensor of too few dimensions is reported by name, like one of a wrong size.
    patches = _shape(state, f"{VISION}pos_embed", 3)[1] - 1
    width, _, patch, _ = _shape(state, f"{VISION}patch_embed.proj.weight", 4)
    side = math.isqrt(max(patches, 0))
    if side < 1 or side * side != patches:
        raise ValueError(f"pos_embed must be of a square of patches, got {patches} patches")
    vocabulary, text_width = _shape(state, f"{TEXT}embeddings.word_embeddings.weight", 2)
    for what, size, count in zip(("vision", "text"), (width, text_width), heads, strict=True):
        if count < 1 or size % count:
            raise ValueError(f"{what} heads must divide the width {size}, got {count}")
    return Geometry(
        image=side * patch,
        patch=patch,
        vision_width=width,
        vision_mlp=_shape(state, f"{VISION}blocks.0.mlp.fc1.weight", 2)[0],
        vision_layers=layers[0],
        vision_heads=heads[0],
        text_width=text_width,
        text_mlp=_shape(state, f"{TEXT}encoder.layer.0.intermediate.dense.weight", 2)[0],
        text_layers=layers[1],
        text_heads=heads[1],
        vocabulary=vocabulary,
        positions=_shape(state, f"{TEXT}embeddings.position_embeddings.weight", 2)[0],
    )


def _depth(state: Collection[str], prefix: str) -> int:
    """One more than the highest layer number; at least one layer."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
    numbers = [int(found[1]) for name in state if (found := pattern.match(name))]
    return max(numbers, default=0) + 1


def _check_names(state: Collection[str], needed: list[str]) -> None:
    missing = sorted(set(needed) - set(state))
    foreign = sorted(set(state) - set(needed) - UNUSED)
    if missing or foreign:
        found = [f"missing {', '.join(missing)}"] if missing else []
        found += [f"foreign {', '.join(foreign)}"] if foreign else []
        raise ValueError(f"the weights of a reward must be ImageReward's: {'; '.join(found)}")


def _shape(state: Mapping[str, Shaped], name: str, dimensions: int) -> tuple[int, ...]:
    shape = tuple(state[name].shape)
    if len(shape) != dimensions:
        raise ValueError(f"{name} must have {dimensions} dimensions, got shape {shape}")
    return shape
