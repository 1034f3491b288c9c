"""results.json and the manifest of jobs/face_ablation.py.

Several LoRAs of each variant, of different training seeds, and the base make the same pictures;
each metric of them is paired by prompt. A prompt's change is the mean over pictures and trainings,
so that prompts, which are what the interval is over, count once.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from raypipe.core.changes import Change, Picture, adjust_changes, change_record, paired_change
from raypipe.inputs.finished import finished
from raypipe.storage import schema
from raypipe.storage.provenance import provenance
from raypipe.studies.face_ablation.plan import BASE, SETS_OF_PROMPTS, Plan
from raypipe.studies.face_ablation.settings import FaceAblation

PACKAGES = ("ray", "torch", "diffusers", "transformers", "peft", "numpy", "scipy")


Scores = dict[str, dict[Picture, float]]
"""By model: (prompt, training seed/picture seed) to a number."""


def results(config: FaceAblation, plan: Plan) -> dict[str, Any]:
    """results.json, from the finished runs."""
    changes: list[tuple[str, Change]] = []
    kept: list[dict[str, Any]] = []
    by_seed: list[dict[str, Any]] = []
    for name in SETS_OF_PROMPTS:
        for metric, (scores, up) in _measured(plan, name).items():
            compare = partial(_change, config, metric=metric, higher_is_better=up)
            pooled = {BASE: _pooled(scores, [BASE] * config.training_seeds)}
            for variant in config.variants:
                loras = [t.name for t in plan.trainings if t.variant == variant]
                pooled[variant] = _pooled(scores, loras)
                change = compare(pooled, (variant, BASE))
                changes.append((name, change))
                if name == "general":
                    kept.append(_kept(change, _spread(scores[BASE]), config.margin, up))
                for seed, lora in enumerate(loras):
                    of_one = compare(scores, (lora, BASE)).mean.value
                    record = {"set": name, "variant": variant, "metric": metric, "seed": seed}
                    by_seed.append({**record, "mean_change": of_one})
            if name == "faces" and config.against is not None:
                others = [variant for variant in config.variants if variant != config.against]
                changes += [(name, compare(pooled, (v, config.against))) for v in others]
    adjusted = adjust_changes([change for _, change in changes])
    return {
        "schema_version": schema.SCHEMA_VERSION,
        "alpha": config.statistics.alpha,
        "baseline": BASE,
        "against": config.against,
        "variants": {name: list(changed) for name, changed in config.variants.items()},
        "training_seeds": config.training_seeds,
        "margin": config.margin,
        "comparisons": [
            {"set": name} | change_record(change)
            for (name, _), change in zip(changes, adjusted, strict=True)
        ],
        "kept": kept,
        "by_seed": by_seed,
    }


def _measured(plan: Plan, name: str) -> dict[str, tuple[Scores, bool]]:
    """Each metric's scores by model, and whether more is better."""
    evaluate = plan.scores[name]
    table = finished(evaluate.output, "evaluate").table("scores.parquet", schema.TABLE)
    measured: dict[str, tuple[Scores, bool]] = {}
    for metric in evaluate.metrics:
        if metric.reads == "set":
            continue
        scores: Scores = {}
        names = ("model", "prompt_id", "seed", metric.label)
        for model, prompt, seed, score in zip(*(table[n].to_pylist() for n in names), strict=True):
            if score is not None:
                scores.setdefault(model, {})[prompt, str(seed)] = score
        measured[metric.label] = scores, metric.higher_is_better
    return measured


def _pooled(scores: Scores, models: Sequence[str]) -> dict[Picture, float]:
    """The pictures of several models as one's, each beside the base's of the same number."""
    return {
        (prompt, f"{number}/{picture}"): score
        for number, model in enumerate(models)
        for (prompt, picture), score in scores.get(model, {}).items()
    }


def _change(
    config: FaceAblation,
    scores: Mapping[str, Mapping[Picture, float]],
    names: tuple[str, str],
    *,
    metric: str,
    higher_is_better: bool,
) -> Change:
    return paired_change(
        scores.get(names[0], {}),
        scores.get(names[1], {}),
        names=names,
        metric=metric,
        higher_is_better=higher_is_better,
        **config.statistics.bootstrap,
    )


def _spread(scores: Mapping[Picture, float]) -> float:
    """Standard deviation of a model's scores of its prompts."""
    by_prompt: dict[str, list[float]] = {}
    for (prompt, _), score in scores.items():
        by_prompt.setdefault(prompt, []).append(score)
    return float(np.std([np.mean(values) for values in by_prompt.values()], ddof=1))


def _kept(change: Change, spread: float, margin: float, up: bool) -> dict[str, Any]:
    """Whether the interval of a change excludes a loss beyond the margin."""
    limit = margin * spread
    worst = change.mean.low if up else change.mean.high
    is_kept = None if worst is None else (worst > -limit if up else worst < limit)
    return {
        "variant": change.variant,
        "metric": change.metric,
        "sd_of_prompts": spread,
        "largest_loss": limit,
        "kept": is_kept,
    }


def manifest(config: FaceAblation, plan: Plan) -> dict[str, Any]:
    runs = [t.config.output for t in plan.trainings]
    runs += [tree.output for trees in (plan.pictures, plan.scores) for tree in trees.values()]
    return {**provenance("face_ablation", PACKAGES), "runs": runs}
