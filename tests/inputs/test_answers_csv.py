"""Answers as CSV: no cell is a formula, and all of it reads back exactly."""

import csv
import io

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv as arrow_csv

from raypipe.inputs.answers import defused, restored

NASTY = st.text(alphabet="'=+-@\t\r\n ＝＠a\"|,", max_size=6)


@given(st.lists(st.one_of(NASTY, st.text(max_size=8)), min_size=1, max_size=20))
def test_any_text_reads_back(texts):
    assert [restored(t) for t in defused(pa.table({"p": texts}))["p"].to_pylist()] == texts


def test_no_cell_of_a_file_begins_like_a_formula():
    texts = ["=1+1", "+1", "-2-3", "@SUM(A1)", "\t=1", "\r=1", "'=1", "plain", "a=b", "-"]
    sink = io.BytesIO()
    arrow_csv.write_csv(defused(pa.table({"p": texts, "n": range(-5, 5)})), sink)
    rows = list(csv.DictReader(io.StringIO(sink.getvalue().decode(), newline="")))
    assert not [row["p"] for row in rows if row["p"][0] in "=+-@\t\r"]
    assert [restored(row["p"]) for row in rows] == texts
    assert [int(row["n"]) for row in rows] == list(range(-5, 5))
