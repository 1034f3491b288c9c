"""The answers of a study as tables and counts."""

from typing import Any

import pyarrow as pa
from pyarrow import csv

from raypipe.inputs.answers import choices_table, defused
from raypipe.storage import schema
from raypipe.storage.provenance import provenance
from raypipe.studies.annotate.run import ANSWERS, PACKAGES, AnswerRun
from raypipe.studies.annotate.settings import Annotate
from raypipe.studies.annotate.store import read_rows
from raypipe.studies.annotate.study import Study


def export(run: AnswerRun, study: Study) -> dict[str, int]:
    """Write the answers as tables; returns counts of questions, annotators and answers.

    `answers.parquet` and `.csv` hold everything (schema.ANSWERS), `choices.parquet` and `.csv` the
    comparisons as jobs/align.py reads them (schema.CHOICES): no checks, no repeats, no ratings. In
    the .csv a quote stands before what a spreadsheet would take for a formula.
    """
    people, rows = read_rows(run.path / ANSWERS)
    answers = answers_table(rows, study.questions)
    choices = choices_table(answers)
    for name, table in (("answers", answers), ("choices", choices)):
        run.write_table(f"{name}.parquet", table)
        sink = pa.BufferOutputStream()
        csv.write_csv(defused(table), sink)
        run.folder.write(f"{name}.csv", sink.getvalue())
    asked = len(study.questions)
    mine = answers["annotator"].to_pylist()
    whole = sum(mine.count(person["name"]) == asked for person in people)
    return {
        "questions": asked,
        "annotators": len(people),
        "annotators_with_all_answers": whole,
        "answers": len(answers),
    }


def manifest(config: Annotate, counts: dict[str, int]) -> dict[str, Any]:
    """Where the answers come from."""
    return {
        **provenance("annotate", PACKAGES),
        "inputs": [config.run],
        "counts": counts,
    }


def answers_table(rows: list[dict[str, Any]], questions: dict[str, dict[str, Any]]) -> pa.Table:
    """Stored answers with what they are about (schema.ANSWERS)."""
    records = []
    for row in rows:
        about = questions[row["question_id"]]
        about = {k: about[k] for k in schema.ANSWERS.names if k in about}
        at = row.pop("answered_at")
        records.append({**about, **row, "swapped": bool(row["swapped"]), "answered_at": at})
    return pa.Table.from_pylist(records, schema=schema.ANSWERS)
