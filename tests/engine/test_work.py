"""What is left of a plan, for any job."""

import pyarrow as pa
import pytest

from raypipe.engine.work import parts_without
from raypipe.storage.directory import RunDirectory


class Letters(RunDirectory):
    plan = pa.schema([("letter", pa.string()), ("batch_id", pa.string())])


@pytest.fixture
def letters(tmp_path, monkeypatch) -> RunDirectory:
    """Ten rows in four batches, in row groups of two batches."""
    monkeypatch.setattr("raypipe.storage.directory.GROUP", 5)
    run = Letters(str(tmp_path / "run"))
    rows = {"letter": list("abcdefghij"), "batch_id": [f"{i // 3}" for i in range(10)]}
    run.add_samples(pa.table(rows, schema=run.plan), run.next_part())
    return run


def left(run: RunDirectory, *files: str) -> dict[str, list[str]]:
    batches = [batch for part in parts_without(run, files) for batch in part.read()]
    return {batch["batch_id"][0].as_py(): batch["letter"].to_pylist() for batch in batches}


def test_a_batch_is_left_while_a_file_of_it_is_missing(letters):
    files = ("first/{batch_id}.parquet", "second/a.{batch_id}.parquet")
    assert list(left(letters, *files)) == ["0", "1", "2", "3"]
    done = pa.table({"x": [1]})
    for name in ("first/0.parquet", "first/2.parquet", "second/a.0.parquet", "second/b.2.parquet"):
        letters.write_table(name, done)
    assert left(letters, *files) == {"1": list("def"), "2": list("ghi"), "3": list("j")}
    assert left(letters, files[0]) == {"1": list("def"), "3": list("j")}
    parts = parts_without(letters, files[:1])
    assert [(part.n_batches, part.n_samples) for part in parts] == [(1, 3), (1, 1)]


def test_nothing_is_left_when_all_is_there(letters):
    for batch in range(4):
        letters.write_table(f"first/{batch}.parquet", pa.table({"x": [1]}))
    assert parts_without(letters, ["first/{batch_id}.parquet"]) == []
    assert letters.samples()["letter"].to_pylist() == list("abcdefghij")
