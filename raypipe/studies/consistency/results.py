"""results.json, scores.parquet and the manifest of the consistency job, from its scores."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raypipe.core.consistency import ConvergencePoint
from raypipe.core.split_half import SplitHalf
from raypipe.core.statistics import Comparison, adjust, compare, describe, rank_agreement
from raypipe.storage import schema
from raypipe.storage.provenance import provenance
from raypipe.storage.schema import SCHEMA_VERSION
from raypipe.studies.consistency.embed import embedding_files
from raypipe.studies.consistency.evidence import (
    NOT_COMPUTED,
    Missing,
    Pair,
    convergence_of,
    curve_record,
    difference_record,
    estimate_record,
    pair_of,
    power_record,
    range_record,
    split_half_of,
    split_half_record,
)
from raypipe.studies.consistency.notes import notes
from raypipe.studies.consistency.plan import Plan
from raypipe.studies.consistency.run import Run
from raypipe.studies.consistency.scores import ModelScores, Survey, score_model
from raypipe.studies.consistency.settings import Consistency

EXTREMES = 50
"""Prompts named at each end of a comparison; with at most twice as many, all are named."""

MAX_SORTED = 401
"""Differences kept for the paired plot, at evenly spaced ranks; with fewer prompts, all."""


def build_results(
    scores: pa.Table,
    *,
    encoder: str,
    models: Sequence[str],
    pairs: Sequence[Pair] = (),
    convergence: Mapping[str, Sequence[ConvergencePoint] | Missing] | None = None,
    a_a: Mapping[str, SplitHalf | Missing] | None = None,
    quarantined: Mapping[str, int] | None = None,
    truncated: Mapping[str, int] | None = None,
    devices: Mapping[str, Sequence[str]] | None = None,
    alpha: float = 0.05,
    resamples: int = 9999,
    seed: int = 0,
) -> dict[str, Any]:
    """Turn scores and evidence into the content of results.json.

    scores: raypipe.storage.schema.SCORES, rows in any order. encoder: the one of the
    verdicts; other encoders in `scores` only give their rank agreement with it. models: names, in
    the order of the report. pairs: one per comparison; Holm's correction runs over all of them.
    convergence, a_a: by model. quarantined: samples by reason. truncated: by model, samples whose
    prompt was longer than a text encoder reads. devices: by model, the kinds that made its images.
    resamples, seed: of the bootstrap.
    """
    scores = scores.sort_by([("prompt_id", "ascending")])
    main = scores.filter(pc.field("encoder") == encoder)
    prompts = dict(zip(main["prompt_id"].to_pylist(), main["prompt"].to_pylist(), strict=True))
    draws = {"seed": seed, "resamples": resamples}
    curves, checks = convergence or {}, a_a or {}
    pairs = [pair.in_order() for pair in pairs]
    compared = _compare(pairs, **draws)
    results: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "alpha": alpha,
        "encoder": encoder,
        "models": [_model(main, name, confidence=1 - alpha, **draws) for name in models],
        "comparisons": [_comparison(p, c, prompts) for p, c in zip(pairs, compared, strict=True)],
        "convergence": [curve_record(name, curves.get(name, NOT_COMPUTED)) for name in models],
        "a_a": [split_half_record(name, checks.get(name, NOT_COMPUTED)) for name in models],
        "encoder_agreement": _agreement(scores, encoder, models),
        "quarantined": dict(sorted((quarantined or {}).items())),
    }
    results["notes"] = notes(results, truncated or {}, devices or {})
    return results


def _model(scores: pa.Table, name: str, **description: Any) -> dict[str, Any]:
    own = scores.filter(pc.field("model") == name)
    scored = own.filter(pc.field("scs").is_valid())
    clip = own["clip_score"].drop_null().to_numpy()
    record: dict[str, Any] = {
        "name": name,
        "n_prompts": scored.num_rows,
        "n_images": pc.sum(scored["n_images"]).as_py() or 0,
        "images_per_prompt": range_record(scored["n_images"].to_numpy()),
        "prompts_without_score": own.num_rows - scored.num_rows,
    }
    if scored.num_rows:
        summary = asdict(describe(scored["scs"].to_numpy(), **description))
        summary.pop("n")
    else:
        reason = "no prompt has two usable images"
        empty = ("mean", "median", "sd", "min", "max")
        summary = dict.fromkeys(empty) | {"reasons": dict.fromkeys(empty, reason)}
        summary["mean_interval"] = estimate_record(Missing(reason))
    record |= summary
    record["clip_score"] = float(clip.mean()) if len(clip) else None
    if not len(clip):
        record["reasons"]["clip_score"] = "the encoder reads no text, or there are no images"
    return record


def _compare(pairs: Sequence[Pair], *, seed: int, resamples: int) -> list[Comparison | None]:
    """Compare each pair and adjust over all; None for a pair without a prompt in common."""
    made = [
        compare(p.scs_a, p.scs_b, p.difference, a=p.a, b=p.b, seed=seed, resamples=resamples)
        for p in pairs
        if len(p.prompt_ids)
    ]
    adjusted = iter(adjust(made) if made else [])
    return [next(adjusted) if len(pair.prompt_ids) else None for pair in pairs]


def _comparison(pair: Pair, made: Comparison | None, prompts: dict[str, str]) -> dict[str, Any]:
    difference = pair.scs_a - pair.scs_b
    record = _no_prompts(pair) if made is None else asdict(made)
    record.pop("difference", None)
    ranks = np.linspace(0, len(difference) - 1, min(len(difference), MAX_SORTED)).round()
    return (
        difference_record(pair.difference)
        | record
        | {
            "power": power_record(pair.power),
            "images_per_prompt": range_record(pair.n_images),
            "left_out_prompts": pair.left_out_prompts,
            "sorted_differences": np.sort(difference)[ranks.astype(int)].tolist(),
            "prompts": _extremes(pair, difference, prompts),
        }
    )


def _no_prompts(pair: Pair) -> dict[str, Any]:
    """The record of two models that share no scored prompt: every statistic null."""
    reason = "no prompt has two usable images in both models"
    estimate = estimate_record(Missing(reason))
    test = _no_test(reason)
    return {
        "a": pair.a,
        "b": pair.b,
        "n": 0,
        "summary_a": None,
        "summary_b": None,
        "p_adjusted": None,
        "mean_over_prompts": estimate,
        "wilcoxon": test,
        "ks_2samp": test,
        "hodges_lehmann": estimate,
        "rank_biserial": None,
        "normality": {"paper_a": test, "paper_b": test, "differences": test},
        "verdict": "too_few_prompts",
        "verdict_reason": reason,
        "reasons": {"rank_biserial": reason, "summary_a": reason, "summary_b": reason},
    }


def _no_test(reason: str) -> dict[str, Any]:
    return {"statistic": None, "p_value": None, "method": None, "reason": reason}


def _extremes(
    pair: Pair, difference: NDArray[np.float64], prompts: dict[str, str]
) -> list[dict[str, Any]]:
    """Prompts by falling difference: all of them, or the most different ones at both ends."""
    order = np.argsort(-difference, kind="stable").tolist()
    if len(order) > 2 * EXTREMES:
        order = order[:EXTREMES] + order[-EXTREMES:]
    return [
        {
            "prompt_id": pair.prompt_ids[index],
            "prompt": prompts.get(pair.prompt_ids[index], ""),
            "difference": float(difference[index]),
            "scs_a": float(pair.scs_a[index]),
            "scs_b": float(pair.scs_b[index]),
            "n_images": int(pair.n_images[index]),
        }
        for index in order
    ]


def _agreement(scores: pa.Table, encoder: str, models: Sequence[str]) -> list[dict[str, Any]]:
    """Rank agreement of every other encoder's scores with those of the run's first encoder."""
    others = [name for name in pc.unique(scores["encoder"]).to_pylist() if name != encoder]
    records = []
    for model in models:
        own = scores.filter((pc.field("model") == model) & pc.field("scs").is_valid())
        first, *rest = (_by_prompt(own, name) for name in [encoder, *sorted(others)])
        for name, other in zip(sorted(others), rest, strict=True):
            both = [prompt for prompt in first if prompt in other]
            record = {"model": model, "encoder": name, "mean": None}
            if both:
                x, y = [first[p] for p in both], [other[p] for p in both]
                record |= {"mean": float(np.mean(y))} | asdict(rank_agreement(x, y))
            else:
                test = _no_test("no prompt has a score under both encoders")
                record |= {"n": 0, "spearman": test, "kendall": test}
            records.append(record)
    return records


def _by_prompt(scores: pa.Table, encoder: str) -> dict[str, float]:
    own = scores.filter(pc.field("encoder") == encoder)
    return dict(zip(own["prompt_id"].to_pylist(), own["scs"].to_pylist(), strict=True))


PACKAGES = ("ray", "torch", "diffusers", "transformers", "open_clip_torch", "numpy", "scipy")


def evaluate(
    run: Run, config: Consistency, plan: Plan, samples: pa.Table, known: Survey
) -> tuple[dict[str, Any], pa.Table]:
    """(results, scores): the content of results.json, and every model's scores by encoder."""
    names = [model.name for model in plan.models]
    rows: list[dict[str, object]] = []
    main: dict[str, ModelScores] = {}
    files = embedding_files(run.folder, config.encoder)
    for encoder in config.encoder:
        for name in names:
            scored = score_model(run, samples, name, encoder, known, files)
            rows += scored.rows
            if encoder is config.encoder[0]:
                main[name] = scored
    scores = pa.Table.from_pylist(rows, schema=schema.SCORES)
    settings = config.statistics
    results = build_results(
        scores,
        encoder=config.encoder[0].name,
        models=names,
        pairs=[pair_of(a, b, main[a], main[b], settings) for a, b in plan.comparisons],
        convergence={name: convergence_of(main[name]) for name in names},
        a_a={name: split_half_of(main[name], settings) for name in names},
        quarantined=known.quarantined,
        truncated=known.truncated,
        devices=known.devices,
        alpha=settings.alpha,
        resamples=settings.resamples,
        seed=settings.seed,
    )
    results["notes"] = [*plan.warnings, *results["notes"]]
    return results, scores


def manifest(config: Consistency, plan: Plan, known: Survey, samples: pa.Table) -> dict[str, Any]:
    quarantined = sum(known.quarantined.values())
    return {
        **provenance("consistency", PACKAGES),
        "models": [
            {"name": m.name, "id": m.id, "revision": m.revision, **plan.identities[m.name]}
            for m in plan.models
        ],
        "encoders": [{"name": name, **identity} for name, identity in plan.encoders.items()],
        "inputs": [config.images.model_dump(mode="json")] if config.images else [],
        "counts": {
            "requested": len(samples),
            "made": len(samples) - quarantined,
            "quarantined": quarantined,
        },
        "device_seconds": known.device_seconds,
    }
