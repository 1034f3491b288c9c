"""What a finished run has to ask about: its grids, its pairs, or its single pictures."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.annotate.settings import Questions
from raypipe.config import near_miss
from raypipe.errors import UserError
from raypipe.evaluate_plan import PLANNED, make_plan
from raypipe.evaluate_settings import Evaluate
from raypipe.files import Folder
from raypipe.stages.evaluated import ReadPictures

ANY_METRIC = ({"metric": "sharpness"},)
"""A plan of jobs/evaluate.py lists a run's pictures; which metric it has does not matter."""

Row = dict[str, Any]


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
    photo_id: str
    subset: str | None

    @property
    def key(self) -> str:
        """What tells it from every other one of its run."""
        return f"{self.a.name}\n{self.b.name if self.b else ''}"


class Source:
    """The pictures of a run, listed once and read when they are drawn."""

    def __init__(self, config: Questions):
        folder = Folder(config.run)
        self._pairs = bool(folder.names("pairs"))
        if self._pairs and config.kind == "grid":
            raise UserError(f"grids come from a run of jobs/consistency.py, got {config.run}")
        if self._pairs and config.models:
            raise UserError(f"a run of face pairs has no models to choose, got {config.run}")
        where = (
            {"pairs": config.run, "splits": config.splits} if self._pairs else {"run": config.run}
        )
        self._evaluate = Evaluate.model_validate(
            {**where, "metrics": ANY_METRIC, "output": "unused"}
        )
        plan = make_plan(self._evaluate)
        self.models = config.models or plan.models
        for model in config.models:
            if model not in plan.models:
                near = near_miss(model, plan.models).replace("known keys", "its models")
                raise UserError(f"models: {config.run} has no model {model}{near}")
        usable = _usable(folder) if not self._pairs else None
        self._rows = [
            row
            for row in plan.pictures.to_pylist()
            if row["model"] in self.models and (usable is None or row["image_id"] in usable)
        ]
        self._kinds = _kinds(folder) if self._pairs else {}
        self._read = ReadPictures(self._evaluate)

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
        table = pa.Table.from_pylist(list(thing.rows), schema=PLANNED)
        images = self._read(table.select(list(self._read.reads)))["image"].to_pylist()
        return [image for image in images if image is not None]

    def _pair(self, a: Row, b: Row) -> Comparison:
        subset = self._kinds.get(a["prompt_id"], f"{a['model']} against {b['model']}")
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


def _usable(run: Folder) -> set[str]:
    """Samples of a consistency run that are no failures."""
    names: set[str] = set()
    for name in run.names("images"):
        table = pq.read_table(run.open(f"images/{name}"), columns=["sample_id", "status"])
        names |= {r["sample_id"] for r in table.to_pylist() if r["status"] == "ok"}
    return names


def _kinds(run: Folder) -> dict[str, str]:
    """What the good side of each pair has been through."""
    rows = [
        row
        for name in run.names("pairs")
        for row in pq.read_table(run.open(f"pairs/{name}"), columns=["pair_id", "kind"]).to_pylist()
    ]
    return {row["pair_id"]: row["kind"] for row in rows}
