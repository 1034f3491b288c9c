"""What can be asked about a finished run: its grids, pairs, or single pictures."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from raypipe.config.strict import near_miss
from raypipe.errors import UserError
from raypipe.inputs.finished import finished
from raypipe.inputs.runs import PairPictures, Pictures, Row, RunPictures, read_usable
from raypipe.storage import schema
from raypipe.studies.questions.settings import Questions


@dataclass(frozen=True)
class Thing:
    """One side of a question."""

    name: str
    """MODEL/PROMPT_ID for a grid, else the picture's id in jobs/evaluate.py."""
    rows: tuple[Row, ...]
    """Its pictures, of the run's plan."""


@dataclass(frozen=True)
class Comparison:
    """Two things to be compared, or one to be rated."""

    a: Thing
    b: Thing | None
    prompt: str | None
    cluster: str
    """What the answers depend on: the source photo, else the prompt."""
    subset: str | None

    @property
    def key(self) -> str:
        """An identifier within its run."""
        return f"{self.a.name}\n{self.b.name if self.b else ''}"

    def turned(self, seed: int) -> "Comparison":
        """The same, or with a and b exchanged: a fair coin of the seed and the key."""
        coin = hashlib.sha256(f"{seed}\n{self.key}".encode()).digest()[0] % 2
        return self if self.b is None or coin else replace(self, a=self.b, b=self.a)

    @property
    def things(self) -> tuple[Thing, ...]:
        """What is shown: one or two."""
        return (self.a,) if self.b is None else (self.a, self.b)


class Source:
    """The pictures of a run, listed once and read when they are drawn."""

    def __init__(self, config: Questions):
        job = finished(config.run, ("consistency", "face_pairs")).job
        self._is_pairs = job == "face_pairs"
        if self._is_pairs and config.kind == "grid":
            raise UserError(f"grids come from a run of jobs/consistency.py, got {config.run}")
        if self._is_pairs and config.models:
            raise UserError(f"a run of face pairs has no models to choose, got {config.run}")
        self._pictures: Pictures = RunPictures(config.run)
        if self._is_pairs:
            self._pictures = PairPictures(config.run, config.splits, "run")
        rows = list(self._pictures.rows())
        known = tuple(dict.fromkeys(row["model"] for row in rows))
        self.models = config.models or known
        for model in config.models:
            if model not in known:
                near = near_miss(model, known).replace("known keys", "its models")
                raise UserError(f"models: {config.run} has no model {model}{near}")
        self._rows = [
            row
            for row in rows
            if row["model"] in self.models and row.get("status", schema.OK) == schema.OK
        ]

    def comparisons(self, config: Questions) -> Iterator[Comparison]:
        """All that can be asked, in the order of the run."""
        if config.kind == "rate":
            for row in self._rows:
                yield self._comparison(Thing(row["image_id"], (row,)), None, row["model"])
        elif config.kind == "pair":
            for rows in _groups(self._rows, "prompt_id", "seed"):
                for a, b in combinations(rows, 2):
                    yield self._pair(a, b)
        else:
            for rows in _groups(self._rows, "prompt_id"):
                yield from self._grids(rows, config.images)

    def read(self, thing: Thing) -> list[bytes]:
        """Its pictures, encoded. Those that cannot be opened are left out."""
        return [data for data in read_usable(self._pictures, thing.rows) if data is not None]

    def _pair(self, a: Row, b: Row) -> Comparison:
        subset = a.get("kind") or f"{a['model']} against {b['model']}"
        things = [Thing(row["image_id"], (row,)) for row in (a, b)]
        return self._comparison(things[0], things[1], subset)

    def _grids(self, rows: list[Row], images: int) -> Iterator[Comparison]:
        """A prompt's grids, of the seeds that both models of a pair have."""
        by_model: dict[str, dict[int, Row]] = defaultdict(dict)
        for row in rows:
            by_model[row["model"]][row["seed"]] = row
        for a, b in combinations([m for m in self.models if m in by_model], 2):
            seeds = [s for s in by_model[a] if s in by_model[b]][:images]
            if len(seeds) < 2:
                continue
            things = [
                Thing(f"{m}/{rows[0]['prompt_id']}", tuple(by_model[m][s] for s in seeds))
                for m in (a, b)
            ]
            yield self._comparison(things[0], things[1], f"{a} against {b}")

    def _comparison(self, a: Thing, b: Thing | None, subset: str | None) -> Comparison:
        row = a.rows[0]
        return Comparison(a, b, row["prompt"], row["photo_id"], subset)


def _groups(rows: list[Row], *keys: str) -> Iterator[list[Row]]:
    """Rows that share the keys, in the order in which each key was met."""
    found: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        found[tuple(row[key] for key in keys)].append(row)
    yield from found.values()
