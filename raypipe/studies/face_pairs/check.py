"""Stage: reads finished pairs back, and checks the stored pictures."""

from typing import Any

import numpy as np
import pyarrow as pa

from raypipe.core.face_pairs import mask_of
from raypipe.core.masks import Picture
from raypipe.core.regions import crop_for, overlap
from raypipe.engine.stage import Device
from raypipe.inputs.codec import decode
from raypipe.inputs.runs import pairs_of, photos_of
from raypipe.models.faces.detector import load_detector
from raypipe.storage import schema
from raypipe.storage.files import Folder
from raypipe.studies.face_pairs.paint import flat
from raypipe.studies.face_pairs.settings import FacePairs

CHECKS_FILE = "checks/{batch_id}.parquet"

CONTEXT = 2.0
"""Side of the crop in which a face is detected again, in sides of its box."""

CHECKS_LIST = pa.list_(pa.struct(list(schema.CHECKS)))


class CheckPairs:
    """Decodes the stored pictures of a batch: see schema.CHECKS."""

    reads = ("photo_id", "batch_id")
    drops = ()

    def __init__(self, config: FacePairs, uri: str):
        self.device = Device()
        self._folder, self._overlap = Folder(uri), config.overlap
        kind = "cuda" if config.pools.look.gpus_per_actor else "cpu"
        self._detect = load_detector(config.detector, kind)

    def __call__(self, batch: pa.Table) -> pa.Table:
        batch_id = batch["batch_id"][0].as_py()
        name = f"{batch_id}.parquet"
        images = photos_of(self._folder, name)
        found: dict[str, list[dict[str, Any]]] = {}
        seen: dict[tuple[str, int, str], bool] = {}
        for pair in pairs_of(self._folder, name):
            if pair["status"] == schema.OK:
                row = self._check(pair, images[pair["photo_id"]], seen)
                found.setdefault(pair["photo_id"], []).append(row)
        rows = [found.pop(photo_id, []) for photo_id in batch["photo_id"].to_pylist()]
        return pa.table({"checks": pa.array(rows, CHECKS_LIST)})

    def _check(
        self, pair: dict[str, Any], photo: bytes, seen: dict[tuple[str, int, str], bool]
    ) -> dict[str, Any]:
        photo_HWC, good_HWC, bad_HWC = map(pixels, (photo, pair["good"], pair["bad"]))
        mask_HW = mask_of(pair["box"], pair["margin"], pair["feather"], photo_HWC)
        key = pair["photo_id"], pair["face"], pair["kind"]
        if key not in seen:
            with self.device:
                seen[key] = self._sees(good_HWC, pair["box"])
        return {
            "pair_id": pair["pair_id"],
            "redetected": seen[key],
            "identical": all(
                side.shape == photo_HWC.shape
                and np.array_equal(side[mask_HW == 0], photo_HWC[mask_HW == 0])
                for side in (good_HWC, bad_HWC)
            ),
        }

    def _sees(self, picture_HWC: Picture, box: list[float]) -> bool:
        """Whether the detector finds the face again in the crop around it."""
        x0, y0, x1, y1 = crop_for(box, picture_HWC.shape[:2], 1, CONTEXT)
        (faces,) = self._detect([np.ascontiguousarray(picture_HWC[y0:y1, x0:x1])])
        inside = [box[0] - x0, box[1] - y0, box[2] - x0, box[3] - y0]
        return any(overlap(face.box, inside) >= self._overlap for face in faces)


def pixels(data: bytes) -> Picture:
    """A stored picture, uint8 RGB."""
    return np.asarray(decode(data))


def stored_checks(samples: pa.Table) -> pa.Table:
    """The checks file of a batch: one row per pair that was not refused."""
    return flat(samples, "checks").cast(schema.CHECKS)
