"""What a run will cost, from measured rates. A setting that was not measured has no estimate."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from raypipe.studies.consistency.rates import (
    Rate,
    Rates,
    Setting,
    batch_files,
    is_for,
    planned_batches,
    settings_of,
)
from raypipe.studies.consistency.run import Run
from raypipe.studies.consistency.settings import Consistency

Missing = Mapping[str, tuple[int, int]]
"""By model, pictures that are to be made, and to be embedded."""


@dataclass
class Estimate:
    """The time of a run on one kind of device."""

    device: str
    held_s: Counter[str] = field(default_factory=Counter)
    """Seconds by step, of all its actors together."""
    wall_s: float = 0.0
    """Seconds of the slowest step with every pool at its largest, since the steps overlap."""
    unknown: list[str] = field(default_factory=list)
    """Settings without a rate."""
    notes: list[str] = field(default_factory=list)


def missing(run: Run, config: Consistency, new: pa.Table) -> Missing:
    """The missing work of a run, planned before or new (schema.PLANNED), in whole batches."""
    folders = ("images", "embeddings")
    there = {f"{folder}/{name}" for folder in folders for name in run.folder.names(folder)}
    files = batch_files(run, config)
    counts = new["model"].value_counts().to_pylist()
    made: Counter[str] = Counter({one["values"]: one["counts"] for one in counts})
    embedded = Counter(made)
    for model, batch_id, n in planned_batches(run):
        image, *embeddings = files(batch_id)
        if image not in there:
            made[model] += n
        if not there.issuperset([image, *embeddings]):
            embedded[model] += n
    return {model: (made[model], n) for model, n in embedded.items()}


def estimate(config: Consistency, rates: Rates, left: Missing, device: str) -> Estimate:
    """The time of the missing work on this kind of device."""
    todo: Counter[Setting] = Counter()
    for model, (n_made, n_embedded) in left.items():
        make, *embed = settings_of(config, model, device)
        counts = [n_made, *[n_embedded] * len(embed)]
        for setting, n in zip([make, *embed], counts, strict=True):
            if setting is not None and n:
                todo[setting] += n
    found = Estimate(device)
    wall_s: Counter[str] = Counter()
    for setting, n in todo.items():
        rows = {rate.steps: rate for rate in rates.rates if is_for(rate, setting)}
        if not rows:
            found.unknown.append(f"{setting.model} ({setting.step})")
            continue
        if len(rows) == 1 and setting.steps not in rows:
            found.notes.append(f"{setting.model}: scaled from {next(iter(rows))} steps")
        each, loading = seconds(list(rows.values()), setting.steps)
        batches = math.ceil(n / setting.batch)
        actors = min(getattr(config.pools, setting.step).max, batches)
        of_one = min(n, math.ceil(batches / actors) * setting.batch)
        found.held_s[setting.step] += n * each + actors * loading
        wall_s["" if setting.step == "generate" else setting.model] += of_one * each + loading
    found.wall_s = max(wall_s.values(), default=0.0)
    if config.pools.encode is not None:
        found.notes.append("texts that are encoded apart are not counted")
    return found


def seconds(rows: Sequence[Rate], steps: int | None) -> tuple[float, float]:
    """(seconds a picture, seconds of loading) at `steps`, from rows that differ in their steps.

    As measured at these steps; else on the line through the rows, or, from a single one, in
    proportion to the steps. Loading is the longest one measured, since a model that is
    not its actor's first finds the libraries loaded.
    """
    loading = max(row.loading for row in rows)
    for row in rows:
        if row.steps == steps:
            return row.seconds, loading
    measured = np.array([row.steps for row in rows], dtype=float)
    values = np.array([row.seconds for row in rows])
    if len(rows) == 1:
        return float(values[0] / measured[0] * steps), loading
    slope, fixed = np.polyfit(measured, values, 1)
    return max(float(fixed + slope * steps), 0.0), loading


def describe(config: Consistency, rates: Rates, left: Missing) -> str:
    """Device-hours, time and dollars, for --dry-run, on each kind of device that has the rates."""
    devices = ["cpu"]
    if config.pools.generate.gpus_per_actor or config.pools.embed.gpus_per_actor:
        devices = sorted({rate.device for rate in rates.rates} - {"cpu"}) or ["a GPU"]
    found = [estimate(config, rates, left, device) for device in devices]
    known = [_in_words(config, rates, one) for one in found if not one.unknown]
    if known:
        return "\n".join(known)
    unknown = min((one.unknown for one in found), key=len)
    return (
        f"cost: not known, {config.rates} has no rate at these settings for {', '.join(unknown)}; "
        f"finish a small run of them, then: python -m raypipe rates RUN >> {config.rates}"
    )


def _in_words(config: Consistency, rates: Rates, found: Estimate) -> str:
    steps = ", ".join(f"{step} {_hours(held)}" for step, held in found.held_s.items())
    line = (
        f"cost on {found.device}: {_hours(found.held_s.total())} device-hours"
        f"{f' ({steps})' if steps else ''}, "
        f"{_hours(found.wall_s)} hours with every pool at its largest"
    )
    price = rates.dollars_per_hour.get(found.device)
    if price is not None:
        n = _devices(config, found.device)
        dollars = found.wall_s / 3600 * n * price
        line += f", {dollars:,.2f} dollars for {n} at {price:g} an hour"
    return "\n  ".join([line, *found.notes])


def _devices(config: Consistency, kind: str) -> int:
    """GPUs, or cores of a CPU, that the pools hold at their largest."""
    pools = [config.pools.generate, *[config.pools.embed] * len(config.encoder)]
    held = [p.max * (p.cpus_per_actor if kind == "cpu" else p.gpus_per_actor) for p in pools]
    return math.ceil(round(sum(held), 6))


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.2f}" if hours >= 1 else f"{hours:.2g}"
