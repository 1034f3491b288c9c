"""The face ablation between its recipe (jobs/face_ablation.py) and its parts.

Several LoRAs of each variant, of different training seeds, and the base make the same pictures;
each metric of them is paired by prompt. A prompt's change is the mean over pictures and trainings,
so that prompts, which are what the interval is over, count once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pyarrow.parquet as pq
from pydantic import ValidationError

from raypipe import schema
from raypipe.ablation_settings import FaceAblation, Question
from raypipe.config import load
from raypipe.core.changes import Change, Picture, adjust_changes, paired_change
from raypipe.errors import UserError
from raypipe.evaluate_results import change_record
from raypipe.evaluate_settings import SETS, Evaluate
from raypipe.files import Folder
from raypipe.lora_settings import FaceLora
from raypipe.metrics.registry import facts_of
from raypipe.provenance import provenance
from raypipe.settings import Consistency

BASE = "base"
SETS_OF_PROMPTS = ("faces", "general")
PACKAGES = ("ray", "torch", "diffusers", "transformers", "peft", "numpy", "scipy")

J = TypeVar("J", Consistency, Evaluate)

Scores = dict[str, dict[Picture, float]]
"""By model: (prompt, training seed/picture seed) to a number."""


@dataclass(frozen=True)
class Training:
    """One LoRA of the ablation."""

    variant: str
    seed: int
    config: FaceLora

    @property
    def name(self) -> str:
        """Its model's name in the pictures' runs."""
        return f"{self.variant}-{self.seed}"


@dataclass(frozen=True)
class Plan:
    """Every job of an ablation, each with a finished config."""

    trainings: tuple[Training, ...]
    pictures: dict[str, Consistency]
    scores: dict[str, Evaluate]
    """Both by set of prompts."""


def make_plan(config: FaceAblation) -> Plan:
    """Resolve a config into those of its jobs; UserError for what one of them would refuse."""
    for name in config.variants:
        if not name.isidentifier() or name == BASE:
            raise UserError(
                f"a variant's name must be letters, digits and underscores, and not {BASE}, "
                f"got {name}"
            )
    if "://" in config.output:
        raise UserError(
            "the output of an ablation must be a path that every node can read, since models take "
            f"their LoRA from one, got {config.output}"
        )
    if config.against is not None and config.against not in config.variants:
        raise UserError(
            f"against must be one of the variants {', '.join(config.variants)}, "
            f"got {config.against}"
        )
    trainings: list[Training] = []
    encoded: dict[bool, str] = {}
    for variant, changed in config.variants.items():
        for seed in range(config.training_seeds):
            output = f"{Folder(config.output).uri}/loras/{variant}-{seed}"
            overrides = [*changed, f"training.seed={seed}", f"output={output}"]
            train = load(config.train, overrides, FaceLora)
            first = encoded.setdefault(train.keeps, output)  # general pictures or none
            if first != output:
                train = train.model_copy(update={"encoded": first})
            trainings.append(Training(variant, seed, train))
    base = trainings[0].config.model.model_dump(mode="json") | {"name": BASE}
    if any(t.config.model != trainings[0].config.model for t in trainings):
        raise UserError("every variant must train the same base, but they change it")
    models = [base] + [
        base | {"name": t.name, "lora": {"id": f"{t.config.output}/lora.safetensors"}}
        for t in trainings
    ]
    pictures, scores = {}, {}
    for name in SETS_OF_PROMPTS:
        question: Question = getattr(config, name)
        pictures[name] = _validated(Consistency, _pictures(config, question, models, name))
        scores[name] = _validated(Evaluate, _scores(config, question, name))
    return Plan(tuple(trainings), pictures, scores)


def _pictures(
    config: FaceAblation, question: Question, models: list[dict[str, Any]], name: str
) -> dict[str, Any]:
    pools = config.pools.model_dump(mode="json")
    return {
        "models": models,
        "prompts": question.prompts,
        "seeds": question.seeds,
        "sampler": config.sampler.model_dump(mode="json", exclude_unset=True),
        "encoder": config.encoder.model_dump(mode="json"),
        "comparisons": [(model["name"], BASE) for model in models[1:]],
        "statistics": config.statistics.model_dump(mode="json"),
        "pools": {key: pools[key] for key in ("generate", "embed")},
        "output": f"{config.output}/{name}/pictures",
    }


def _scores(config: FaceAblation, question: Question, name: str) -> dict[str, Any]:
    return {
        "run": f"{config.output}/{name}/pictures",
        "metrics": [metric.model_dump(mode="json") for metric in question.metrics],
        "baseline": BASE,
        "statistics": config.statistics.model_dump(mode="json"),
        "pools": {
            "read": config.pools.read.model_dump(mode="json"),
            "score": config.pools.score.model_dump(mode="json", exclude={"batch_size"}),
        },
        "output": f"{config.output}/{name}/scores",
    }


def _validated(kind: type[J], tree: dict[str, Any]) -> J:
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(f"{key}: {first['msg']}") from None


def results(config: FaceAblation, plan: Plan) -> dict[str, Any]:
    """What the finished runs say: results.json."""
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
    table = pq.read_table(Folder(evaluate.output).open("scores.parquet"))
    told: dict[str, tuple[Scores, bool]] = {}
    for metric in evaluate.metrics:
        if metric.metric in SETS:
            continue
        scores: Scores = {}
        names = ("model", "prompt_id", "seed", metric.label)
        for model, prompt, seed, score in zip(*(table[n].to_pylist() for n in names), strict=True):
            if score is not None:
                scores.setdefault(model, {})[prompt, str(seed)] = score
        told[metric.label] = scores, facts_of(metric).higher_is_better
    return told


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
        seed=config.statistics.seed,
        resamples=config.statistics.resamples,
        confidence=1 - config.statistics.alpha,
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


def manifest(config: FaceAblation, plan: Plan, wall_seconds: float) -> dict[str, Any]:
    """Where the numbers come from."""
    runs = [t.config.output for t in plan.trainings]
    runs += [tree.output for trees in (plan.pictures, plan.scores) for tree in trees.values()]
    return {
        **provenance("face_ablation", config, PACKAGES),
        "runs": runs,
        "wall_seconds": wall_seconds,
    }
