"""Stage: one metric of the pictures of a batch, whichever metric it is.

A picture that a metric cannot score (unusable, no prompt, no face) keeps its row, with the reason.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from raypipe.config.sections import Actors
from raypipe.engine.stage import Device, start_on, threads
from raypipe.inputs.codec import decode
from raypipe.metrics import registry
from raypipe.metrics.faces import aggregate
from raypipe.metrics.settings import MetricSettings, OfFaces
from raypipe.storage import parquet, schema
from raypipe.storage.damage import reading
from raypipe.storage.files import Folder
from raypipe.storage.names import BatchFiles

NO_PROMPT, NO_FACE, NOT_FINITE = "no prompt", "no face", "the score is not a finite number"


class Measure:
    """Scores the usable pictures of a batch, or keeps features that are compared later."""

    reads = ("image_id", "image", "prompt", "box", "status", "reason")

    def __init__(self, config: MetricSettings, pool: Actors, is_last: bool):
        device = start_on(pool)
        self.drops = ("image",) if is_last else ()
        self.device = Device()
        self._threads = threads(pool)
        self._config = config
        self._type = pa.struct(list(schema.measured(self._config.reads)))
        self._metric = registry.load(config, device)
        self._detector: Any = None
        if isinstance(config, OfFaces) and config.boxes == "detected":
            from raypipe.models.faces.detector import load_detector

            self._detector = load_detector(config.detector, device)

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = batch.to_pylist()
        for row in rows:
            if row["status"] == schema.OK and self._config.reads_prompt and not row["prompt"]:
                row |= {"status": schema.QUARANTINED, "reason": NO_PROMPT}
        usable = [row for row in rows if row["status"] == schema.OK]
        pictures = list(self._threads.map(decode, [row["image"] for row in usable]))
        if self._config.reads == "face":
            found = self._of_faces(pictures, [row["box"] for row in usable])
        elif self._config.reads in ("set", "prompt"):
            with self.device:
                found = [{"feature": feature} for feature in self._metric(pictures)]
        else:
            with self.device:
                scores = self._metric(pictures, [row["prompt"] or "" for row in usable])
            found = [_checked(score) for score in scores.tolist()]
        for row, new in zip(usable, found, strict=True):
            row |= new
        return pa.table({column(self._config): pa.array(rows, self._type)})

    def _of_faces(
        self, pictures: list[Image.Image], boxes: list[list[float] | None]
    ) -> list[dict[str, Any]]:
        """Scores of every picture's faces, and of them together."""
        from raypipe.models.reward.input import crop_face

        with self.device:
            faces = self._faces(pictures, boxes)
            crops = [
                crop_face(picture, face["box"])
                for picture, mine in zip(pictures, faces, strict=True)
                for face in mine
            ]
            scores = iter(self._metric(crops).tolist())
        found = []
        for mine in faces:
            scored = [{**face, "score": next(scores)} for face in mine]
            if not scored:
                found.append({"status": schema.QUARANTINED, "reason": NO_FACE})
                continue
            together = aggregate(
                [face["score"] for face in scored],
                [face["box"] for face in scored],
                self._config.aggregate,
            )
            found.append({**_checked(together), "faces": scored})
        return found

    def _faces(
        self, pictures: list[Image.Image], boxes: list[list[float] | None]
    ) -> list[list[dict[str, Any]]]:
        """Box and confidence of each picture's faces."""
        if self._detector is None:
            return [[] if box is None else [{"box": box, "confidence": None}] for box in boxes]
        detected = self._detector([np.asarray(picture) for picture in pictures])
        return [
            [{"box": list(face.box), "confidence": face.confidence} for face in mine]
            for mine in detected
        ]


def column(config: MetricSettings) -> str:
    """Name, while a batch is under way, of a metric's column."""
    return f"metric {config.label}"


def stored_scores(config: MetricSettings, samples: pa.Table) -> pa.Table:
    """The file of a metric and batch."""
    rows = samples[column(config)].combine_chunks()
    wanted = schema.measured(config.reads)
    return pa.Table.from_struct_array(rows).select(wanted.names).cast(wanted)


def score_files(run: Folder, metrics: Sequence[MetricSettings]) -> BatchFiles:
    """The files of a run's metrics, also under the names that raypipe 0.1 gave them: the labels."""
    return BatchFiles(run, "scores", [metric.label for metric in metrics], str)


def read_measured(
    folder: Folder, name: str, batch: pa.Table, config: MetricSettings, columns: list[str]
) -> pa.Table:
    """Columns of a metric's file of a batch. DamagedError unless its pictures are the batch's."""
    wanted = schema.measured(config.reads)
    table = parquet.read(folder, name, ["image_id", *columns], wanted)
    with reading(folder.uri, name, f"the scores of its batch by {config.label}"):
        assert table["image_id"].to_pylist() == batch["image_id"].to_pylist(), "it holds others"
        if "score" in columns:
            scores = table["score"].drop_null().to_numpy()
            assert np.isfinite(scores).all(), "a score is not a finite number"
    return table


def check_file(
    folder: Folder, name: str, batch: pa.Table, config: MetricSettings, file: parquet.ParquetFile
) -> None:
    """DamagedError unless a file is that of its batch and metric."""
    read_measured(folder, name, batch, config, schema.measured(config.reads).names[1:])


def _checked(score: float) -> dict[str, Any]:
    if np.isfinite(score):
        return {"score": score}
    return {"score": None, "status": schema.QUARANTINED, "reason": NOT_FINITE}
