"""What people chose between two pictures: read from any layout, checked, and counted per pair.

Our own layout is a table with the columns of `raypipe.storage.schema.CHOICES` (docs/metrics.md).
`read_choices` gives one row per answer, `decide` one row per pair of pictures.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from raypipe.errors import UserError
from raypipe.inputs.answers import restored
from raypipe.inputs.rows import rows_of
from raypipe.storage import schema
from raypipe.studies.align.layouts import LAYOUTS, layout_of

NAMED = 5
"""Examples of each problem that are kept by name."""

SIDES = {"left": "right", "right": "left", "tie": "tie"}
"""Each choice, and the same with the pictures swapped."""

OPTIONAL = ("annotator", "prompt", "photo_id", "subset")

PROBLEMS = {
    "unknown_image": "answers with an image that is not there",
    "same_image": "answers that compare an image with itself",
    "both_ways": "answers of annotators who answered one pair differently",
    "repeated": "answers given twice",
}
"""Why an answer is left out."""


@dataclass(frozen=True)
class Decided:
    """One row per pair of pictures, and what was left out on the way."""

    pairs: pa.Table
    """Columns of `raypipe.storage.schema.DECIDED`; left_id < right_id."""
    answers: int
    """Rows that were read."""
    left_out: dict[str, int]
    """Answers by reason: the keys of PROBLEMS."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """A few of them by name."""

    @property
    def ties(self) -> int:
        """Pairs on which people are undecided; no metric can agree with those."""
        return self.pairs["choice"].to_pylist().count("tie")


def read_choices(uri: str, layout: str = "auto") -> pa.Table:
    """Answers in a .parquet, .csv, .json or .jsonl file, as `raypipe.storage.schema.CHOICES`.

    `layout` is raypipe, imagereward, hpd, or auto, which goes by the columns. UserError for a file
    that cannot be read, missing columns, an empty file, and choices other than left, right and tie.
    """
    rows = rows_of(uri, "file of choices")
    if not rows:
        raise UserError(f"a file of choices must hold at least one, got none: {uri}")
    name = layout_of(rows[0]) if layout == "auto" else layout
    if name not in LAYOUTS and name != "raypipe":
        raise UserError(
            f"a layout of choices must be auto, raypipe, {', '.join(LAYOUTS)}, got {layout}"
        )
    if name == "raypipe":
        if uri.lower().endswith(".csv"):
            rows = [{key: restored(text or "") for key, text in row.items()} for row in rows]
        return pa.Table.from_pylist(list(_own(rows, uri)), schema=schema.CHOICES)
    return pa.Table.from_pylist(list(LAYOUTS[name](rows, uri)), schema=schema.CHOICES)


def decide(answers: pa.Table, known: Collection[str] | None = None) -> Decided:
    """The majority's choice on every pair of pictures.

    known: ids of the pictures that there are (None: all). Left out, counted and named are answers
    about unknown pictures, about a picture and itself, an annotator's second and further equal
    answers, and *all* answers of an annotator on a pair that he or she answered differently: it is
    unknown which one was meant. Answers without an annotator are taken as different people's.

    A pair is two pictures and a prompt, whichever was left. The side with more votes is the
    choice; equal votes, and votes for a tie alone, are a tie. `photo_id` names the cluster of a
    pair: where it is not given, the prompt; where there is none, the pair itself.

    UserError where nothing is left, where all pairs are ties, and where a pair has two photos or
    subsets.
    """
    left_out: dict[str, list[str]] = {problem: [] for problem in PROBLEMS}
    by_pair: dict[tuple, list[dict]] = defaultdict(list)
    for row in answers.to_pylist():
        problem = _problem(row, known)
        if problem is not None:
            left_out[problem[0]].append(problem[1])
            continue
        row = _ordered(row)
        by_pair[row["left_id"], row["right_id"], row["prompt"]].append(row)
    pairs = []
    for rows in by_pair.values():
        kept = _one_answer_each(rows, left_out)
        if kept:
            pairs.append(_majority(kept))
    counts = {problem: len(names) for problem, names in left_out.items()}
    examples = {
        problem: list(dict.fromkeys(names))[:NAMED] for problem, names in left_out.items() if names
    }
    _check(pairs, counts, examples)
    table = pa.Table.from_pylist(pairs, schema=schema.DECIDED)
    return Decided(table, len(answers), counts, examples)


def _own(rows: list[dict[str, Any]], uri: str) -> Iterable[dict[str, Any]]:
    """Rows of our own layout, checked."""
    needed = ["left_id", "right_id", "choice"]
    for number, row in enumerate(rows, 1):
        absent = [name for name in needed if row.get(name) in (None, "")]
        if absent:
            raise UserError(
                f"choices need columns {', '.join(needed)}; row {number} has no "
                f"{', '.join(absent)}: {uri}: it has {', '.join(row)}"
            )
        if row["choice"] not in SIDES:
            raise UserError(
                f"a choice must be left, right or tie, got {row['choice']!r:.40} in row {number}: "
                f"{uri}"
            )
        ids = {name: str(row[name]) for name in ("left_id", "right_id")}
        rest = {name: None if row.get(name) in (None, "") else str(row[name]) for name in OPTIONAL}
        yield {**ids, "choice": row["choice"], **rest}


def _problem(row: dict[str, Any], known: Collection[str] | None) -> tuple[str, str] | None:
    """Why an answer cannot count by itself, and what to name; None for one that can."""
    if known is not None:
        for name in (row["left_id"], row["right_id"]):
            if name not in known:
                return "unknown_image", name
    if row["left_id"] == row["right_id"]:
        return "same_image", row["left_id"]
    return None


def _ordered(row: dict[str, Any]) -> dict[str, Any]:
    """The row with the smaller id on the left."""
    if row["left_id"] < row["right_id"]:
        return row
    swapped = {"left_id": row["right_id"], "right_id": row["left_id"]}
    return {**row, **swapped, "choice": SIDES[row["choice"]]}


def _one_answer_each(
    rows: list[dict[str, Any]], left_out: dict[str, list[str]]
) -> list[dict[str, Any]]:
    """The answers on one pair, one of each annotator; contradictory ones are left out."""
    kept = [row for row in rows if row["annotator"] is None]
    by_person: dict[str, list[dict]] = defaultdict(list)
    for row in rows:
        if row["annotator"] is not None:
            by_person[row["annotator"]].append(row)
    for person, own in by_person.items():
        name = f"{person} on {own[0]['left_id']} and {own[0]['right_id']}"
        if len({row["choice"] for row in own}) > 1:
            left_out["both_ways"] += [name] * len(own)
        else:
            kept.append(own[0])
            left_out["repeated"] += [name] * (len(own) - 1)
    return kept


def _majority(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One row for a pair, of the answers that count."""
    first = rows[0]
    pair = f"{first['left_id']} and {first['right_id']}"
    votes = Counter(row["choice"] for row in rows)
    side = votes["left"] - votes["right"]
    decided = {name: first[name] for name in ("left_id", "right_id", "prompt")}
    for name in ("photo_id", "subset"):
        values = {row[name] for row in rows if row[name] is not None}
        if len(values) > 1:
            raise UserError(f"a pair must have one {name}, got {sorted(values)} for {pair}")
        decided[name] = values.pop() if values else None
    if decided["photo_id"] is None:
        prompt = first["prompt"]
        decided["photo_id"] = f"pair: {pair}" if prompt is None else f"prompt: {prompt}"
    decided["choice"] = "left" if side > 0 else "right" if side < 0 else "tie"
    return {**decided, **{f"votes_{choice}": votes[choice] for choice in SIDES}}


def _check(
    pairs: list[dict[str, Any]], counts: dict[str, int], examples: dict[str, list[str]]
) -> None:
    """UserError where no metric could be judged."""
    listed = "; ".join(
        f"{counts[problem]} {PROBLEMS[problem]} ({', '.join(names)})"
        for problem, names in examples.items()
    )
    if not pairs:
        raise UserError(f"no choice is left to judge metrics by: {listed or 'there was none'}")
    if all(pair["choice"] == "tie" for pair in pairs):
        raise UserError(
            f"all {len(pairs)} pairs are ties, by which no metric can be judged"
            + (f" (left out: {listed})" if listed else "")
        )
