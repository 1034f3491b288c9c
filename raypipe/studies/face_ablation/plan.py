"""The jobs that an ablation consists of, each with its config."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raypipe.config.paths import base_of, find_config
from raypipe.config.strict import JobConfig, load, validate
from raypipe.core.ids import content_hash
from raypipe.errors import UserError
from raypipe.storage.files import Folder
from raypipe.studies.face_ablation.settings import FaceAblation, Question

BASE = "base"

SETS_OF_PROMPTS = ("faces", "general")


@dataclass(frozen=True)
class Training:
    """One LoRA of the ablation."""

    variant: str
    seed: int
    config: Any
    """Of jobs/face_lora.py."""

    @property
    def name(self) -> str:
        """Its model's name in the pictures' runs."""
        return f"{self.variant}-{self.seed}"


@dataclass(frozen=True)
class Plan:
    """Every job of an ablation, each with a finished config."""

    trainings: tuple[Training, ...]
    pictures: dict[str, Any]
    """Configs of jobs/consistency.py, by set of prompts."""
    scores: dict[str, Any]
    """Configs of jobs/evaluate.py, by set of prompts."""


def make_plan(config: FaceAblation, settings: Mapping[str, type[JobConfig]]) -> Plan:
    """Resolve a config into those of its jobs; UserError for a setting that one of them refuses.

    settings: of the jobs `face_lora`, `consistency` and `evaluate`.
    """
    for name in config.variants:
        if not name.isidentifier() or name == BASE:
            raise UserError(
                f"a variant's name must be letters, digits and underscores, and not {BASE}, "
                f"got {name}"
            )
    names: dict[str, str] = {}
    for name in config.variants:  # each is the name of a folder, on any file system
        if (other := names.setdefault(name.lower(), name)) != name:
            raise UserError(f"variants must differ in more than case, got {other} and {name}")
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
    source = find_config("face_lora", config.train)
    trainings: list[Training] = []
    encoded: dict[bool, str] = {}
    for variant, changed in config.variants.items():
        for seed in range(config.training_seeds):
            output = f"{Folder(config.output).uri}/loras/{variant}-{seed}"
            overrides = [*changed, f"training.seed={seed}", f"output={output}"]
            try:
                train: Any = load(source, overrides, settings["face_lora"], base_of(source))
            except UserError as error:
                raise UserError(f"variants.{variant}: {error}") from None
            first = encoded.setdefault(train.keeps, output)  # general pictures or none
            if first != output:
                train = train.model_copy(update={"encoded": first})
            trainings.append(Training(variant, seed, train))
    _check_distinct(trainings)
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
        pictures[name] = validate(
            settings["consistency"], _pictures(config, question, models, name), f"{name} (pictures)"
        )
        scores[name] = validate(
            settings["evaluate"], _scores(config, question, name), f"{name} (scores)"
        )
    return Plan(tuple(trainings), pictures, scores)


def _check_distinct(trainings: Sequence[Training]) -> None:
    """UserError for two variants that train the same LoRA: a forgotten change."""
    seen: dict[str, str] = {}
    for training in trainings:
        kept = training.config.model_dump(mode="json", exclude={"output", "encoded"})
        twin = seen.setdefault(content_hash(kept), training.variant)
        if twin != training.variant:
            raise UserError(
                f"variants must differ in what they train, but {twin} and {training.variant} do not"
            )


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
