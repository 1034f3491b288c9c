"""The consistency study between its recipe (jobs/consistency.py) and its parts."""

from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from raypipe import schema
from raypipe.core.bootstrap import crossed_bootstrap
from raypipe.core.consistency import convergence
from raypipe.core.power import power_table
from raypipe.core.split_half import split_half
from raypipe.plan import Plan
from raypipe.provenance import provenance
from raypipe.report.evidence import Missing, Pair
from raypipe.report.pictures import Thumbnail, Thumbnails, make_thumbnail
from raypipe.report.results import build_results
from raypipe.run import Run
from raypipe.settings import Consistency, Model
from raypipe.stages.score import ModelScores, Survey, score_model

TOO_MANY = Missing("there are too many prompts to keep every pair score")
NO_COMPLETE = Missing("no prompt has an image for every seed in all models")
PACKAGES = ("ray", "torch", "diffusers", "transformers", "open_clip_torch", "numpy", "scipy")


def evaluate(
    run: Run, config: Consistency, plan: Plan, samples: pa.Table, known: Survey
) -> tuple[dict[str, Any], pa.Table]:
    """Scores of every model under every encoder, and what they say: (results, scores)."""
    names = [model.name for model in plan.models]
    rows: list[dict[str, object]] = []
    main: dict[str, ModelScores] = {}
    for encoder in config.encoder:
        for name in names:
            scored = score_model(run, samples, name, encoder, known)
            rows += scored.rows
            if encoder is config.encoder[0]:
                main[name] = scored
    scores = pa.Table.from_pylist(rows, schema=schema.SCORES)
    settings = config.statistics
    results = build_results(
        scores,
        encoder=config.encoder[0].name,
        models=names,
        pairs=[_pair(a, b, main[a], main[b], config) for a, b in plan.comparisons],
        convergence={name: _convergence(main[name]) for name in names},
        a_a={name: _split_half(main[name], config) for name in names},
        quarantined=known.quarantined,
        truncated=known.truncated,
        devices=known.devices,
        alpha=settings.alpha,
        resamples=settings.resamples,
        seed=settings.seed,
    )
    results["notes"] = [*plan.warnings, *results["notes"]]
    return results, scores


def manifest(
    config: Consistency, plan: Plan, known: Survey, samples: pa.Table, wall_seconds: float
) -> dict[str, Any]:
    """Where the numbers come from."""
    quarantined = sum(known.quarantined.values())
    return {
        **provenance("consistency", config, PACKAGES),
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
        "wall_seconds": wall_seconds,
        "device_seconds": known.device_seconds,
    }


def _pair(a: str, b: str, of_a: ModelScores, of_b: ModelScores, config: Consistency) -> Pair:
    """The prompts that both models have a score for; one side's failed seeds are out of both."""
    scored_b = {row["prompt_id"]: row for row in of_b.rows if row["scs"] is not None}
    both = [
        (row, scored_b[row["prompt_id"]])
        for row in of_a.rows
        if row["scs"] is not None and row["prompt_id"] in scored_b
    ]
    crossed = power = None
    if of_a.pairs_PM is None or of_b.pairs_PM is None:
        crossed = power = _why_no_pairs(of_a if of_a.pairs_PM is None else of_b)
    else:
        assert of_a.complete == of_b.complete
        difference_PM = of_a.pairs_PM.astype(np.float64) - of_b.pairs_PM
        settings = config.statistics
        crossed = crossed_bootstrap(
            difference_PM,
            seed=settings.seed,
            resamples=min(settings.resamples, 1999),
            confidence=1 - settings.alpha,
        )
        power = power_table(difference_PM, alpha=settings.alpha)
    return Pair(
        a=a,
        b=b,
        prompt_ids=[str(row["prompt_id"]) for row, _ in both],
        scs_a=np.array([row["scs"] for row, _ in both], dtype=np.float64),
        scs_b=np.array([row["scs"] for _, row in both], dtype=np.float64),
        n_images=np.array([row["n_images"] for row, _ in both], dtype=np.int64),
        left_out_prompts=len(of_a.rows) - len(both),
        crossed=crossed,
        power=power,
    )


def _why_no_pairs(scores: ModelScores) -> Missing:
    return TOO_MANY if scores.too_many else NO_COMPLETE


def _convergence(scores: ModelScores) -> Any:
    return _why_no_pairs(scores) if scores.pairs_PM is None else convergence(scores.pairs_PM)


def _split_half(scores: ModelScores, config: Consistency) -> Any:
    if scores.pairs_PM is None:
        return _why_no_pairs(scores)
    try:
        return split_half(
            scores.pairs_PM, seed=config.statistics.seed, alpha=config.statistics.alpha
        )
    except ValueError as error:
        return Missing(str(error))


def describe(config: Consistency, plan: Plan, n_new: int) -> str:
    """What a run would do, for --dry-run."""
    size = sum(
        _bytes_of(config, model) * len(plan.prompts) * len(plan.seeds) for model in plan.models
    )
    lines = [
        f"{len(plan.prompts):,} prompts × {len(plan.seeds):,} seeds × {len(plan.models)} models "
        f"= {plan.n_samples:,} images, {n_new:,} of them new to {config.output}",
        f"about {size / 2**30:.2f} GiB of pictures",
    ]
    for model in plan.models:
        if model.id is None:
            lines.append(f"  {model.name}: pictures that exist")
            continue
        sampler = config.sampler_of(model)
        lora = f" + {model.lora.id} × {model.lora.scale:g}" if model.lora else ""
        lines.append(
            f"  {model.name}: {model.id}{lora}, {sampler.scheduler or 'own scheduler'}, "
            f"{sampler.steps} steps, guidance {sampler.guidance:g}, "
            f"{sampler.width}×{sampler.height}, {model.dtype}"
        )
    for name, pool in config.pools:
        if pool is None:
            continue
        lines.append(
            f"  pool {name}: {pool.min} to {pool.max} actors of {pool.gpus_per_actor:g} GPU and "
            f"{pool.cpus_per_actor:g} CPU, batches of {pool.batch_size}"
        )
    lines += [f"  compared: {a} with {b}" for a, b in plan.comparisons]
    return "\n".join(lines)


def thumbnails(run: Run, config: Consistency, samples: pa.Table) -> Thumbnails:
    """Reads the pictures of one prompt and model back from the run, small."""

    @lru_cache(maxsize=8)
    def batch(batch_id: str) -> dict[str, dict[str, Any]]:
        table = pq.read_table(
            run.folder.open(f"images/{batch_id}.parquet"),
            columns=["sample_id", "seed", "image", "status", "reason"],
        )
        return {row["sample_id"]: row for row in table.to_pylist()}

    def read(model: str, prompt_id: str) -> list[Thumbnail]:
        asked = (pads.field("model") == model) & (pads.field("prompt_id") == prompt_id)
        rows = samples.filter(asked).select(["batch_id", "sample_id"]).to_pylist()
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


def _bytes_of(config: Consistency, model: Model) -> float:
    """Bytes of one stored picture, as a rule of thumb: 1.6 a pixel lossless, 0.4 as JPEG."""
    if model.id is None:
        return 0.0
    sampler = config.sampler_of(model)
    return sampler.width * sampler.height * (0.4 if config.storage.format == "jpeg" else 1.6)
