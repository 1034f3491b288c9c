"""Runs the metrics that are missing in a run's batches."""

from collections import defaultdict
from functools import partial

from raypipe.engine.session import Session
from raypipe.engine.stage import Part, Step
from raypipe.engine.work import part_of, work_through
from raypipe.metrics.settings import MetricSettings
from raypipe.storage.directory import RunDirectory, split_batches
from raypipe.studies.evaluate.measure import Measure, score_files, stored_scores
from raypipe.studies.evaluate.read import ReadPictures
from raypipe.studies.evaluate.settings import Evaluate

READ = "read pictures"
"""The first step; the others are called by their metrics' names, in which there is no space."""

Missing = tuple[str, ...]
"""Names of the metrics that a batch has no scores of, in the order of the config."""


def wanted(config: Evaluate, is_reference: bool) -> list[MetricSettings]:
    """The metrics of a batch: pictures of a reference set are read by metrics of sets only."""
    return [metric for metric in config.metrics if not is_reference or metric.reads == "set"]


def missing(run: RunDirectory, config: Evaluate) -> dict[Missing, list[Part]]:
    """The planned batches by their missing metrics.

    Compares file names: a file appears whole or not at all, and is named after its metric and
    batch.
    """
    files = score_files(run.folder, config.metrics)
    parts: dict[Missing, list[Part]] = {}
    for name, group, pictures in run.plan_groups(["batch_id", "is_reference"]):
        found: dict[Missing, dict[str, int]] = defaultdict(dict)
        for batch_id, batch in split_batches(pictures):
            metrics = wanted(config, batch["is_reference"][0].as_py())
            absent = tuple(m.label for m in metrics if not files.has(m.label, batch_id))
            if absent:
                found[absent][batch_id] = len(batch)
        for absent, sizes in found.items():
            parts.setdefault(absent, []).append(part_of(run, name, group, sizes))
    return parts


def measure(
    run: RunDirectory, config: Evaluate, left: dict[Missing, list[Part]], session: Session
) -> None:
    """Score what is missing."""
    chains = [(parts, steps(run, config, labels)) for labels, parts in left.items()]
    work_through(run.folder, chains, session)


def steps(run: RunDirectory, config: Evaluate, labels: Missing) -> list[Step]:
    """The chain that scores pictures by the named metrics."""
    chain = [Step(READ, partial(ReadPictures, config), config.pools.read, run.uri, key="read")]
    files = score_files(run.folder, config.metrics)
    metrics = [metric for metric in config.metrics if metric.label in labels]
    for metric in metrics:
        pool = config.pool_of(metric)
        chain.append(
            Step(
                name=metric.label,
                make=partial(Measure, metric, pool, metric is metrics[-1]),
                pool=pool,
                uri=run.uri,
                file=files.of(metric.label, "{batch_id}"),
                keep=partial(stored_scores, metric),
                key=f"metrics.{metric.label}" if metric.label in config.pools.metrics else "score",
            )
        )
    return chain
