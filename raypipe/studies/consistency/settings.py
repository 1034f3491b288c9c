"""The config of the consistency job.

Everything that changes a picture or a number has a key; resources are keys too, and are never
detected. `raypipe.config.strict` reads files and overrides.
"""

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from raypipe.config.inputs import Images, as_folder
from raypipe.config.model import Model, Sampler
from raypipe.config.networks import Encoder
from raypipe.config.paths import ListPath
from raypipe.config.sections import Pool, Statistics, Storage
from raypipe.config.strict import JobConfig, Strict, as_list
from raypipe.config.values import Seed
from raypipe.config.zoo import fill_sampler, keys_set

Count = Annotated[int, Field(ge=0, le=100_000)]


class Pools(Strict):
    """Resources of each stage."""

    encode: Pool | None = None
    """Encodes all text before any picture is made, so that no generator loads a text encoder (for
    PixArt's T5, above all); None: generators encode. Changes no picture."""
    generate: Pool = Pool()
    read: Pool = Pool(batch_size=64)
    """Reads pictures that exist."""
    embed: Pool = Pool()


class Report(Strict):
    """What the page shows."""

    prompts: int = Field(24, ge=0, le=10_000)
    """Prompts shown with their pictures: the most different ones at both ends."""
    thumbnail: int = Field(160, ge=16, le=2048)
    """Longest side of a picture on the page, pixels."""


class Consistency(JobConfig):
    """jobs/consistency.py: which model is more consistent?"""

    extendable = frozenset({"models", "prompts", "seeds", "comparisons", "encoder"})
    free = JobConfig.free | {"prompt_column", "rates"}
    lists = ("prompts", "seeds")

    models: tuple[Model, ...] = ()
    """Empty with `images`: all models that are found there."""
    images: Annotated[Images | None, BeforeValidator(as_folder)] = None
    """Pictures that exist, for the models without an id; a bare path is a folder."""
    prompts: ListPath | tuple[str, ...] | None = None
    """File (.txt, .csv, .jsonl, .parquet) or list; None with `images`: those found there."""
    prompt_column: str = "prompt"
    """Column of a .csv, .jsonl or .parquet file."""
    seeds: Count | tuple[Seed, ...] | ListPath | None = None
    """A count (0, 1, ...), a list, or a file of one a line; None with `images`: those found."""
    sampler: Sampler = Sampler()
    encoder: Annotated[tuple[Encoder, ...], BeforeValidator(as_list), Field(min_length=1)] = (
        Encoder(),
    )
    """One, or a list; the verdicts are the first one's."""
    comparisons: tuple[tuple[str, str], ...] | None = None
    """Pairs of model names; None for all pairs."""
    storage: Storage = Storage()
    statistics: Statistics = Statistics()
    pools: Pools = Pools()
    report: Report = Report()
    rates: ListPath = Field("configs/rates.yaml", validate_default=True)
    """Measured rates (`raypipe rates RUN`), from which --dry-run estimates the cost of a run."""

    @model_validator(mode="before")
    @classmethod
    def _samplers_from_zoo(cls, value: Any) -> Any:
        """The run's `sampler` wins over a zoo model's own."""
        if not isinstance(value, dict) or not isinstance(value.get("models"), list | tuple):
            return value
        set_by_run = keys_set(value.get("sampler"))
        models = [
            fill_sampler(model, set_by_run) if isinstance(model, dict) else model
            for model in value["models"]
        ]
        return {**value, "models": models}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [model.name for model in self.models]
        encoders = [encoder.name for encoder in self.encoder]
        for what, given in (("model names", names), ("encoders", encoders)):
            twice = sorted({name for name in given if given.count(name) > 1})
            if twice:
                raise ValueError(f"{what} must differ, given twice: {', '.join(twice)}")
        if not self.models and self.images is None:
            raise ValueError("models must name at least one model, or images must be given")
        without = [model.name for model in self.models if model.id is None]
        if without and self.images is None:
            raise ValueError(f"a model needs an id, or images must be given: {', '.join(without)}")
        absent = [key for key in ("prompts", "seeds") if getattr(self, key) in (None, "", ())]
        if absent and any(model.id for model in self.models):
            raise ValueError(f"models that generate need {' and '.join(absent)}, got none")
        offloaded = [m.name for m in self.models if m.memory.offload != "none"]
        if offloaded and not self.pools.generate.gpus_per_actor:
            raise ValueError(
                f"memory.offload needs a GPU (pools.generate.gpus_per_actor), got none for "
                f"{', '.join(offloaded)}"
            )
        for model in self.models:
            self.sampler_of(model)  # keys of a model may not go with those of the run
        for pair in self.comparisons or ():
            unknown = [name for name in pair if self.models and name not in names]
            if unknown or pair[0] == pair[1]:
                raise ValueError(f"comparisons must pair two models of {names}, got {list(pair)}")
        self._check_pairs()
        return self

    def _check_pairs(self) -> None:
        """ValueError for a pair that is there twice: every test is corrected for their number."""
        seen: set[frozenset[str]] = set()
        for pair in self.comparisons or ():
            if frozenset(pair) in seen:
                raise ValueError(f"comparisons must differ, given twice: {' and '.join(pair)}")
            seen.add(frozenset(pair))

    def sampler_of(self, model: Model) -> Sampler:
        """The run's sampler with the model's own keys over it."""
        return Sampler.model_validate({**self.sampler.model_dump(), **model.sampler})
