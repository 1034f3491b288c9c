"""Which pictures jobs/evaluate.py scores: from a folder or table, a consistency run, or pairs."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raypipe import existing, schema
from raypipe.config import near_miss
from raypipe.core import ids
from raypipe.errors import UserError
from raypipe.evaluate_settings import SETS, Evaluate
from raypipe.files import Folder
from raypipe.metrics.identity import identity
from raypipe.metrics.registry import facts_of
from raypipe.settings import Images

READERS = 8
"""Files read at once."""

SIDES = ("good", "bad")

PLANNED = schema.EVALUATED.remove(schema.EVALUATED.get_field_index("batch_id"))
"""A picture before it has a batch."""


@dataclass(frozen=True)
class Plan:
    """The resolved question."""

    pictures: pa.Table
    """Every picture (PLANNED), those of the reference last."""
    models: tuple[str, ...]
    """Models, or sides, in the order in which they were met."""
    left_out: dict[str, int]
    """Pairs that are not scored, by reason."""
    weights: dict[str, Any]
    """Per metric, which weights it has."""


def make_plan(config: Evaluate) -> Plan:
    """Resolve a config. Everything that files, headers and names can tell is checked here."""
    left_out: Counter[str] = Counter()
    if config.images is not None:
        rows = list(_existing(config.images))
    elif config.run is not None:
        rows = list(_of_run(config.run))
    else:
        rows = list(_of_pairs(str(config.pairs), config.splits, left_out))
    models = tuple(dict.fromkeys(row["model"] for row in rows))
    _check(config, rows, models)
    if config.reference is not None and any(m.metric in SETS for m in config.metrics):
        rows += list(_existing(config.reference, is_reference=True))
    return Plan(
        pictures=pa.Table.from_pylist(rows, schema=PLANNED),
        models=models,
        left_out=dict(left_out),
        weights={metric.label: identity(metric) for metric in config.metrics},
    )


def batches(pictures: pa.Table, size: int, part: int) -> pa.Table:
    """Give each picture its batch (schema.EVALUATED): neighbours, of one kind of source."""
    numbers, batch, n = [], -1, 0
    before: bool | None = None
    for is_reference in pictures["is_reference"].to_pylist():
        if is_reference != before or n == size:
            batch, n, before = batch + 1, 0, is_reference
        n += 1
        numbers.append(f"{part:04d}-{batch:08d}")
    with_batch = pictures.append_column("batch_id", pa.array(numbers, pa.string()))
    return with_batch.select(schema.EVALUATED.names).cast(schema.EVALUATED)


def finished(uri: str, folder: str, what: str) -> Folder:
    """A finished run's directory that has the folder. UserError, saying what it must be."""
    found = Folder(uri)
    try:
        manifest = json.loads(found.read("manifest.json") or b"null")
        complete = isinstance(manifest, dict) and bool(found.names(folder))
    except (OSError, ValueError):
        complete = False
    if not complete:
        raise UserError(f"{what}, got {uri}")
    return found


def _check(config: Evaluate, rows: Sequence[dict[str, Any]], models: Sequence[str]) -> None:
    if config.baseline is not None and config.baseline not in models:
        raise UserError(
            f"baseline must be a model of the images, got {config.baseline}"
            + near_miss(config.baseline, models).replace("known keys", "there")
        )
    for metric in config.metrics:
        if facts_of(metric).reads_prompt and not any(row["prompt"] for row in rows):
            raise UserError(f"metric {metric.label} needs prompts, but no image has one")
        if facts_of(metric).reads == "prompt":
            each = Counter((row["model"], row["prompt_id"]) for row in rows)
            if max(each.values(), default=0) < 2:
                raise UserError(
                    f"metric {metric.label} needs two or more pictures of a prompt by one model, "
                    "got one of each"
                )
        if {metric.label, f"{metric.label}.reason"} & _columns(config, metric.label):
            raise UserError(
                f"a metric must not be named like another column of the table, got {metric.label}"
            )


def _columns(config: Evaluate, but: str) -> set[str]:
    """Columns of scores.parquet apart from one metric's own."""
    others = [metric.label for metric in config.metrics if metric.label != but]
    return {*schema.TABLE.names, *others, *(f"{label}.reason" for label in others)}


def _existing(images: Images, is_reference: bool = False) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    for picture in existing.list_pictures(images):
        default = f"{picture.model}/{picture.prompt}/{picture.seed}"
        image_id = picture.image_id if picture.image_id is not None else default
        if image_id in seen:
            raise UserError(f"images must have ids of their own, got two of {image_id}")
        seen.add(image_id)
        prompt_id = ids.prompt_id(picture.prompt)
        yield {
            "image_id": image_id,
            "model": picture.model,
            "prompt_id": prompt_id,
            "prompt": picture.prompt,
            "seed": picture.seed,
            "photo_id": prompt_id,
            "is_reference": is_reference,
            "source": picture.source,
        }


def _of_run(uri: str) -> Iterator[dict[str, Any]]:
    folder = finished(uri, "images", "run must be a finished run of jobs/consistency.py")
    columns = ["sample_id", "model", "prompt_id", "prompt", "seed"]
    for name, table in _tables(folder, "images", columns):
        for number, row in enumerate(table.to_pylist()):
            yield {
                "image_id": row.pop("sample_id"),
                **row,
                "photo_id": row["prompt_id"],
                "is_reference": False,
                "source": f"{name}#{number}",
            }


def _of_pairs(uri: str, splits: Sequence[str], left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    folder = finished(uri, "pairs", "pairs must be a finished run of jobs/face_pairs.py")
    columns = ["pair_id", "photo_id", "split", "box", "caption", "status"]
    found = False
    for name, table in _tables(folder, "pairs", columns):
        for number, row in enumerate(table.to_pylist()):
            if row["status"] != schema.OK or row["split"] not in splits:
                left_out["refused" if row["status"] != schema.OK else "other split"] += 1
                continue
            found = True
            for side in SIDES:
                yield {
                    "image_id": f"{row['pair_id']}/{side}",
                    "model": side,
                    "prompt_id": row["pair_id"],
                    "prompt": row["caption"],
                    "photo_id": row["photo_id"],
                    "box": row["box"],
                    "is_reference": False,
                    "source": f"{name}#{number}",
                }
    if not found:
        told = ", ".join(f"{n} {reason}" for reason, n in left_out.items()) or "no pairs at all"
        raise UserError(f"there must be pairs of split {', '.join(splits)}, got {told}: {uri}")


def _tables(folder: Folder, below: str, columns: list[str]) -> Iterator[tuple[str, pa.Table]]:
    """Some columns of every file of a run, in order, a few files ahead."""
    names = folder.names(below)

    def read(name: str) -> pa.Table:
        return pq.read_table(folder.open(f"{below}/{name}"), columns=columns)

    with ThreadPoolExecutor(READERS) as pool:
        for start in range(0, len(names), 4 * READERS):
            some = names[start : start + 4 * READERS]
            yield from zip(some, pool.map(read, some), strict=True)


def describe(config: Evaluate, plan: Plan, n_new: int) -> str:
    """What a run would do, for --dry-run."""
    n = len(plan.pictures)
    lines = [
        f"{n:,} pictures of {', '.join(plan.models)}, {n_new:,} of them new to {config.output}"
    ]
    lines += [f"  left out: {count:,} pairs, {reason}" for reason, count in plan.left_out.items()]
    pool = config.pools.read
    lines.append(f"  read: {pool.min} to {pool.max} actors, batches of {pool.batch_size}")
    for metric in config.metrics:
        actors = config.pool_of(metric)
        lines.append(
            f"  {metric.label}: {facts_of(metric).title}, {actors.min} to {actors.max} actors of "
            f"{actors.gpus_per_actor:g} GPU and {actors.cpus_per_actor:g} CPU"
        )
    if config.baseline is not None:
        others = [model for model in plan.models if model != config.baseline]
        lines.append(f"  compared with {config.baseline}: {', '.join(others)}")
    return "\n".join(lines)
