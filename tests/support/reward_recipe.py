"""Weights, pictures and tokens that are the same everywhere, for the reward's golden tests.

imagereward_tiny.json, imagereward_full.json and imagereward_preprocess.json hold what the package
image-reward 1.5 made of them (transformers 4.47.1, timm 0.6.13, torch 2.15, Pillow 13, CPU).

Every tensor is drawn by a generator of its own, seeded with `seed ^ crc32(name)`: neither order nor
choice matters. Only torch.rand is drawn (24 bits of mt19937 a number) and scaled, which gives the
same bits on every CPU; normal_ does not.
"""

import math
import zlib

import torch
from PIL import Image

SIZES = ["image", "patch", "vdim", "vlayers", "tdim", "tlayers", "tmlp", "vocab", "maxpos", "proj"]
FULL = dict(zip(SIZES, (224, 16, 1024, 24, 768, 12, 3072, 30524, 512, 256), strict=True))
TINY = dict(zip(SIZES, (32, 8, 48, 3, 36, 3, 72, 30524, 64, 8), strict=True))
GEOMETRY = {"full": FULL, "tiny": TINY}
HEADS = {"full": (16, 12), "tiny": (4, 3)}
HEAD = ((0, 1024), (2, 128), (4, 64), (6, 16), (7, 1))
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
CHANNELS = {"RGB": 3, "RGBA": 4, "L": 1, "P": 1, "LA": 2}

EMBEDDINGS = ("cls_token", "pos_embed", "position_embeddings.weight", "word_embeddings.weight")


def shapes(g: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of upstream's state dictionary, those that no reward depends on too."""
    s: dict[str, tuple[int, ...]] = {}

    def linear(name: str, out: int, inp: int) -> None:
        s[f"{name}.weight"], s[f"{name}.bias"] = (out, inp), (out,)

    def norm(name: str, size: int) -> None:
        s[f"{name}.weight"], s[f"{name}.bias"] = (size,), (size,)

    v, d, p = "blip.visual_encoder.", g["vdim"], g["patch"]
    s[f"{v}cls_token"] = (1, 1, d)
    s[f"{v}pos_embed"] = (1, (g["image"] // p) ** 2 + 1, d)
    s[f"{v}patch_embed.proj.weight"], s[f"{v}patch_embed.proj.bias"] = (d, 3, p, p), (d,)
    for block in (f"{v}blocks.{i}." for i in range(g["vlayers"])):
        norm(f"{block}norm1", d)
        norm(f"{block}norm2", d)
        linear(f"{block}attn.qkv", 3 * d, d)
        linear(f"{block}attn.proj", d, d)
        linear(f"{block}mlp.fc1", 4 * d, d)
        linear(f"{block}mlp.fc2", d, 4 * d)
    norm(f"{v}norm", d)
    t, h = "blip.text_encoder.", g["tdim"]
    s[f"{t}embeddings.position_ids"] = (1, g["maxpos"])
    s[f"{t}embeddings.word_embeddings.weight"] = (g["vocab"], h)
    s[f"{t}embeddings.position_embeddings.weight"] = (g["maxpos"], h)
    norm(f"{t}embeddings.LayerNorm", h)
    for layer in (f"{t}encoder.layer.{i}." for i in range(g["tlayers"])):
        for kind, source in (("attention", h), ("crossattention", d)):
            linear(f"{layer}{kind}.self.query", h, h)
            linear(f"{layer}{kind}.self.key", h, source)
            linear(f"{layer}{kind}.self.value", h, source)
            linear(f"{layer}{kind}.output.dense", h, h)
            norm(f"{layer}{kind}.output.LayerNorm", h)
        linear(f"{layer}intermediate.dense", g["tmlp"], h)
        linear(f"{layer}output.dense", h, g["tmlp"])
        norm(f"{layer}output.LayerNorm", h)
    linear("blip.vision_proj", g["proj"], d)
    linear("blip.text_proj", g["proj"], h)
    width = h
    for place, size in HEAD:
        linear(f"mlp.layers.{place}", size, width)
        width = size
    return s


def uniform(seed: int, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Numbers from 0 to 1 that the name decides."""
    generator = torch.Generator().manual_seed(seed ^ zlib.crc32(name.encode()))
    return torch.rand(shape, generator=generator, dtype=torch.float32)


def state_dict(seed: int, g: dict[str, int]) -> dict[str, torch.Tensor]:
    """Weights of a network, by upstream's names."""
    return {name: _tensor(seed, name, shape) for name, shape in sorted(shapes(g).items())}


def digest(state: dict[str, torch.Tensor]) -> str:
    """CRC-32 over names and bytes: tells wrong weights from a wrong network."""
    crc = 0
    for name in sorted(state):
        crc = zlib.crc32(state[name].contiguous().numpy().tobytes(), zlib.crc32(name.encode(), crc))
    return f"{crc:08x}"


def images(seed: int, size: int, count: int = 4) -> torch.Tensor:
    """Pictures (count, 3, size, size), uint8: blocks of colour and fine noise."""
    cell = -(-size // 7)
    made = []
    for i in range(count):
        blocks = uniform(seed, f"image.{i}.blocks", (3, 7, 7))
        blocks = blocks.repeat_interleave(cell, 1).repeat_interleave(cell, 2)[:, :size, :size]
        noise = uniform(seed, f"image.{i}.noise", (3, size, size))
        made.append((blocks * 192 + noise * 64).floor().to(torch.uint8))
    return torch.stack(made)


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """What the network sees of uint8 pixels, float32."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    return pixels.float().div(255).sub(mean).div(std)


def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask of four texts, padded to 35: of 5, 35 (no padding), 2 and 19 tokens."""
    rows = [
        [101, 1037, 2227, 1012, 102],
        [101] + [1996 + (7919 * i) % 28000 for i in range(33)] + [102],
        [101, 102],
        [101, 30522, 30523] + [30521 - 1013 * i for i in range(15)] + [102],
    ]
    ids, mask = (torch.zeros(len(rows), 35, dtype=torch.int64) for _ in range(2))
    for i, row in enumerate(rows):
        ids[i, : len(row)], mask[i, : len(row)] = torch.tensor(row), 1
    return ids, mask


def picture(seed: int, mode: str, width: int, height: int) -> Image.Image:
    """A picture of any size and mode."""
    channels, name = CHANNELS[mode], f"picture.{mode}.{width}x{height}"
    blocks = uniform(seed, f"{name}.blocks", (channels, -(-height // 16), -(-width // 16)))
    blocks = blocks.repeat_interleave(16, 1).repeat_interleave(16, 2)[:, :height, :width]
    noise = uniform(seed, f"{name}.noise", (channels, height, width))
    pixels = (blocks * 192 + noise * 64).floor().to(torch.uint8).permute(1, 2, 0).contiguous()
    image = Image.frombytes(mode, (width, height), pixels.numpy().tobytes())
    if mode == "P":
        steps = ((37, 11), (101, 5), (199, 77))
        image.putpalette([(i * k + s) % 256 for i in range(256) for k, s in steps])
    return image


def _tensor(seed: int, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    if name.endswith("position_ids"):
        return torch.arange(shape[1])[None]
    x = (uniform(seed, name, shape) - 0.5) * (_deviation(name, shape) * math.sqrt(12.0))
    return x + 1.0 if _is_norm(name) and name.endswith(".weight") else x


def _deviation(name: str, shape: tuple[int, ...]) -> float:
    if _is_norm(name):
        return 0.1
    if name.endswith(".bias"):
        return 0.05
    if name.endswith(EMBEDDINGS):
        return 0.02  # the first layer norm then sees little, so that a wrong eps shows
    if name.endswith("patch_embed.proj.weight"):
        return 0.05 / math.sqrt(shape[1] * shape[2] * shape[3])
    sharp = name.endswith(("qkv.weight", "query.weight", "key.weight"))
    return (1.5 if sharp else 1.0) / math.sqrt(shape[1])


def _is_norm(name: str) -> bool:
    return "norm" in name or "LayerNorm" in name
