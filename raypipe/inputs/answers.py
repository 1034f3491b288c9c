"""People's answers: their stored values, and the same as numbers and as choices.

A stored answer is `a`, `b` or `tie` for a comparison of two things, `none` or a number from 1 to 5
for a rating. On the screen and in files of choices it is the left or the right one of them.
"""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.storage import schema

VOTES = {"a": 1.0, "b": -1.0, "tie": 0.0, "none": np.nan, **{str(n): float(n) for n in range(1, 6)}}
"""Each answer as a number, in the terms of raypipe.core.agreement."""

SIGNS = {"left": 1, "right": -1}
"""Each decided choice of a file as a number; a tie has none."""


def choices_table(answers: pa.Table) -> pa.Table:
    """First answers to comparisons, as they were shown on the screen (schema.CHOICES)."""
    rows = []
    for row in answers.to_pylist():
        if row["role"] != "question" or row["b_id"] is None:
            continue
        sides = (row["b_id"], row["a_id"]) if row["swapped"] else (row["a_id"], row["b_id"])
        first = "b" if row["swapped"] else "a"
        choice = (
            "tie" if row["choice"] == "tie" else ("left" if row["choice"] == first else "right")
        )
        kept = {name: row[name] for name in ("annotator", "prompt", "photo_id", "subset")}
        rows.append({"left_id": sides[0], "right_id": sides[1], "choice": choice, **kept})
    return pa.Table.from_pylist(rows, schema=schema.CHOICES)


FORMULA = re.compile("(?s)'*[=+\\-@\t\r\n＝＋－＠].*")
"""Text that a spreadsheet may take for a formula and run, after any number of quotes of ours."""


def defused(table: pa.Table) -> pa.Table:
    """A table for a CSV file: no text of it is a formula. `restored` gives the text back.

    >>> table = pa.table({"prompt": ["=1+1", "'=1+1", "a + b", "'twas", None]})
    >>> defused(table)["prompt"].to_pylist()
    ["'=1+1", "''=1+1", 'a + b', "'twas", None]
    """
    for at, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            is_formula = pc.match_substring_regex(table[at], f"^(?:{FORMULA.pattern})$")
            quoted = pc.binary_join_element_wise("'", table[at], "")
            table = table.set_column(at, field, pc.if_else(is_formula, quoted, table[at]))
    return table


def restored(text: str) -> str:
    """A text of a CSV file as it was before `defused`.

    >>> [restored(text) for text in ("'=1+1", "''=1+1", "=1+1", "'twas")]
    ['=1+1', "'=1+1", '=1+1', "'twas"]
    """
    return text[1:] if text.startswith("'") and FORMULA.fullmatch(text) else text
