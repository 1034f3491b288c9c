"""results.json, scores.parquet and the manifest of jobs/evaluate.py."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.core.changes import Change, adjust_changes, change_record, paired_change
from raypipe.core.clusters import bootstrap_clusters, cluster_sums
from raypipe.core.frechet import frechet_distance, kid
from raypipe.metrics.settings import Kid, MetricSettings
from raypipe.storage import schema
from raypipe.storage.provenance import provenance
from raypipe.studies.evaluate.measure import NO_FACE, NO_PROMPT, NOT_FINITE
from raypipe.studies.evaluate.plan import Plan
from raypipe.studies.evaluate.run import EvaluateRun
from raypipe.studies.evaluate.settings import Evaluate
from raypipe.studies.evaluate.table import (
    ALONE,
    REFERENCE,
    Sets,
    read_likeness,
    read_scores,
    read_sets,
    table_of,
)

PACKAGES = ("ray", "torch", "transformers", "open_clip_torch", "numpy", "scipy")

OF_METRICS = pa.array([NO_PROMPT, NO_FACE, NOT_FINITE, ALONE])
"""Reasons that are a metric's, not the picture's."""


@dataclass(frozen=True)
class Outcome:
    """The results of a run."""

    results: dict[str, Any]
    table: pa.Table
    """scores.parquet."""
    device_seconds: float


def evaluate(run: EvaluateRun, config: Evaluate, plan: Plan) -> Outcome:
    """Gather the stored scores, and compute results.json."""
    pictures = run.samples()
    scored = pictures.filter(pc.invert(pictures["is_reference"]))
    records, seconds = [], 0.0
    scores: dict[str, tuple[pa.Array, pa.Array]] = {}
    own: pa.Array | None = None
    for metric in config.metrics:
        if metric.reads == "set":
            sets, reasons, spent = read_sets(run, pictures, metric, isinstance(metric, Kid))
            models = [_of_set(metric, model, sets) for model in plan.models]
            reasons = reasons.filter(pc.invert(pictures["is_reference"]).combine_chunks())
        else:
            read = read_likeness if metric.reads == "prompt" else read_scores
            score, reasons, spent = read(run, scored, metric)
            scores[metric.label] = score, reasons
            models = [_of_pictures(config, scored, score, reasons, m) for m in plan.models]
        records.append({**_described(metric), "models": models})
        seconds += spent
        own = _own_reasons(reasons) if own is None else own
    assert own is not None
    table = table_of(scored, own, scores)
    results = {
        "schema_version": schema.SCHEMA_VERSION,
        "alpha": config.statistics.alpha,
        "models": list(plan.models),
        "images": len(table),
        "quarantined": _counts(own.drop_null().to_pylist()),
        "left_out": plan.left_out,
        "metrics": records,
        "baseline": config.baseline,
        "comparisons": [change_record(change) for change in _changes(config, plan, table)],
        "notes": _notes(records),
    }
    return Outcome(results, table, seconds)


def manifest(config: Evaluate, plan: Plan, outcome: Outcome) -> dict[str, Any]:
    source = config.run or config.pairs or config.images
    results = outcome.results
    unusable = sum(results["quarantined"].values())
    return {
        **provenance("evaluate", PACKAGES),
        "metrics": [{"name": label, **found} for label, found in plan.weights.items()],
        "inputs": [source if isinstance(source, str) else source.model_dump(mode="json")],
        "counts": {
            "requested": results["images"],
            "made": results["images"] - unusable,
            "quarantined": unusable,
        },
        "device_seconds": outcome.device_seconds,
    }


def _described(metric: MetricSettings) -> dict[str, Any]:
    return {
        "name": metric.label,
        "metric": metric.metric,
        "title": metric.title,
        "higher_is_better": metric.higher_is_better,
        "range": {"low": metric.low, "high": metric.high},
        "reads": metric.reads,
        "source": metric.source,
    }


def _of_pictures(
    config: Evaluate, scored: pa.Table, score: pa.Array, reasons: pa.Array, model: str
) -> dict[str, Any]:
    """One model by a metric of pictures: the interval is over prompts, or photos."""
    mine = pc.equal(scored["model"], model).combine_chunks()
    values = score.filter(mine)
    counts = _counts(reasons.filter(mine).drop_null().to_pylist())
    x_N = values.drop_null().to_numpy(zero_copy_only=False)
    record: dict[str, Any] = {"model": model, "n": len(x_N), "quarantined": counts}
    if not len(x_N):
        nothing = {"low": None, "high": None, "reason": "no picture has a score"}
        return {**record, "photos": 0, "mean": None, "sd": None, "interval": nothing}
    clusters = scored["photo_id"].filter(mine).filter(values.is_valid())
    sums_K, counts_K = cluster_sums(x_N, clusters.to_numpy())
    found = bootstrap_clusters(sums_K, counts_K, **config.statistics.bootstrap)
    return {
        **record,
        "photos": len(sums_K),
        "mean": found.value,
        "sd": float(x_N.std(ddof=1)) if len(x_N) > 1 else None,
        "interval": {"low": found.low, "high": found.high, "reason": found.reason},
    }


def _of_set(metric: MetricSettings, model: str, sets: Sets) -> dict[str, Any]:
    """One model's distance from the reference set; FID has no interval, KID's is of its subsets."""
    counts = {name: dict(sets.quarantined.get(name, {})) for name in (model, REFERENCE)}
    sizes = {name: sets.moments[name].n if name in sets.moments else 0 for name in counts}
    record: dict[str, Any] = {
        "model": model,
        "n": sizes[model],
        "n_reference": sizes[REFERENCE],
        "quarantined": counts[model],
        "quarantined_reference": counts[REFERENCE],
        "sd": None,
    }
    if min(sizes.values()) < 2:
        reason = f"a distance needs two pictures on each side, got {list(sizes.values())}"
        nothing = {"low": None, "high": None, "reason": reason}
        return {**record, "mean": None, "interval": nothing}
    if isinstance(metric, Kid):
        found = kid(
            np.stack(sets.features[model]),
            np.stack(sets.features[REFERENCE]),
            seed=metric.seed,
            subsets=metric.subsets,
            subset_size=metric.subset_size,
        )
        ends = {"low": found.low, "high": found.high, "reason": "of its subsets, not of its mean"}
        return {**record, "mean": found.value, "interval": ends}
    distance = frechet_distance(sets.moments[model], sets.moments[REFERENCE])
    nothing = {"low": None, "high": None, "reason": "a distance of two sets has no interval here"}
    return {**record, "mean": distance, "interval": nothing}


def _changes(config: Evaluate, plan: Plan, table: pa.Table) -> list[Change]:
    """Every other model against the baseline, by every metric of pictures."""
    if config.baseline is None:
        return []
    changes = []
    for metric in config.metrics:
        if metric.reads == "set":
            continue
        scores: dict[str, dict[tuple[str, str], float]] = {model: {} for model in plan.models}
        names = ("model", "photo_id", "prompt_id", "seed", metric.label)
        for model, cluster, prompt, seed, score in zip(
            *(table[n].to_pylist() for n in names), strict=True
        ):
            if score is not None:
                scores[model][cluster, f"{prompt}/{seed}"] = score
        changes += [
            paired_change(
                scores[model],
                scores[config.baseline],
                names=(model, config.baseline),
                metric=metric.label,
                higher_is_better=metric.higher_is_better,
                **config.statistics.bootstrap,
            )
            for model in plan.models
            if model != config.baseline
        ]
    return adjust_changes(changes)


def _own_reasons(reasons: pa.Array) -> pa.Array:
    """Why pictures themselves could not be used: reasons that all metrics share."""
    of_metric = pc.is_in(reasons, OF_METRICS)
    return pc.if_else(of_metric, pa.scalar(None, pa.string()), reasons)


def _counts(reasons: list[str]) -> dict[str, int]:
    return dict(sorted(Counter(reasons).items()))


def _notes(records: list[dict[str, Any]]) -> list[str]:
    notes = []
    for record in records:
        for model in record["models"]:
            asked = model["n"] + sum(model["quarantined"].values())
            if asked and model["n"] < asked:
                counts = ", ".join(f"{n} {reason}" for reason, n in model["quarantined"].items())
                notes.append(
                    f"{record['title']} ({record['name']}) has no score for {asked - model['n']} "
                    f"of {asked} pictures of {model['model']}: {counts}"
                )
    return notes
