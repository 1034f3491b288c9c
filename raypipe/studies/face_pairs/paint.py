"""Stage: photos with faces to pairs of a good and a bad one.

Every chosen face is inpainted with every strength and seed; where the good side is the photo after
the VAE, its face makes that round trip once. An unusable pair is kept, with its reason: `nan` or
`nsfw` (the model's), `blank`, `unchanged`, `face lost` (the detector does not find the bad face
where it was), `good face lost` (nor the good one, after the VAE).
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from PIL import Image

from raypipe.core.face_pairs import Side, judge, mask_of, noise_seed, size_class
from raypipe.core.ids import content_hash
from raypipe.core.masks import Mask, Picture, grow
from raypipe.core.regions import crop_for, overlap
from raypipe.engine.stage import Device, start_on
from raypipe.inputs.codec import decode, to_bytes
from raypipe.models.faces.detector import load_detector
from raypipe.storage import parquet, schema
from raypipe.storage.files import Folder
from raypipe.studies.face_pairs.look import chosen_faces
from raypipe.studies.face_pairs.settings import FacePairs

if TYPE_CHECKING:
    from raypipe.models.diffusion.inpaint import Inpainted, Task

PHOTOS_FILE = "photos/{batch_id}.parquet"
PAIRS_FILE = "pairs/{batch_id}.parquet"

PAIRS_LIST = pa.list_(pa.struct(list(schema.PAIRS)))


@dataclass(frozen=True)
class Target:
    """A face that is inpainted."""

    row: int
    """Of its photo in the batch."""
    photo: dict[str, Any]
    split: str
    number: int
    box: list[float]
    photo_HWC: Picture
    mask_HW: Mask
    task: "Task"


class Paint:
    """Makes the pairs of a batch of photos, which it reads from the run by the batch's name."""

    reads = ("photo_id", "batch_id", "split")
    drops = ()

    def __init__(self, config: FacePairs, uri: str, settings: str):
        """settings: hash of the model's identity and its sampler, which goes into pair_id."""
        from raypipe.models.diffusion.inpaint import Inpainter
        from raypipe.weights.node import model_on_node

        kind = start_on(config.pools.inpaint)
        self.device = Device()
        self._config, self._settings, self._folder = config, settings, Folder(uri)
        model = model_on_node(config.model)
        self._inpainter = Inpainter(model, config.sampler_of_model, kind)
        self._detect = load_detector(config.detector, kind)
        self._detecting = threading.Lock()  # two calls of a stage overlap
        self._encoders = ThreadPoolExecutor(max(1, int(config.pools.inpaint.cpus_per_actor)))

    def __call__(self, batch: pa.Table) -> pa.Table:
        name = PHOTOS_FILE.format(batch_id=batch["batch_id"][0].as_py())
        photos = parquet.read(self._folder, name, schema=schema.PHOTOS).to_pylist()
        assert [photo["photo_id"] for photo in photos] == batch["photo_id"].to_pylist()
        targets = [
            target
            for row, (photo, split) in enumerate(
                zip(photos, batch["split"].to_pylist(), strict=True)
            )
            if split is not None
            for target in self._targets(row, photo, split)
        ]
        pairs: list[list[dict[str, Any]]] = [[] for _ in photos]
        for target, rows in zip(targets, self._make(targets), strict=True):
            pairs[target.row] += rows
        return pa.table({"pairs": pa.array(pairs, PAIRS_LIST)})

    def _targets(self, row: int, photo: dict[str, Any], split: str) -> list[Target]:
        from raypipe.models.diffusion.inpaint import Task

        config, found = self._config, []
        photo_HWC = np.asarray(decode(photo["image"]))
        for number in chosen_faces(photo["faces"], config):
            box = photo["faces"][number]["box"]
            mask_HW = mask_of(box, config.mask.margin, config.mask.feather, photo_HWC)
            region = crop_for(
                grow(box, config.mask.margin),
                photo_HWC.shape[:2],
                config.sampler_of_model.width,
                config.mask.context,
                config.mask.magnify,
            )
            prompt = photo["caption"] + config.model.prompt_suffix
            task = Task(photo_HWC, mask_HW, region, prompt)
            found.append(Target(row, photo, split, number, box, photo_HWC, mask_HW, task))
        return found

    def _make(self, targets: list[Target]) -> list[list[dict[str, Any]]]:
        """The pairs of each face."""
        config = self._config
        settings = [(strength, seed) for strength in config.strengths for seed in config.seed_list]
        asked = [(target, strength, seed) for target in targets for strength, seed in settings]
        tasks = [
            replace(
                target.task,
                strength=strength,
                seed=noise_seed(target.photo["photo_id"], target.number, seed),
            )
            for target, strength, seed in asked
        ]
        rounds: list[Inpainted] = []
        with self.device:
            inpainted = self._inpainter(tasks)
            if "roundtrip" in config.kinds:
                rounds = self._inpainter.roundtrip([target.task for target in targets])
        bad = self._sides([target for target, _, _ in asked], inpainted)
        good = self._sides(targets, rounds) if rounds else [None] * len(targets)
        made = []
        for index, target in enumerate(targets):
            mine = slice(index * len(settings), (index + 1) * len(settings))
            made.append(
                [
                    self._pair(target, kind, task, side, good[index])
                    for kind in config.kinds
                    for task, side in zip(tasks[mine], bad[mine], strict=True)
                ]
            )
        return made

    def _sides(self, targets: list[Target], inpainted: "list[Inpainted]") -> list[Side]:
        pictures = [one.photo_HWC for one in inpainted if one.photo_HWC is not None]
        storage = self._config.storage
        encoded = self._encoders.map(lambda p: to_bytes(Image.fromarray(p), storage), pictures)
        with self._detecting:
            faces_of = self._detect(pictures)
        found = iter(zip(faces_of, encoded, strict=True))
        sides = []
        for target, one in zip(targets, inpainted, strict=True):
            if one.photo_HWC is None:
                sides.append(Side(None, None, one.reason, False))
                continue
            faces, data = next(found)
            near = [overlap(face.box, target.box) for face in faces]
            has_face = max(near, default=0.0) >= self._config.overlap
            sides.append(Side(one.photo_HWC, data, None, has_face))
        return sides

    def _pair(
        self, target: Target, kind: str, task: "Task", bad: Side, roundtrip: Side | None
    ) -> dict[str, Any]:
        """A row of schema.PAIRS."""
        mask, photo = self._config.mask, target.photo
        good = roundtrip if kind == "roundtrip" else Side(target.photo_HWC, None, None, True)
        assert good is not None
        differs, reason = judge(good, bad, target.mask_HW, self._config.min_change)
        content = {
            "photo": photo["photo_id"],
            "box": target.box,
            "caption": photo["caption"],
            "kind": kind,
            "strength": task.strength,
            "seed": task.seed,
            "mask": mask.model_dump(),
            "settings": self._settings,
        }
        return {
            "pair_id": content_hash(content),
            "photo_id": photo["photo_id"],
            "split": target.split,
            "face": target.number,
            "box": target.box,
            "caption": photo["caption"],
            "kind": kind,
            "strength": task.strength,
            "margin": mask.margin,
            "feather": mask.feather,
            "seed": task.seed,
            "tags": [f"strength {task.strength:g}", size_class(target.box), kind],
            "good": good.data,
            "bad": bad.data,
            "change": differs,
            "status": schema.QUARANTINED if reason else schema.OK,
            "reason": reason,
        }


def stored_pairs(samples: pa.Table) -> pa.Table:
    """The pairs file of a batch: one row per pair."""
    return flat(samples, "pairs").cast(schema.PAIRS)


def flat(samples: pa.Table, column: str) -> pa.Table:
    """The rows in a column of lists of structs, one after the other."""
    return pa.Table.from_struct_array(samples[column].combine_chunks().flatten())
