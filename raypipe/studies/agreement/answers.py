"""Reads the answers of a study: annotators who count, their votes, and the questions' source."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from raypipe.errors import UserError
from raypipe.inputs.answers import VOTES
from raypipe.inputs.finished import finished
from raypipe.storage import schema
from raypipe.storage.files import Folder
from raypipe.studies.agreement.settings import Agreement

RIGHT = {"a": ("a",), "b": ("b",), "1": ("1", "2")}
"""Answers that pass a check, by what it expects."""


@dataclass(frozen=True)
class Answered:
    """The answers of a study, and what they are about."""

    kind: str
    source: str
    """The run that the questions were made from."""
    questions: Folder
    made: Mapping[str, Any]
    """The config that the questions were made by."""
    table: pa.Table
    """Answers (schema.ANSWERS) of those who count."""
    excluded: dict[str, str]
    """Annotators who are left out, and why."""
    items: list[dict[str, Any]]
    """Rows of schema.QUESTIONS of role `question`, in a fixed order."""
    annotators: list[str]
    """Those who count."""
    votes_AM: np.ndarray
    """Their first answers, one row per annotator and one column per item; NaN where missing."""


def read(config: Agreement) -> Answered:
    """The answers of a finished run of jobs/annotate.py. UserError for anything else."""
    answers = finished(config.run, "annotate")
    made = answers.setting("run")
    asked = finished(made, "questions", f"the questions of {config.run}")
    everybody = answers.table("answers.parquet", schema.ANSWERS)
    questions = asked.table("questions.parquet", schema.QUESTIONS).to_pylist()
    if not questions:
        raise UserError(f"there must be questions that were answered, got none: {made}")
    if not len(everybody):
        raise UserError(f"there must be answers to judge by, got none: {config.run}")
    rows = everybody.to_pylist()
    excluded = _excluded(rows, config.failed_checks)
    names = sorted({row["annotator"] for row in rows} - excluded.keys())
    if not names:
        reasons = "; ".join(f"{name} {why}" for name, why in excluded.items())
        raise UserError(f"no annotator is left to judge by: {reasons}")
    items = sorted(
        (row for row in questions if row["role"] == "question"),
        key=lambda row: (row["subset"] or "", row["prompt"] or "", row["a_id"], row["b_id"] or ""),
    )
    kept = pa.Table.from_pylist(
        [row for row in rows if row["annotator"] not in excluded], schema=schema.ANSWERS
    )
    return Answered(
        kind=questions[0]["kind"],
        source=asked.setting("run"),
        questions=asked.folder,
        made=asked.config,
        table=kept,
        excluded=excluded,
        items=items,
        annotators=names,
        votes_AM=votes_of(kept.to_pylist(), names, [item["question_id"] for item in items]),
    )


def votes_of(rows: list[dict[str, Any]], names: list[str], questions: list[str]) -> np.ndarray:
    """Answers as a table of annotators and questions, NaN where there is none."""
    people = {name: i for i, name in enumerate(names)}
    places = {question: i for i, question in enumerate(questions)}
    votes_AM = np.full((len(names), len(questions)), np.nan)
    for row in rows:
        at = places.get(row["question_id"])
        if at is not None:
            votes_AM[people[row["annotator"]], at] = VOTES[row["choice"]]
    return votes_AM


def checks_of(rows: list[dict[str, Any]]) -> tuple[int, int]:
    """(right, all) checks among an annotator's answers."""
    checks = [row for row in rows if row["role"] == "check"]
    return sum(row["choice"] in RIGHT[row["expected"]] for row in checks), len(checks)


def _excluded(rows: list[dict[str, Any]], most: float) -> dict[str, str]:
    """Annotators who failed too many checks."""
    by_person: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_person.setdefault(row["annotator"], []).append(row)
    found = {}
    for name, own in sorted(by_person.items()):
        right, n = checks_of(own)
        if n and (n - right) / n > most:
            found[name] = f"failed {n - right} of {n} checks"
    return found
