"""Scores of a finished run of jobs/evaluate.py, by metric and picture."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.config.strict import near_miss
from raypipe.errors import UserError
from raypipe.inputs.runs import finished
from raypipe.storage import schema

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
    folder = finished(uri, "evaluate", key).folder
    try:
        results = json.loads(folder.read("results.json") or b"{}")
        table = pq.read_table(folder.open("scores.parquet"))
        records = {record["name"]: record for record in results["metrics"]}
        assert set(schema.TABLE.names) <= set(table.column_names)
    except (OSError, ValueError, KeyError, AssertionError):
        raise UserError(f"{key} has no scores that can be read: {uri}") from None
    for name in metrics:
        if name not in records:
            near = near_miss(name, list(records)).replace("known keys", "its metrics")
            raise UserError(f"metrics: {uri} has no metric {name}{near}")
    names = list(metrics) or list(records)
    kinds = {name: records[name]["reads"] for name in names}
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
