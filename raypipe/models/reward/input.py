"""What the reward network sees and reads: pictures, crops of faces, and tokens of texts."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transform

from raypipe.config.networks import FACE_TEXT, RewardFacts
from raypipe.errors import UserError
from raypipe.models.reward.layout import VOCABULARY_FILES

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

ADDED_TOKENS = ("[DEC]", "[ENC]")
"""What BLIP adds to the 30,522 tokens of bert-base-uncased, in this order."""


def preprocess(image: Image.Image, size: int = 224) -> torch.Tensor:
    """A picture as the network sees it (3, size, size), float32: ImageReward's own steps.

    Resized as a picture (bicubic, antialiased, the short side), centre-cropped, only then made
    RGB, and normalised as CLIP's are. Resizing tensors, or RGB made of RGBA or palettes before,
    gives other numbers.
    """
    image = transform.resize(image, [size], InterpolationMode.BICUBIC)
    image = transform.center_crop(image, [size]).convert("RGB")
    return transform.normalize(transform.to_tensor(image), CLIP_MEAN, CLIP_STD)


def crop_face(image: Image.Image, box: Sequence[float]) -> Image.Image:
    """The face in a detector's box (x0, y0, x1, y1; pixels), grown by one pixel a side.

    Corners are cut toward zero as FaceScore's are; what lies outside the picture is left out,
    where upstream fails. The picture must be oriented as the detector saw it. Raises ValueError
    for a box that holds no pixel of it.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    if all(map(math.isfinite, (x0, y0, x1, y1))):
        left, top = max(int(x0 - 1), 0), max(int(y0 - 1), 0)
        right, bottom = min(int(x1 + 1), image.width), min(int(y1 + 1), image.height)
        if x0 <= x1 and y0 <= y1 and left < right and top < bottom:
            return image.crop((left, top, right, bottom))
    raise ValueError(
        f"a face's box must lie in its picture of {image.width}×{image.height}, got "
        f"{[x0, y0, x1, y1]}"
    )


class Texts:
    """Turns texts into tokens; each starts with [CLS], which the network's head reads."""

    def __init__(self, tokenizer: transformers.BertTokenizer, max_length: int):
        self.tokenizer = tokenizer
        self._max_length = max_length

    def __call__(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and mask (B, T), cut at the window, padded to the longest of the texts.

        Upstream pads every text to the window. Padding is masked out, so that this changes a
        reward by float rounding only, and short texts cost less.
        """
        encoded = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self._max_length,
            return_tensors="pt",
        )
        return encoded["input_ids"], encoded["attention_mask"]

    def is_cut(self, text: str) -> bool:
        """Whether a text is longer than the window."""
        return len(self.tokenizer(text)["input_ids"]) > self._max_length


def read_tokenizer(folder: Path, vocabulary: int, adds: bool) -> transformers.BertTokenizer:
    """The BERT tokenizer of a directory; with `adds`, BLIP's two tokens are appended.

    Raises UserError where it does not have the network's `vocabulary`.
    """
    if not any((folder / name).is_file() for name in VOCABULARY_FILES):
        raise UserError(f"a reward's tokenizer must have {' or '.join(VOCABULARY_FILES)}: {folder}")
    try:
        tokenizer = transformers.BertTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the Rust library raises Exception itself
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"tokenizer cannot be loaded: {folder}: {reason}") from error
    if adds:
        tokenizer.add_tokens(list(ADDED_TOKENS), special_tokens=True)
    if len(tokenizer) != vocabulary:
        raise UserError(
            f"a reward's tokenizer must have the {vocabulary} tokens of its network, got "
            f"{len(tokenizer)}: {folder}"
        )
    return tokenizer


def standardized(raw_B: np.ndarray, facts: RewardFacts, asked: bool | None) -> np.ndarray:
    """Rewards as the config wants them, of raw head outputs."""
    return (raw_B - facts.mean) / facts.std if facts.standardizes(asked) else raw_B


def texts_for(facts: RewardFacts, texts: Sequence[str] | None, n: int) -> list[str]:
    """The `n` texts that a reward reads."""
    if facts.kind == "face_score":
        return [FACE_TEXT] * n
    if texts is None or len(texts) != n:
        raise ValueError(f"ImageReward needs one text a picture, got {n} pictures and {texts}")
    return list(texts)
