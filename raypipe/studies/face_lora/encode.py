"""Stages: texts, and pictures of pairs, to what a denoiser is trained on.

Each batch becomes an Arrow file below `data/` of the run, which training reads by row
(`raypipe.studies.face_lora.data`), so that neither VAE nor text encoder is in the training loop.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from raypipe.core.face_pairs import mask_of
from raypipe.core.masks import Mask, Picture, grow, latent_mask
from raypipe.core.regions import Region, crop_for
from raypipe.engine.stage import Device, start_on
from raypipe.errors import UserError
from raypipe.inputs.codec import decode
from raypipe.inputs.runs import pairs_of
from raypipe.models.diffusion.latents import LatentEncoder
from raypipe.models.diffusion.text import TextEncoder
from raypipe.storage import parquet, schema
from raypipe.storage.files import Folder
from raypipe.studies.face_lora.data import DATA_FILE, pack_text, picture_row, write_arrow
from raypipe.studies.face_lora.settings import FaceLora
from raypipe.weights.node import model_on_node

WRITTEN = "written"
"""The column of the step's output; the arrays themselves are in a file."""


class EncodeTexts:
    """Encodes the texts of a batch. UserError for one that must fit the tokenizers and does not."""

    reads = ("batch_id", "text_id", "text", "must_fit")
    drops = ()

    def __init__(self, config: FaceLora, uri: str):
        kind = start_on(config.pools.encode)
        self.device = Device()
        self._folder = Folder(uri)
        # guided, so that the pipeline also encodes the empty text (for SDXL that is zeros)
        sampler = config.sampler_of_model.model_copy(
            update={"guidance": 2.0, "negative_prompt": None}
        )
        self._encoder = TextEncoder(model_on_node(config.model), sampler, kind)

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = []
        with self.device:
            for row in batch.to_pylist():
                if row["must_fit"] and self._encoder.truncated(row["text"]):
                    raise UserError(
                        f"samples.prompts must fit the model's tokenizers, got {row['text']!r}"
                    )
                rows.append(pack_text(row["text_id"], self._of(row["text"])))
        return _keep(self._folder, batch, pa.Table.from_pylist(rows))

    def _of(self, text: str) -> dict[str, torch.Tensor]:
        """Tensors (1, ...) by the pipeline's names."""
        encoded = self._encoder.encode(text)
        sides = {name.startswith("negative_"): {} for name in encoded}
        for name, value in encoded.items():
            sides[name.startswith("negative_")][name.removeprefix("negative_")] = value
        return sides[text == ""]


class EncodePictures:
    """Encodes the pairs, or general pictures, of a batch, which it reads from their run."""

    reads = ("batch_id", "role", "run", "file", "row", "text_id")
    drops = ()

    def __init__(self, config: FaceLora, uri: str):
        kind = start_on(config.pools.encode)
        self.device = Device()
        self._folder, self._size = Folder(uri), config.size
        sampler = config.sampler_of_model
        self._encoder = LatentEncoder(model_on_node(config.model), sampler, kind)

    def __call__(self, batch: pa.Table) -> pa.Table:
        plan = batch.to_pylist()
        folder, file = Folder(plan[0]["run"]), plan[0]["file"]
        numbers = [row["row"] for row in plan]
        if plan[0]["role"].startswith("general"):
            images = parquet.read(folder, f"images/{file}", ["image"], schema.IMAGES)
            rows = self._general([images["image"][number].as_py() for number in numbers])
        else:
            rows = self._pairs(folder, file, numbers)
        for row, planned in zip(rows, plan, strict=True):
            row["text_id"] = planned["text_id"]
        return _keep(self._folder, batch, pa.Table.from_pylist(rows))

    def _pairs(self, folder: Folder, file: str, numbers: list[int]) -> list[dict[str, Any]]:
        wanted: dict[tuple[bytes, Region], Picture] = {}
        seen = []
        for pair in pairs_of(folder, file, numbers):
            good = pair["good"]
            photo_HWC = np.asarray(decode(good))
            region = region_of(pair["box"], pair["margin"], photo_HWC)
            mask_HW = mask_of(pair["box"], pair["margin"], pair["feather"], photo_HWC)
            for data in (good, pair["bad"]):
                if (data, region) not in wanted:
                    wanted[data, region] = fit(np.asarray(decode(data)), region, self._size)
            seen.append((good, pair["bad"], region, photo_HWC.shape[:2], mask_HW))
        latents = dict(zip(wanted, self._encode(list(wanted.values())), strict=True))
        return [
            picture_row(
                latents[good, region],
                latents[bad, region],
                latent_mask(fit_mask(mask_HW, region, self._size), self._encoder.factor),
                time_ids(region, shape, self._size),
            )
            for good, bad, region, shape, mask_HW in seen
        ]

    def _general(self, images: list[bytes]) -> list[dict[str, Any]]:
        pictures = [np.asarray(decode(image)) for image in images]
        regions = [middle(picture) for picture in pictures]
        fitted = [fit(p, region, self._size) for p, region in zip(pictures, regions, strict=True)]
        return [
            picture_row(latent, None, None, time_ids(region, picture.shape[:2], self._size))
            for latent, region, picture in zip(self._encode(fitted), regions, pictures, strict=True)
        ]

    def _encode(self, pictures: list[Picture]) -> np.ndarray:
        with self.device:
            latents_Nchw = self._encoder(pictures)
        if not np.isfinite(latents_Nchw.astype(np.float16)).all():
            raise UserError("the VAE must give finite latents in half precision, it does not")
        return latents_Nchw


def _keep(folder: Folder, batch: pa.Table, table: pa.Table) -> pa.Table:
    write_arrow(folder, DATA_FILE.format(batch_id=batch["batch_id"][0].as_py()), table)
    return pa.table({WRITTEN: [True] * len(batch)})


def region_of(box: list[float], margin: float, photo_HWC: Picture) -> Region:
    """The largest square of a photo that holds a face, near its middle."""
    shorter = min(photo_HWC.shape[:2])
    return crop_for(grow(box, margin), photo_HWC.shape[:2], shorter, context=1.0)


def middle(picture_HWC: Picture) -> Region:
    """The largest square in the middle of a picture."""
    height, width = picture_HWC.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def fit(picture_HWC: Picture, region: Region, size: int) -> Picture:
    """A part of a picture at size × size."""
    x0, y0, x1, y1 = region
    part = Image.fromarray(np.ascontiguousarray(picture_HWC[y0:y1, x0:x1]))
    return np.asarray(part.resize((size, size), Image.Resampling.LANCZOS))


def fit_mask(mask_HW: Mask, region: Region, size: int) -> Mask:
    """The same part of a mask, by means over areas, so that it stays from 0 to 1."""
    x0, y0, x1, y1 = region
    part = Image.fromarray(np.ascontiguousarray(mask_HW[y0:y1, x0:x1]))
    return np.asarray(part.resize((size, size), Image.Resampling.BOX), np.float32)


def time_ids(region: Region, shape: tuple[int, int], size: int) -> list[float]:
    """SDXL's six numbers: height and width before, top and left of the crop, size after.

    As its authors define them, the crop is in pixels of the resized picture.
    """
    x0, y0, x1, y1 = region
    top, left = round(y0 * size / (y1 - y0)), round(x0 * size / (x1 - x0))
    return [float(v) for v in (*shape, top, left, size, size)]
