"""The pictures on the page: which prompts are shown, and their thumbnails."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from raypipe.report.html import data_uri
from raypipe.report.thumbnail import make_thumbnail
from raypipe.storage import schema
from raypipe.storage.parquet import ParquetFile
from raypipe.storage.schema import OK
from raypipe.studies.consistency.run import Run
from raypipe.studies.consistency.settings import Consistency

MAX_BYTES = 15 * 2**20
"""Pictures of further prompts are left out once those shown take so much of the page."""

LAST = -1e9
"""Sorts prompts without a difference behind all others."""


@dataclass(frozen=True)
class Thumbnail:
    """One sample of a prompt, small enough to be embedded in the page."""

    sample_id: str
    seed: int
    data: bytes
    """JPEG, PNG or WebP bytes; empty where the sample has no picture."""
    status: str
    """`ok` or `quarantined`, as in raypipe.storage.schema."""
    reason: str | None = None


Thumbnails = Callable[[str, str], Sequence[Thumbnail]]
"""(model, prompt_id) → that prompt's samples, in the order of the seeds."""


def choose(
    results: Mapping[str, Any], scores: pa.Table, thumbnails: Thumbnails, max_prompts: int
) -> dict[str, Any]:
    """Pictures of the prompts that differ most, by falling difference of the first comparison.

    Without a comparison, those of the first model's most and least consistent prompts. Returns
    `prompts`, how many prompts there are (`n`), and whether MAX_BYTES cut them short (`cut`).
    """
    names = [model["name"] for model in results["models"]]
    wanted = list(_most_different(results, scores, names[0] if names else ""))[:max_prompts]
    own = scores.filter(pc.field("prompt_id").isin(pa.array(wanted, pa.string())))
    score_of = {(row["model"], row["prompt_id"]): row for row in own.to_pylist()}
    shown, size = [], 0
    for prompt_id in wanted:
        prompt = _prompt(prompt_id, names, results, score_of, thumbnails)
        shown.append(prompt)
        size += sum(len(picture["src"]) for block in prompt["models"] for picture in block["all"])
        if size > MAX_BYTES:
            break
    shown.sort(key=lambda prompt: -prompt["order"][0])
    n = pc.count_distinct(scores["prompt_id"]).as_py()
    return {"prompts": shown, "n": n, "cut": len(shown) < len(wanted)}


def _most_different(results: Mapping[str, Any], scores: pa.Table, model: str) -> Iterator[str]:
    """Ids of prompts, those at the ends of each comparison first, none twice."""
    lists = [
        [row["prompt_id"] for row in comparison["prompts"]] for comparison in results["comparisons"]
    ]
    if not any(lists):
        own = scores.filter((pc.field("model") == model) & pc.field("scs").is_valid())
        lists = [own.sort_by([("scs", "descending")])["prompt_id"].to_pylist()]
    seen: set[str] = set()
    for step in range(max(map(len, lists))):
        index = step // 2 if step % 2 == 0 else -1 - step // 2
        for ids in lists:
            if step < len(ids) and ids[index] not in seen:
                seen.add(ids[index])
                yield ids[index]


def _prompt(
    prompt_id: str,
    names: Sequence[str],
    results: Mapping[str, Any],
    score_of: Mapping[tuple[str, str], Mapping[str, Any]],
    thumbnails: Thumbnails,
) -> dict[str, Any]:
    rows = [score_of[name, prompt_id] for name in names if (name, prompt_id) in score_of]
    differences = []
    for comparison in results["comparisons"]:
        found = [row for row in comparison["prompts"] if row["prompt_id"] == prompt_id]
        value = found[0]["difference"] if found else _difference(comparison, prompt_id, score_of)
        differences.append({"a": comparison["a"], "b": comparison["b"], "value": value})
    values = [item["value"] for item in differences] or [rows[0]["scs"] if rows else None]
    return {
        "id": prompt_id,
        "text": rows[0]["prompt"] if rows else "",
        "differences": differences,
        "order": [LAST if value is None else value for value in values],
        "models": [
            {"row": row, "all": [_picture(t, row) for t in thumbnails(row["model"], prompt_id)]}
            for row in rows
        ],
    }


def _difference(
    comparison: Mapping[str, Any],
    prompt_id: str,
    score_of: Mapping[tuple[str, str], Mapping[str, Any]],
) -> float | None:
    """For a prompt that results.json does not list: from the models' own scores."""
    sides = [score_of.get((comparison[side], prompt_id), {}).get("scs") for side in ("a", "b")]
    return None if sides[0] is None or sides[1] is None else sides[0] - sides[1]


def _picture(thumbnail: Thumbnail, row: Mapping[str, Any]) -> dict[str, Any]:
    role = ""
    if thumbnail.status != OK:
        role = "bad"
    elif thumbnail.sample_id == row["medoid_sample_id"]:
        role = "medoid"
    elif thumbnail.sample_id == row["outlier_sample_id"]:
        role = "outlier"
    src = data_uri(thumbnail.data) if thumbnail.data else ""
    return {"src": src, "seed": thumbnail.seed, "role": role, "reason": thumbnail.reason or ""}


def thumbnails(run: Run, config: Consistency, samples: pa.Table) -> Thumbnails:
    """A function that reads thumbnails of one prompt and model from the run."""

    @lru_cache(maxsize=8)
    def batch(batch_id: str) -> dict[str, dict[str, Any]]:
        name = f"images/{batch_id}.parquet"
        columns = ["sample_id", "seed", "image", "status", "reason"]
        file = ParquetFile(run.folder, name)
        table = file.read(columns, schema=schema.IMAGES)
        if not file.sealed:
            from raypipe.studies.consistency.read import check_pictures

            check_pictures(run.folder, name, table)
        return {row["sample_id"]: row for row in table.to_pylist()}

    def read(model: str, prompt_id: str) -> list[Thumbnail]:
        mine = (pads.field("model") == model) & (pads.field("prompt_id") == prompt_id)
        rows = samples.filter(mine).select(["batch_id", "sample_id"]).to_pylist()
        found = [batch(row["batch_id"])[row["sample_id"]] for row in rows]
        size = config.report.thumbnail
        return [
            Thumbnail(
                sample_id=row["sample_id"],
                seed=row["seed"],
                data=make_thumbnail(row["image"], size) if row["image"] else b"",
                status=row["status"],
                reason=row["reason"],
            )
            for row in found
        ]

    return read
