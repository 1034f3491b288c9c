"""Makes the questions of a finished run, and their pictures, under opaque names."""

import hmac
import random
import secrets
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

import pyarrow as pa
from PIL import Image

from raypipe.errors import UserError
from raypipe.storage import schema
from raypipe.storage.provenance import provenance
from raypipe.studies.questions import draw
from raypipe.studies.questions.plan import Plan
from raypipe.studies.questions.run import QuestionRun
from raypipe.studies.questions.settings import Questions
from raypipe.studies.questions.sources import Comparison, Source, Thing

PACKAGES = ("numpy", "pyarrow", "pillow")

LOWEST = "1"
"""The rating that a scrambled picture is expected to get, or one more."""


def make(run: QuestionRun, config: Questions, source: Source, plan: Plan) -> pa.Table:
    """Draw every picture and write the table of questions (schema.QUESTIONS), which is returned."""
    secret = secrets.token_bytes(32)
    run.forget_previous()
    run.folder.delete_folder("pictures")  # of an interrupted start, under another secret
    maker = _Maker(run, config, source, secret)
    rows = [maker.question(comparison) for comparison in plan.comparisons]
    for index in plan.repeats:
        row = rows[index]
        name = maker.name("repeat", row["question_id"])
        rows.append({**row, "question_id": name, "role": "repeat", "repeat_of": row["question_id"]})
    rows += [maker.check(plan, number) for number in range(len(plan.checks))]
    rng = random.Random(secret)
    rng.shuffle(rows)  # so that the order of the table reveals nothing either
    table = pa.Table.from_pylist(rows, schema=schema.QUESTIONS)
    run.write_table("questions.parquet", table)
    return table


def manifest(config: Questions, table: pa.Table) -> dict[str, Any]:
    """Where the questions come from."""
    roles = table["role"].to_pylist()
    return {
        **provenance("questions", PACKAGES),
        "inputs": [config.run],
        "counts": {role: roles.count(role) for role in sorted(set(roles))},
    }


class _Maker:
    """Draws pictures and names them."""

    def __init__(self, run: QuestionRun, config: Questions, source: Source, secret: bytes):
        self._run, self._config, self._source, self._secret = run, config, source, secret
        self._written: set[str] = set()

    def name(self, *words: str) -> str:
        """An opaque name: a keyed hash, which hides its words."""
        return hmac.new(self._secret, "\0".join(words).encode(), sha256).hexdigest()[:24]

    def question(self, comparison: Comparison) -> dict[str, Any]:
        """One row of the table, its pictures drawn. Which thing is a is drawn, too."""
        turned = comparison.turned(self._config.seed)
        names = [*self._draw(turned.things), None]
        return self._row(
            self.name("question", comparison.key),
            turned,
            a_id=turned.a.name,
            b_id=turned.b.name if turned.b else None,
            a_picture=names[0],
            b_picture=names[1],
        )

    def check(self, plan: Plan, number: int) -> dict[str, Any]:
        """A question with an obvious answer; number 0 is the example of the instructions."""
        comparison = plan.comparisons[plan.checks[number]]
        images, size = self._source.read(comparison.a), self._config.size
        key = f"{number}/{comparison.key}"
        if self._config.kind == "grid":
            others = self._of_other_prompts(plan, number)
            good, bad = draw.grids([[images[0]] * len(others), others], size)
        else:
            good = draw.singles(images[:1], size)[0]
            bad = draw.scrambled(images[0], size, number)
        name, role = self.name("check", key), "check" if number else "example"
        if self._config.kind == "rate":
            shown: dict[str, Any] = {"expected": LOWEST, "a_picture": self._keep(f"bad/{key}", bad)}
        else:
            sides = [self._keep(f"good/{key}", good), self._keep(f"bad/{key}", bad)]
            expected = random.Random(f"{self._config.seed}/side of {number}").choice("ab")
            if expected == "b":
                sides.reverse()
            shown = {"expected": expected, "a_picture": sides[0], "b_picture": sides[1]}
            shown["b_id"] = "check/b"
        return self._row(name, comparison, role=role, a_id="check/a", **shown)

    def _row(self, name: str, comparison: Comparison, **columns: Any) -> dict[str, Any]:
        row: dict[str, Any] = {"question_id": name, "kind": self._config.kind, "role": "question"}
        row |= {"prompt": comparison.prompt, "photo_id": comparison.cluster}
        return {**row, "subset": comparison.subset, **columns}

    def _of_other_prompts(self, plan: Plan, number: int) -> list[bytes]:
        """A picture each of several prompts, as many as a grid has or nearly so."""
        own = plan.comparisons[plan.checks[number]]
        one_each = {c.cluster: c.a for c in plan.comparisons}
        others = list(one_each.values())
        random.Random(f"{self._config.seed}/{number}").shuffle(others)
        images = (self._source.read(Thing("", thing.rows[:1])) for thing in others)
        return [image for found in _take(images, max(2, len(own.a.rows))) for image in found]

    def _draw(self, things: Sequence[Thing]) -> list[str]:
        """Draw the things of one question, alike in size; names of their pictures."""
        sides = [self._source.read(thing) for thing in things]
        for thing, images in zip(things, sides, strict=True):
            if len(images) < len(thing.rows):
                raise UserError(f"a picture of {thing.name} cannot be opened: {self._config.run}")
        if self._config.kind == "grid":
            drawn = draw.grids(sides, self._config.size)
        else:
            drawn = draw.singles([images[0] for images in sides], self._config.size)
        return [
            self._keep(f"thing/{thing.name}", picture)
            for thing, picture in zip(things, drawn, strict=True)
        ]

    def _keep(self, key: str, picture: Image.Image) -> str:
        """Write a picture once; returns its name."""
        name = self.name("picture", key, sha256(picture.tobytes()).hexdigest())
        if name not in self._written:
            self._run.folder.write(f"pictures/{name}.webp", draw.encode(picture))
            self._written.add(name)
        return name


def _take(items: Iterator[list[bytes]], n: int) -> Sequence[list[bytes]]:
    return [item for item, _ in zip(items, range(n), strict=False)]
