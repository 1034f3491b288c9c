"""Scores of a finished run of jobs/evaluate.py, by metric and picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from raypipe.config.strict import near_miss
from raypipe.errors import UserError
from raypipe.inputs.finished import finished
from raypipe.storage import schema
from raypipe.storage.damage import reading

NOT_JUDGED = {
    "set": "it compares sets of pictures",
    "prompt": "it compares pictures of a prompt",
}
"""Why a metric cannot be judged by pairs of pictures, by what it reads."""


@dataclass(frozen=True)
class Scored:
    """The scores of an evaluate run."""

    records: list[dict[str, Any]]
    """Of its results.json: the metrics that are judged, in the order of the config."""
    scores: dict[str, dict[str, float]]
    """Score by metric and image; images without one are not in it."""
    reasons: dict[str, dict[str, str]]
    """Why an image has none."""
    cluster_of: dict[str, str]
    """Each image's cluster (the column `photo_id`); its keys are all images there are."""
    not_judged: dict[str, str]
    """Metrics that cannot be judged by pairs of pictures, and why."""


def read_scores(uri: str, metrics: Sequence[str] = (), key: str = "run") -> Scored:
    """The scores of a finished run of jobs/evaluate.py, at `uri`, which the config has as `key`.

    metrics: names of those that are wanted; none: all that score single pictures. UserError for
    another directory, and for names that are not metrics of it.
    """
    run = finished(uri, "evaluate", key)
    results, table = run.json("results.json"), run.table("scores.parquet", schema.TABLE)
    with reading(run.folder.uri, "results.json", "the results of jobs/evaluate.py"):
        records = {record["name"]: record for record in results["metrics"]}
        kinds_of = {name: record["reads"] for name, record in records.items()}
    with reading(run.folder.uri, "scores.parquet", "the scores of jobs/evaluate.py"):
        for name in (n for n, kind in kinds_of.items() if kind not in NOT_JUDGED):
            assert pa.types.is_floating(table.schema.field(name).type), f"{name} is no number"
            assert table.schema.field(f"{name}.reason").type == pa.string(), f"{name} has no reason"
    for name in metrics:
        if name not in records:
            near = near_miss(name, list(records)).replace("known keys", "its metrics")
            raise UserError(f"metrics: {uri} has no metric {name}{near}")
    names = list(metrics) or list(records)
    kinds = {name: kinds_of[name] for name in names}
    sets = {name: NOT_JUDGED[kind] for name, kind in kinds.items() if kind in NOT_JUDGED}
    judged = [name for name in names if name not in sets]
    if not judged:
        raise UserError(f"no metric scores single pictures, got {', '.join(names)}: {uri}")
    ids = table["image_id"].to_pylist()
    return Scored(
        records=[records[name] for name in judged],
        scores={name: _known(ids, table[name]) for name in judged},
        reasons={name: _known(ids, table[f"{name}.reason"]) for name in judged},
        cluster_of=dict(zip(ids, table["photo_id"].to_pylist(), strict=True)),
        not_judged=sets,
    )


def _known(ids: list[str], column: pa.ChunkedArray) -> dict[str, Any]:
    values = zip(ids, column.to_pylist(), strict=True)
    return {image: value for image, value in values if value is not None}
