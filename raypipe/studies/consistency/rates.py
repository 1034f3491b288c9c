"""Measured rates: how long a device is held for one picture. `--dry-run` reads them (cost.py).

    python -m raypipe rates RUN >> configs/rates.yaml

adds the rates of a finished run of jobs/consistency.py. Seconds are those for which a batch held
its actor's device; preprocessing, encoding, decoding and files overlap with it.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BeforeValidator, Field, model_validator

from raypipe.config.model import Sampler
from raypipe.config.sections import Pool
from raypipe.config.strict import Strict, load
from raypipe.console.leave import way_out
from raypipe.engine.stage import SECONDS
from raypipe.errors import UserError
from raypipe.storage.damage import reading
from raypipe.storage.parquet import ParquetFile
from raypipe.studies.consistency.embed import embedding_files
from raypipe.studies.consistency.run import Run
from raypipe.studies.consistency.settings import Consistency

MIN_BATCHES = 3
"""Full batches that a rate takes, at least: it is their median, in which an actor's first, with all
its loading, does not count."""


class Setting(Strict):
    """What a rate holds for; only settings that differ in `steps` alone are comparable."""

    step: Literal["generate", "embed"]
    model: str
    """The model's id in the config, or the encoder's name."""
    device: str
    """torch's name of the GPU, or cpu."""
    threads: int | None = Field(None, ge=1, le=10_000)
    """Of a CPU."""
    batch: int = Field(ge=1, le=65_536)
    dtype: str | None = None
    """This and what follows: of `generate` only."""
    width: int | None = Field(None, ge=1, le=8192)
    height: int | None = Field(None, ge=1, le=8192)
    scheduler: str | None = None
    guided: float | None = Field(None, ge=0, le=1)
    """Share of the steps in which guidance doubles the batch inside the network."""
    compiled: bool | None = None
    lora: bool | None = None
    offload: str | None = None
    steps: int | None = Field(None, ge=1, le=1000)

    @model_validator(mode="after")
    def _has_steps(self) -> Self:
        if (self.steps is None) != (self.step == "embed"):
            raise ValueError(f"generate must have steps and embed none, got {self.steps}")
        return self


class Rate(Setting):
    """One row of the table."""

    seconds: float = Field(gt=0, le=1e6)
    """Seconds that a device is held for each picture."""
    loading: float = Field(ge=0, le=1e6)
    """Seconds that an actor takes more, once: loading and warming up."""


class Rates(Strict):
    """The table; the later of two rows for the same setting counts."""

    dollars_per_hour: dict[str, Annotated[float, Field(ge=0, le=1e6)]] = Field(default_factory=dict)
    """By device: of one GPU, or of one core of a CPU."""
    rates: Annotated[tuple[Rate, ...], BeforeValidator(lambda rows: rows or ())] = ()
    """May be empty, for rows to be appended."""


def read_rates(config: Consistency) -> Rates:
    """The table that a config names. UserError for one that breaks a rule."""
    is_default = config.rates == Consistency.model_fields["rates"].default
    if is_default and not Path(config.rates).exists():  # the job was called from somewhere else
        return Rates()
    return load(config.rates, (), Rates)


def measure(run: Run) -> list[Rate]:
    """The rates of a finished run. UserError where it has too few batches or no times."""
    manifest = run.manifest()
    if manifest is None or manifest.get("job") != "consistency":
        raise UserError(f"rates need a finished run of jobs/consistency.py, got {run.uri}")
    with reading(run.uri, "manifest.json", "the manifest of a consistency run"):
        config = Consistency.model_validate(manifest["config"])
    batches = list(planned_batches(run))
    files = batch_files(run, config)
    timed_of = {file: _device_time(run, file) for _, id_, _ in batches for file in files(id_)}
    kinds = {device for _, device in timed_of.values() if device} - {"cpu"}
    has_gpus = config.pools.generate.gpus_per_actor or config.pools.embed.gpus_per_actor
    if len(kinds) != bool(has_gpus):
        raise UserError(
            "rates need a run whose pictures name the one kind of device, got "
            f"{', '.join(sorted(kinds)) or 'none'} in {run.uri}"
        )
    kind = next(iter(kinds), "cpu")
    found: dict[Setting, list[tuple[int, float]]] = defaultdict(list)
    for model, batch_id, n in batches:
        settings = settings_of(config, model, kind)
        for setting, file in zip(settings, files(batch_id), strict=True):
            if setting:
                found[setting].append((n, timed_of[file][0]))
    return [_rate(setting, timed) for setting, timed in found.items()]


def _device_time(run: Run, file: str) -> tuple[float, str | None]:
    """Seconds that a batch held its device, and, for pictures, which kind it was."""
    parquet = ParquetFile(run.folder, file)
    held = float((parquet.metadata.metadata or {}).get(SECONDS, 0))
    if "device" not in parquet.schema.names:
        return held, None
    return held, parquet.read(["device"])["device"][0].as_py()  # a batch is made by one actor


def _rate(setting: Setting, batches: Sequence[tuple[int, float]]) -> Rate:
    """batches: (pictures, seconds) of each."""
    full = [held / n for n, held in batches if n == setting.batch]
    if len(full) < MIN_BATCHES:
        raise UserError(
            f"a rate needs at least {MIN_BATCHES} batches of {setting.batch}, got {len(full)} of "
            f"{setting.model} ({setting.step})"
        )
    each = statistics.median(full)
    if not each:
        raise UserError(f"the run of {setting.model} keeps no times: an older raypipe made it")
    loading = max(0.0, *(held - n * each for n, held in batches))
    return Rate(**setting.model_dump(), seconds=round(each, 7), loading=round(loading, 3))


def settings_of(config: Consistency, name: str, kind: str) -> list[Setting | None]:
    """How a model's pictures are made (None where they exist), and embedded by each encoder."""
    models = {model.name: model for model in config.models if model.id}
    pool = config.pools.generate if name in models else config.pools.read
    embed = [
        Setting(
            step="embed",
            model=encoder.name,
            batch=pool.batch_size,
            **_place(config.pools.embed, kind),
        )
        for encoder in config.encoder
    ]
    if name not in models:
        return [None, *embed]
    model = models[name]
    sampler = config.sampler_of(model)
    make = Setting(
        step="generate",
        model=str(model.id),
        batch=pool.batch_size,
        **_place(pool, kind),
        dtype=model.dtype,
        width=sampler.width,
        height=sampler.height,
        scheduler=sampler.scheduler,
        guided=_guided(sampler),
        compiled=model.compile,
        lora=model.lora is not None,
        offload=model.memory.offload,
        steps=sampler.steps,
    )
    return [make, *embed]


def _guided(sampler: Sampler) -> float:
    if sampler.guidance <= 1:
        return 0.0
    low, high = sampler.guidance_interval or (0.0, 1.0)
    return high - low


def _place(pool: Pool, kind: str) -> dict[str, Any]:
    """What a pool runs on, in a run on this kind of device."""
    if pool.gpus_per_actor:
        return {"device": kind}
    return {"device": "cpu", "threads": max(1, int(pool.cpus_per_actor))}


def is_for(rate: Rate, setting: Setting) -> bool:
    """Whether a rate was measured at this setting, whatever the steps."""
    names = Setting.model_fields.keys() - {"steps"}
    return all(getattr(rate, name) == getattr(setting, name) for name in names)


def planned_batches(run: Run) -> Iterator[tuple[str, str, int]]:
    """(model, batch, samples) of a run's plan."""
    samples = run.samples().group_by(["model", "batch_id"], use_threads=False)
    counted = samples.aggregate([([], "count_all")])
    return zip(
        *(counted[name].to_pylist() for name in ("model", "batch_id", "count_all")), strict=True
    )


def batch_files(run: Run, config: Consistency) -> Callable[[str], list[str]]:
    """From a batch to its pictures' file, and those of its embeddings by encoder."""
    embeddings = embedding_files(run.folder, config.encoder)

    def files(batch_id: str) -> list[str]:
        made = [embeddings.of(encoder.name, batch_id) for encoder in config.encoder]
        return [f"images/{batch_id}.parquet", *made]

    return files


def main(arguments: Sequence[str]) -> None:
    """The command `raypipe rates RUN`: prints rows for a file of rates."""
    with way_out():
        if len(arguments) != 1:
            raise UserError(f"usage: raypipe rates RUN, got {len(arguments)} arguments")
        for rate in measure(Run(arguments[0])):
            row = rate.model_dump(exclude_none=True)
            flow = yaml.safe_dump(row, sort_keys=False, default_flow_style=True, width=math.inf)
            print(f"  - {flow.strip()}")
