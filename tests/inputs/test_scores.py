"""Scores of a finished run of jobs/evaluate.py: whole, or one line that names the file."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe.inputs.scores import read_scores
from raypipe.storage import manifest, schema
from raypipe.storage.files import Folder
from tests.support.mistakes import mistake

RECORDS = [{"name": "sharpness", "reads": "image"}, {"name": "fid", "reads": "set"}]
TABLE = pa.Table.from_pylist(
    [
        {"image_id": f"{i}", "model": "a", "prompt_id": "p", "photo_id": "p", "status": "ok"}
        for i in range(3)
    ],
    schema=schema.TABLE,
)


@pytest.fixture(params=["new", "older"])
def run(request, tmp_path):
    """A finished run; an older one's manifest has no digests."""
    write(tmp_path, RECORDS, scored(TABLE), request.param == "new")
    return tmp_path


def scored(table, values=(1.0, 2.0, None)):
    table = table.append_column("sharpness", pa.array(values, pa.float64()))
    return table.append_column("sharpness.reason", pa.array([None, None, "blank"]))


def write(folder, records, table, has_digests):
    (folder / "results.json").write_text(json.dumps({"metrics": records}))
    pq.write_table(table, folder / "scores.parquet")
    made = {"job": "evaluate", "config_hash": "x", "config": {}}
    if has_digests:
        names = ("results.json", "scores.parquet")
        made = manifest.with_digests(made, [(n, (folder / n).read_bytes()) for n in names])
    (folder / "manifest.json").write_text(json.dumps(made))


def told(run) -> str:
    return mistake(read_scores, str(run))


def test_scores_are_read_by_metric_and_picture(run):
    found = read_scores(str(run))
    assert found.scores == {"sharpness": {"0": 1.0, "1": 2.0}}
    assert found.reasons == {"sharpness": {"2": "blank"}}
    assert list(found.not_judged) == ["fid"]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"Bud1", b"[1]", b"{}", b"{", b"\xff\xfe", None])
@pytest.mark.parametrize("name", ["results.json", "scores.parquet"])
def test_a_damaged_file_is_named(run, name, content):
    if content is None:
        (run / name).unlink()
    else:
        (run / name).write_bytes(content)
    assert told(run).startswith(f"{run}/{name} ")


@pytest.mark.parametrize(
    ("records", "table", "file"),
    [
        ([{"name": "sharpness"}], scored(TABLE), "results.json"),
        (["sharpness"], scored(TABLE), "results.json"),
        (RECORDS, TABLE, "scores.parquet"),
        (RECORDS, scored(TABLE).drop_columns(["photo_id"]), "scores.parquet"),
        (RECORDS, scored(TABLE).drop_columns(["sharpness.reason"]), "scores.parquet"),
    ],
)
def test_what_a_file_lacks_is_named(tmp_path, records, table, file):
    write(tmp_path, records, table, has_digests=True)
    assert told(tmp_path).startswith(f"{tmp_path}/{file} ")


@pytest.mark.parametrize("change", [{"job": "align"}, {"config": {"seed": 1}}, {"digests": {}}])
def test_a_manifest_that_was_changed_is_refused(tmp_path, change):
    write(tmp_path, RECORDS, scored(TABLE), has_digests=True)
    made = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(made | change))
    assert told(tmp_path) == f"{tmp_path}/manifest.json has changed since it was written"


def test_other_numbers_than_those_that_were_written_are_refused(tmp_path):
    write(tmp_path, RECORDS, scored(TABLE), has_digests=True)
    pq.write_table(scored(TABLE, (1.0, 3.0, None)), tmp_path / "scores.parquet")
    assert told(tmp_path) == f"{tmp_path}/scores.parquet has changed since it was written"


def test_a_manifest_reads_back_with_its_digest(tmp_path):
    folder = Folder(str(tmp_path))
    made = manifest.with_digests({"a": (1, 2.5), "b": None, "ä": {"x": 1e-9}}, [("f", b"1")])
    folder.write(manifest.NAME, json.dumps(made, ensure_ascii=False).encode())
    assert manifest.read(folder) == json.loads(json.dumps(made))
