"""A small finished pair run, in the layout of jobs/face_pairs.py, made without a model."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.core.masks import box_mask, paste
from raypipe.miniature.photos import photo_specs
from raypipe.miniature.scenes import render
from raypipe.storage import schema
from tests.support import finish_run, plan_batches
from tests.support.pictures import encoded

BOX = (18.0, 14.0, 46.0, 48.0)
SPLITS = ("train",) * 4 + ("validation", "test")


def bad_face(picture_HWC: np.ndarray, number: int) -> np.ndarray:
    """The upper half of the face turned upside down."""
    turned_HWC = picture_HWC.copy()
    turned_HWC[20:36, 20:44] = turned_HWC[20:36, 20:44][::-1]
    return paste(picture_HWC, turned_HWC, box_mask(BOX, (64, 64)))


def box_of(scale: int) -> list[float]:
    """The face's box in a picture of 64 × `scale` pixels."""
    return [scale * end for end in BOX]


def enlarged(picture_HWC: np.ndarray, scale: int) -> np.ndarray:
    """Every pixel as a square of `scale` × `scale`."""
    return picture_HWC.repeat(scale, axis=0).repeat(scale, axis=1)


def pair(photo_id: str, number: int, picture_HWC: np.ndarray, scale: int = 1, **changes) -> dict:
    """A row of schema.PAIRS; every fifth pair is of the kind `roundtrip`."""
    roundtrip = number % 5 == 0
    row = {
        "pair_id": f"{photo_id}-0",
        "photo_id": photo_id,
        "split": SPLITS[number % len(SPLITS)],
        "face": 0,
        "box": box_of(scale),
        "caption": "a person",
        "kind": "roundtrip" if roundtrip else "photo",
        "strength": 0.8,
        "margin": 0.0,
        "feather": 0.0,
        "seed": 0,
        "tags": ["strength 0.8", "small" if number % 2 else "large"],
        "good": encoded(enlarged(picture_HWC, scale)) if roundtrip else None,
        "bad": encoded(enlarged(bad_face(picture_HWC, number), scale)),
        "change": 12.0,
        "status": schema.OK,
        "reason": None,
    }
    return row | changes


def write(
    folder: Path,
    count: int = 48,
    first: int = 0,
    finished: bool = True,
    scale: int = 1,
    **changes,
) -> Path:
    """A run of `count` photos with one pair each, in files of sixteen; 64 × `scale` pixels wide."""
    specs = photo_specs(count, faceless=0.0, first=first)
    photos, pairs = [], []
    for number, spec in enumerate(specs):
        picture_HWC = render(spec)
        photo_id = f"photo{first + number:05d}"
        photos.append(
            {
                "photo_id": photo_id,
                "source": f"{photo_id}.png",
                "caption": "a person",
                "image": encoded(enlarged(picture_HWC, scale)),
                "width": 64 * scale,
                "height": 64 * scale,
                "hash": [number, 0, 0, 0],
                "faces": [{"box": box_of(scale), "confidence": None, "neighbours": 9}],
                "status": schema.OK,
                "reason": None,
            }
        )
        pairs.append(pair(photo_id, number, picture_HWC, scale, **changes))
    for start in range(0, count, 16):
        name = f"0000-{start // 16:08d}.parquet"
        for kind, rows, columns in (
            ("photos", photos, schema.PHOTOS),
            ("pairs", pairs, schema.PAIRS),
        ):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            table = pa.Table.from_pylist(rows[start : start + 16], schema=columns)
            pq.write_table(table, folder / kind / name)
    plan_batches(folder)
    if finished:
        finish_run(folder, "face_pairs")
    return folder
