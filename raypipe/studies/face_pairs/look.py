"""Stage: photos to upright pictures of at most a certain size, and the faces in each."""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from raypipe.core.ids import ID_LENGTH
from raypipe.core.near_duplicates import perceptual_hash
from raypipe.engine.stage import Device
from raypipe.inputs.codec import open_photo, to_bytes
from raypipe.inputs.photos import PhotoReader
from raypipe.storage import schema
from raypipe.studies.face_pairs.settings import FacePairs

ADDED = pa.schema([f for f in schema.PHOTOS if f.name not in schema.SOURCES.names])


class Look:
    """Opens the photos of a batch and finds faces; an unusable photo is a row with a reason.

    Reasons: `missing`, `unreadable`, `too large`, `no caption`, `no face`, `small face` (all).
    """

    reads = ("source", "caption")
    drops = ()

    def __init__(self, config: FacePairs):
        from raypipe.models.faces.detector import load_detector

        self.device = Device()
        self._config = config
        self._read = PhotoReader(config.photos)
        kind = "cuda" if config.pools.look.gpus_per_actor else "cpu"
        self._detect = load_detector(config.detector, kind)

    def __call__(self, batch: pa.Table) -> pa.Table:
        sources, captions = batch["source"].to_pylist(), batch["caption"].to_pylist()
        found = [
            _Found(source, data, caption, self._config.longest)
            for source, data, caption in zip(sources, self._read(sources), captions, strict=True)
        ]
        usable = [one for one in found if one.reason is None]
        with self.device:
            faces = self._detect([one.pixels_HWC for one in usable])
        for one, of_one in zip(usable, faces, strict=True):
            one.faces = [
                {"box": face.box, "confidence": face.confidence, "neighbours": face.neighbours}
                for face in of_one
            ]
            if not of_one:
                one.reason = "no face"
            elif not chosen_faces(one.faces, self._config):
                one.reason = "small face"
        return pa.Table.from_pylist([self._row(one) for one in found], schema=ADDED)

    def _row(self, one: "_Found") -> dict[str, Any]:
        pixels_HWC = one.pixels_HWC
        height, width = (None, None) if pixels_HWC is None else pixels_HWC.shape[:2]
        image = None
        if one.reason is None:
            image = to_bytes(Image.fromarray(pixels_HWC), self._config.storage)
        return {
            "photo_id": one.photo_id,
            "image": image,
            "width": width,
            "height": height,
            "hash": None if pixels_HWC is None else perceptual_hash(pixels_HWC).tolist(),
            "faces": one.faces,
            "status": schema.QUARANTINED if one.reason else schema.OK,
            "reason": one.reason,
        }


class _Found:
    """A photo being processed."""

    def __init__(self, source: str, data: bytes | None, caption: str | None, longest: int):
        content = source.encode() if data is None else data
        self.photo_id = hashlib.sha256(content).hexdigest()[:ID_LENGTH]
        photo = open_photo(data)
        self.pixels_HWC = reduced(photo.pixels_HWC, longest)
        self.reason = photo.reason or (None if caption else "no caption")
        self.faces: list[dict[str, Any]] | None = None


def reduced(picture_HWC: np.ndarray | None, longest: int) -> np.ndarray | None:
    """The picture with its longer side at most `longest` pixels, never enlarged."""
    if picture_HWC is None or max(picture_HWC.shape[:2]) <= longest:
        return picture_HWC
    height, width = picture_HWC.shape[:2]
    scale = longest / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(picture_HWC).resize(size, Image.Resampling.LANCZOS))


def chosen_faces(faces: list[dict[str, Any]], config: FacePairs) -> list[int]:
    """Numbers of the faces that are inpainted: the largest ones that are not too small.

    Every detector lists the largest faces first.
    """
    large = []
    for number, face in enumerate(faces):
        x0, y0, x1, y1 = face["box"]
        if min(x1 - x0, y1 - y0) >= config.min_face:
            large.append(number)
    return large[: config.faces]


def stored_photos(samples: pa.Table) -> pa.Table:
    """The photos file of a batch."""
    return samples.select(schema.PHOTOS.names).cast(schema.PHOTOS)
