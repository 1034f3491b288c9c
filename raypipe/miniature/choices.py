"""The miniature judge in place of people: which of two miniature faces is better?

    python -m raypipe.miniature.choices RUN OUT.parquet [noise=0.05] [seed=0] [splits=[test]]

RUN is a finished run of jobs/face_pairs.py, whose good and bad pictures are compared, or of
jobs/consistency.py, where pictures of one portrait prompt and seed are compared across models. The
answers (raypipe.storage.schema.CHOICES) name pictures as jobs/evaluate.py does. Nothing is trained
here, and no metric is used: see `raypipe.miniature.face_judge`.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pydantic import Field, ValidationError

from raypipe.config.sections import SPLITS
from raypipe.config.strict import Strict
from raypipe.errors import UserError
from raypipe.inputs.codec import decode
from raypipe.inputs.finished import finished
from raypipe.inputs.runs import PairPictures, Pictures, Row, RunPictures, read_usable
from raypipe.storage import schema
from raypipe.storage.files import Folder

from .face_judge import judged

NAME = "the miniature judge"
"""The annotator."""

PORTRAITS = {"portrait", "person", "woman", "man"}
"""Words of which a portrait's prompt has one."""


class Settings(Strict):
    """What may be set on the command line."""

    noise: float = Field(0.05, ge=0, le=0.5)
    """Chance that an answer is reversed."""
    seed: int = 0
    """Of the noise, and of which picture is left."""
    splits: tuple[str, ...] = ("test",)
    """Of a pair run."""


@dataclass(frozen=True)
class Shown:
    """Two pictures to be compared."""

    ids: tuple[str, str]
    pictures: tuple[bytes, bytes]
    cluster: str
    prompt: str | None
    subset: str | None


def answers(shown: Iterator[Shown], noise: float, seed: int) -> pa.Table:
    """One answer on each pair (schema.CHOICES); pictures that the judge scores alike are a tie."""
    rng = np.random.default_rng(seed)
    rows = []
    for pair in shown:
        scores = [
            judged(decode(data), f"{name}: the judge")
            for data, name in zip(pair.pictures, pair.ids, strict=True)
        ]
        swapped, wrong = bool(rng.random() < 0.5), bool(rng.random() < noise)
        first_is_better = (scores[0] > scores[1]) != wrong
        choice = "left" if first_is_better != swapped else "right"
        left, right = reversed(pair.ids) if swapped else pair.ids
        rows.append(
            {
                "left_id": left,
                "right_id": right,
                "choice": "tie" if scores[0] == scores[1] else choice,
                "annotator": NAME,
                "prompt": pair.prompt,
                "photo_id": pair.cluster,
                "subset": pair.subset,
            }
        )
    return pa.Table.from_pylist(rows, schema=schema.CHOICES)


def pairs_to_show(uri: str, splits: tuple[str, ...]) -> Iterator[Shown]:
    """The pairs of a run, by the pictures that jobs/evaluate.py scores. Raises UserError."""
    job = finished(uri, ("consistency", "face_pairs")).job
    unknown = set(splits) - set(SPLITS)
    if unknown:
        raise UserError(f"splits must be of {', '.join(SPLITS)}, got {', '.join(sorted(unknown))}")
    source: Pictures = PairPictures(uri, splits) if job == "face_pairs" else RunPictures(uri)
    groups: dict[tuple[str, int | None], list[Row]] = {}
    for row in source.rows():
        groups.setdefault((row["prompt_id"], row["seed"]), []).append(row)
    for rows in groups.values():
        if job == "consistency" and not PORTRAITS & set((rows[0]["prompt"] or "").split()):
            continue
        images = read_usable(source, rows)
        for i, j in combinations([i for i, image in enumerate(images) if image is not None], 2):
            yield Shown(
                (rows[i]["image_id"], rows[j]["image_id"]),
                (images[i], images[j]),
                rows[i]["photo_id"],
                rows[i]["prompt"],
                rows[i].get("kind"),
            )


def _settings(overrides: list[str]) -> Settings:
    tree = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise UserError(f"a setting must look like noise=0.05, got {override!r}")
        tree[key] = yaml.safe_load(text)
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(f"{key}: {first['msg']}, got {first['input']!r}") from None


def main() -> None:
    """Write the file of answers; exit status 2 for a user's mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m raypipe.miniature.choices", description=__doc__
    )
    parser.add_argument("run", help="a finished run of jobs/face_pairs.py or jobs/consistency.py")
    parser.add_argument("out", help="the .parquet file to write")
    parser.add_argument("settings", nargs="*", metavar="a=b", help="noise, seed, splits")
    arguments = parser.parse_args()
    try:
        settings = _settings(arguments.settings)
        table = answers(
            pairs_to_show(arguments.run, settings.splits), settings.noise, settings.seed
        )
        if not len(table):
            raise UserError(f"there must be pairs to judge, got none: {arguments.run}")
        folder, _, name = arguments.out.rpartition("/")
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        Folder(folder or ".").write(name, sink.getvalue())
    except UserError as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
    print(f"{len(table):,} answers")
    print(arguments.out)


if __name__ == "__main__":
    main()
