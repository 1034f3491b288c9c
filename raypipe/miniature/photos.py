"""Sets of captioned photos of the miniature world, for the jobs that begin with photos.

    python -m raypipe.miniature.photos FOLDER COUNT [--first NUMBER]

Their seeds begin at `PHOTOS`: no other part of the miniature world is trained or measured on them
(those are trained below `data.HELD_OUT`, and measured shortly after it).
"""

import argparse
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from .captions import full_caption
from .scenes import render
from .specs import Spec, sample_portrait, sample_scene

PHOTOS = 20_000_000
"""The seed of the first photo."""

CAPTIONS = "metadata.jsonl"
"""Beside the pictures of a folder: a line {"file_name": …, "text": …} each, as Hugging Face's
image folders have it."""


def photo_specs(count: int, faceless: float = 0.1, first: int = 0) -> list[Spec]:
    """The specs of photos number `first` to `first` + count − 1: portraits, and a share of scenes.

    A photo's number decides all of it, so longer sets begin with the shorter ones, and sets with
    numbers apart share no photo. Raises ValueError for a share outside 0 to 1.
    """
    if not 0 <= faceless <= 1:
        raise ValueError(f"faceless must be from 0 to 1, got {faceless}")
    seeds = range(PHOTOS + first, PHOTOS + first + count)
    has_face = [np.random.default_rng([seed, 8]).random() >= faceless for seed in seeds]
    return [
        sample_portrait(seed) if face else sample_scene(seed)
        for seed, face in zip(seeds, has_face, strict=True)
    ]


def write_folder(specs: list[Spec], folder: Path) -> None:
    """A folder of PNG files, named after their seeds, and their captions in `metadata.jsonl`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for spec in specs:
        name = f"{spec.seed}.png"
        (folder / name).write_bytes(_png(spec))
        lines.append(json.dumps({"file_name": name, "text": full_caption(spec)}))
    (folder / CAPTIONS).write_text("\n".join(lines) + "\n")


def _png(spec: Spec) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(render(spec)).save(buffer, "PNG")
    return buffer.getvalue()


def main() -> None:
    """Write a folder of photos."""
    parser = argparse.ArgumentParser(description="Write captioned photos of the miniature world.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--first", type=int, default=0, help="number of the first photo")
    arguments = parser.parse_args()
    specs = photo_specs(arguments.count, first=arguments.first)
    write_folder(specs, arguments.folder)
    print(f"{len(specs)} photos: {arguments.folder}")


if __name__ == "__main__":
    main()
