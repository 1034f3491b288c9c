"""Which pictures jobs/evaluate.py scores: from a folder or table, a consistency run, or pairs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from raypipe.config.strict import near_miss
from raypipe.errors import UserError
from raypipe.inputs.runs import LISTED, ExistingPictures
from raypipe.metrics.identity import identity
from raypipe.storage import schema
from raypipe.storage.directory import batch_numbers
from raypipe.studies.evaluate.read import source_of
from raypipe.studies.evaluate.settings import Evaluate


@dataclass(frozen=True)
class Plan:
    """The resolved question."""

    pictures: pa.Table
    """Every picture (raypipe.inputs.runs.LISTED), those of the reference last."""
    models: tuple[str, ...]
    """Models, or sides, in order of appearance."""
    left_out: dict[str, int]
    """Pairs that are not scored, by reason."""
    weights: dict[str, Any]
    """Per metric, the identity of its weights."""


def make_plan(config: Evaluate) -> Plan:
    """Resolve a config. Everything that files, headers and names show is checked here."""
    pictures = source_of(config)
    rows = list(pictures.rows())
    models = tuple(dict.fromkeys(row["model"] for row in rows))
    _check(config, rows, models)
    if config.reference is not None and any(m.reads == "set" for m in config.metrics):
        rows += list(ExistingPictures(config.reference, is_reference=True).rows())
    return Plan(
        pictures=pa.Table.from_pylist(rows, schema=LISTED),
        models=models,
        left_out=dict(getattr(pictures, "left_out", {})),
        weights={metric.label: identity(metric) for metric in config.metrics},
    )


def batches(pictures: pa.Table, size: int, part: int) -> pa.Table:
    """Give each picture its batch (schema.EVALUATED): neighbours, of one kind of source."""
    numbers = batch_numbers(pictures["is_reference"].to_numpy(), size)
    batch_ids = pa.array([f"{part:04d}-{number:08d}" for number in numbers], pa.string())
    with_batch = pictures.append_column("batch_id", batch_ids)
    return with_batch.select(schema.EVALUATED.names).cast(schema.EVALUATED)


def _check(config: Evaluate, rows: Sequence[dict[str, Any]], models: Sequence[str]) -> None:
    if config.baseline is not None and config.baseline not in models:
        raise UserError(
            f"baseline must be a model of the images, got {config.baseline}"
            + near_miss(config.baseline, models).replace("known keys", "there")
        )
    for metric in config.metrics:
        if metric.reads_prompt and not any(row["prompt"] for row in rows):
            raise UserError(f"metric {metric.label} needs prompts, but no image has one")
        if metric.reads == "prompt":
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
        lines.append(f"  {metric.label}: {metric.title}, {config.pool_of(metric)}")
    if config.baseline is not None:
        others = [model for model in plan.models if model != config.baseline]
        lines.append(f"  compared with {config.baseline}: {', '.join(others)}")
    return "\n".join(lines)
