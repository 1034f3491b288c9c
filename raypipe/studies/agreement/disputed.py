"""Questions on the page of jobs/agreement.py: pictures, votes and scores side by side."""

from typing import Any

import pyarrow as pa

from raypipe.report.sheet import Strip
from raypipe.report.thumbnail import make_thumbnail
from raypipe.report.words import count, number
from raypipe.studies.agreement.answers import Answered
from raypipe.studies.agreement.settings import Agreement

SIDE = 320
"""Longest side of a picture on the page, pixels."""


def strips(config: Agreement, answered: Answered, decisions: pa.Table) -> list[Strip]:
    """Questions with their pictures, votes and scores side by side: the most disputed ones first.

    Disputed is where the smaller camp is largest; ratings come by falling mean.
    """
    names = [name.removesuffix(".a") for name in decisions.column_names if name.endswith(".a")]
    rows = [row for row in decisions.to_pylist() if row["answers"]]
    pictures = {item["question_id"]: item for item in answered.items}
    if answered.kind == "rate":
        rows.sort(key=lambda row: -row["mean_rating"])
    else:
        rows.sort(key=lambda row: -min(row["votes_a"], row["votes_b"]) / row["answers"])
    found = []
    for row in rows[: config.shown]:
        item, shown = pictures[row["question_id"]], []
        for side in ("a", "b"):
            if item[f"{side}_picture"] is None:
                continue
            data = answered.questions.read(f"pictures/{item[f'{side}_picture']}.webp")
            assert data is not None, "a finished run has its pictures"
            shown.append((make_thumbnail(data, SIDE), _caption(row, side, names, answered.kind)))
        found.append(Strip(row["prompt"] or row["question_id"], shown, large=True))
    return found


def _caption(row: dict[str, Any], side: str, names: list[str], kind: str) -> str:
    """`SDXL: 3 votes, SCS 71.2`, below a picture."""
    before, _, after = str(row[f"{side}_id"]).rpartition("/")  # MODEL/PROMPT_ID or PAIR/SIDE
    model = before if kind == "grid" else after
    votes = (
        count(row[f"votes_{side}"], "vote")
        if f"votes_{side}" in row
        else f"mean rating {number(row['mean_rating'])}"
    )
    known = [(name, row[f"{name}.{side}"]) for name in names]
    scores = [f"{name} {number(value)}" for name, value in known if value is not None]
    return f"{model}: {', '.join([votes, *scores])}"
