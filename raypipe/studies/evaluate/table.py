"""Stored scores of a run, gathered on the driver: one row per picture, one column per metric."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.core.consistency import image_scores
from raypipe.core.frechet import Moments
from raypipe.engine.stage import SECONDS
from raypipe.metrics.settings import MetricSettings
from raypipe.storage import schema
from raypipe.storage.directory import split_batches
from raypipe.storage.files import read_ahead
from raypipe.studies.evaluate.measure import read_measured, score_files
from raypipe.studies.evaluate.run import EvaluateRun

ALONE = "no other picture of its prompt"
"""Why a picture is not compared with others."""

PIECE = 2048
"""Pictures whose moments are taken at once: a scatter costs as much for one as for many."""


@dataclass
class Sets:
    """Features of a metric of sets: moments of each model's pictures and of the reference."""

    moments: dict[str, Moments] = field(default_factory=dict)
    features: dict[str, list[np.ndarray]] = field(default_factory=dict)
    """Kept only where asked for: as large as the run (8 KB a picture)."""
    quarantined: dict[str, Counter[str]] = field(default_factory=dict)
    _waiting: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def add(self, model: str, feature: np.ndarray, keep: bool) -> None:
        """Add a picture of a model."""
        if keep:
            self.features.setdefault(model, []).append(feature)
        waiting = self._waiting.setdefault(model, [])
        waiting.append(feature)
        if len(waiting) == PIECE:
            self._merge(model)

    def finish(self) -> "Sets":
        """Merge the last incomplete pieces."""
        for model in self._waiting:
            self._merge(model)
        return self

    def _merge(self, model: str) -> None:
        waiting = self._waiting[model]
        if waiting:
            moments, before = Moments.of(np.stack(waiting)), self.moments.get(model)
            self.moments[model] = moments if before is None else before.merge(moments)
            waiting.clear()


REFERENCE = ""
"""In the place of a model's name: the reference set."""


def read_scores(
    run: EvaluateRun, pictures: pa.Table, metric: MetricSettings
) -> tuple[pa.Array, pa.Array, float]:
    """(score, reason) of every picture in the order of the plan, and seconds that actors worked."""
    scores, reasons, seconds = [], [], 0.0
    for _, table in _batches(run, pictures, metric, ["score", "reason"]):
        scores += table["score"].chunks
        reasons += table["reason"].chunks
        seconds += float((table.schema.metadata or {}).get(SECONDS, 0))
    return (
        pa.chunked_array(scores, pa.float64()).combine_chunks(),
        pa.chunked_array(reasons, pa.string()).combine_chunks(),
        seconds,
    )


def read_sets(
    run: EvaluateRun, pictures: pa.Table, metric: MetricSettings, keep: bool
) -> tuple[Sets, pa.Array, float]:
    """Features of a metric of sets, reasons where there are none, and seconds of work."""
    sets, reasons, seconds = Sets(), [], 0.0
    for batch, table in _batches(run, pictures, metric, ["feature", "reason"]):
        reasons += table["reason"].to_pylist()
        seconds += float((table.schema.metadata or {}).get(SECONDS, 0))
        columns = batch["model"], batch["is_reference"], table["feature"], table["reason"]
        for model, is_reference, feature, reason in zip(*columns, strict=True):
            key = REFERENCE if is_reference.as_py() else model.as_py()
            if feature.is_valid:
                sets.add(key, feature.values.to_numpy(), keep)
            else:
                sets.quarantined.setdefault(key, Counter())[reason.as_py()] += 1
    return sets.finish(), pa.array(reasons, pa.string()), seconds


def read_likeness(
    run: EvaluateRun, pictures: pa.Table, metric: MetricSettings
) -> tuple[pa.Array, pa.Array, float]:
    """How alike each picture is to the others of its model and prompt (0 to 100), the reasons of
    those without a score, and seconds of work.

    Holds the run's features, 2 KB a picture for CLIP ViT-B/32.
    """
    features: dict[int, np.ndarray] = {}
    reasons: list[str | None] = []
    seconds = 0.0
    for _, table in _batches(run, pictures, metric, ["feature", "reason"]):
        for row, feature in enumerate(table["feature"], start=len(reasons)):
            if feature.is_valid:
                features[row] = feature.values.to_numpy()
        reasons += table["reason"].to_pylist()
        seconds += float((table.schema.metadata or {}).get(SECONDS, 0))
    groups: dict[tuple[str, str], list[int]] = {}
    names = zip(pictures["model"].to_pylist(), pictures["prompt_id"].to_pylist(), strict=True)
    for row, group in enumerate(names):
        if row in features:
            groups.setdefault(group, []).append(row)
    score_N = np.full(len(reasons), np.nan)
    for rows in groups.values():
        if len(rows) > 1:
            score_N[rows] = image_scores(np.stack([features[row] for row in rows]))
        else:
            reasons[rows[0]] = ALONE
    scores = pa.array(score_N, mask=np.isnan(score_N))
    return scores, pa.array(reasons, pa.string()), seconds


def table_of(
    pictures: pa.Table, own: pa.Array, scores: dict[str, tuple[pa.Array, pa.Array]]
) -> pa.Table:
    """scores.parquet: schema.TABLE, then two columns for each metric.

    own: each picture's own reason, null for a usable one. scores: (score, reason) by metric.
    """
    usable = pc.is_null(own)
    status = pc.if_else(usable, schema.OK, schema.QUARANTINED)
    columns = {name: pictures[name] for name in schema.TABLE.names if name in pictures.column_names}
    table = pa.table({**columns, "status": status, "reason": own}).cast(schema.TABLE)
    for label, (score, reason) in scores.items():
        table = table.append_column(pa.field(label, pa.float64()), score)
        table = table.append_column(pa.field(f"{label}.reason", pa.string()), reason)
    return table


def _batches(
    run: EvaluateRun, pictures: pa.Table, metric: MetricSettings, columns: list[str]
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Each planned batch with its file of a metric, in order, a few files ahead."""

    files = score_files(run.folder, [metric])

    def read(item: tuple[str, pa.Table]) -> pa.Table:
        batch_id, batch = item
        name = files.of(metric.label, batch_id)
        return read_measured(run.folder, name, batch, metric, columns)

    for (_, batch), scores in read_ahead(split_batches(pictures), read):
        yield batch, scores
