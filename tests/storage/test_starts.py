"""A start that is taken back, whatever else lies in the run directory."""

import json
import shutil

import pyarrow as pa
import pytest

from raypipe.config.strict import JobConfig
from raypipe.storage import starts
from raypipe.storage.damage import DamagedError
from raypipe.storage.directory import RunDirectory


class Run(RunDirectory):
    plan = pa.schema([("batch_id", pa.string())])


@pytest.fixture
def run(tmp_path):
    """A finished run with one part of a plan, of which a second start was begun."""
    run = Run(str(tmp_path / "run"))
    run.folder.write("config.yaml", b"output: run\n")
    run.add_samples(pa.table({"batch_id": ["a"]}), 0)
    run.folder.write("manifest.json", b'{"config_hash": "\xc3"}')  # a bit of it has changed
    run.begin(JobConfig(output=str(tmp_path / "run")), encoders={})
    return run


def test_everything_is_as_it_was_to_the_byte(run):
    run.add_samples(pa.table({"batch_id": ["b"]}), 1)
    assert not starts.take_back(run, is_own=True)
    assert run.folder.read("manifest.json") == b'{"config_hash": "\xc3"}'
    assert run.folder.read("config.yaml") == b"output: run\n"
    assert run.samples().to_pylist() == [{"batch_id": "a"}]


def test_a_copy_of_a_part_is_no_part(run, tmp_path):
    part = tmp_path / "run" / "samples" / "0000.parquet"
    shutil.copy(part, part.with_name("0000 copy.parquet"))
    starts.take_back(run, is_own=True)
    assert run.samples().to_pylist() == [{"batch_id": "a"}]


@pytest.mark.parametrize("content", [{}, {"files": [], "parts": 1, "made": ""}, []])
def test_a_damaged_note_of_a_start_is_named(run, content):
    run.folder.write(starts.PREVIOUS, json.dumps(content).encode())
    with pytest.raises(DamagedError, match=r"previous\.json must be"):
        starts.can_be_taken_back(run, JobConfig(output=run.uri))


def test_what_a_file_manager_leaves_does_not_fill_a_directory(tmp_path):
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    Run(str(tmp_path)).check(JobConfig(output=str(tmp_path)))
