"""What is missing is decided by the files that are there, and by nothing else."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.storage import schema
from raypipe.storage.names import batch_file
from raypipe.studies.consistency.plan import batches
from raypipe.studies.consistency.run import Run
from raypipe.studies.consistency.settings import Consistency
from raypipe.studies.consistency.work import missing

CONFIG = Consistency.model_validate(
    {
        "models": [{"name": "made", "id": "x"}, {"name": "found"}],
        "images": "somewhere",
        "prompts": ["p"],
        "seeds": 6,
        "encoder": [{"id": "one"}, {"id": "two"}],
        "pools": {"generate": {"batch_size": 2}, "read": {"batch_size": 3}},
        "output": "o",
    }
)
SOURCES = {"made": None, "found": ""}  # of a picture that lacks: it is read, and counted
ROWS = [
    dict.fromkeys(schema.SAMPLES.names, "x")
    | {"sample_id": f"{model}{seed}", "model": model, "seed": seed, "source": source}
    for model, source in SOURCES.items()
    for seed in range(6)
]
SAMPLES = batches(pa.Table.from_pylist(ROWS, schema=schema.PLANNED), CONFIG, 0)
BATCHES = sorted(set(SAMPLES["batch_id"].to_pylist()))
ALL_FILES = [
    name
    for batch_id in BATCHES
    for name in (
        f"images/{batch_id}.parquet",
        *(batch_file("embeddings", encoder.name, batch_id) for encoder in CONFIG.encoder),
    )
]


@pytest.fixture(scope="module")
def run_with(tmp_path_factory):
    """Makes a run directory that holds the plan and these files."""

    def make(files):
        run = Run(str(tmp_path_factory.mktemp("run")))
        run.add_samples(SAMPLES, 0)
        for name in files:
            run.folder.write(name, b"")
        return run

    return make


def test_there_are_batches_of_both_kinds():
    assert len(BATCHES) == 3 + 2
    assert len(set(ALL_FILES)) == 5 * 3


def batches_of(work, way):
    """The batches that need this way, as a worker would read them."""
    return [batch for part in work.get(way, []) for batch in part.read()]


@given(present=st.sets(st.sampled_from(ALL_FILES)))
def test_exactly_the_batches_without_all_their_files_are_missing(run_with, present):
    work = missing(run_with(present), CONFIG)
    expected: dict[str, list[str]] = {}
    for batch_id in BATCHES:
        images, *embeddings = (name for name in ALL_FILES if batch_id in name)
        if images not in present:
            way = "read" if batch_id in BATCHES[3:] else "generate"
            expected.setdefault(way, []).append(batch_id)
        elif not present.issuperset(embeddings):
            expected.setdefault("load", []).append(batch_id)
    assert work.keys() == expected.keys()
    for way, batch_ids in expected.items():
        found = batches_of(work, way)
        for batch_id, batch in zip(batch_ids, found, strict=True):
            mine = SAMPLES.filter(pc.equal(SAMPLES["batch_id"], batch_id))
            assert batch.equals(mine)  # whole batches, in order
        assert sum(part.n_batches for part in work[way]) == len(found)
        assert sum(part.n_samples for part in work[way]) == sum(map(len, found))


def test_a_half_written_file_does_not_count(run_with):
    run = run_with(ALL_FILES)
    assert missing(run, CONFIG) == {}
    run.folder.delete(ALL_FILES[0])
    run.folder.write(ALL_FILES[0] + ".0a1b2c3d.partial", b"half")
    work = missing(run, CONFIG)
    assert [set(b["batch_id"].to_pylist()) for b in batches_of(work, "generate")] == [{BATCHES[0]}]
    assert work.keys() == {"generate"}


def test_files_of_other_encoders_and_other_files_do_not_count(run_with):
    run = run_with([name for name in ALL_FILES if "/two-openai~" not in name])
    run.folder.write(f"embeddings/three.{BATCHES[0]}.parquet", b"")
    run.folder.write("images/notes.txt", b"")
    found = batches_of(missing(run, CONFIG), "load")
    assert [batch["batch_id"][0].as_py() for batch in found] == BATCHES


@pytest.mark.parametrize("group", [1, 4, 5, 1000])
def test_the_plan_is_read_in_groups_of_whole_batches(run_with, monkeypatch, group):
    monkeypatch.setattr("raypipe.storage.directory.GROUP", group)
    run = run_with([])
    assert run.samples().equals(SAMPLES)
    groups = list(run.plan_groups(["batch_id", "source"]))
    assert len(groups) == {1: 5, 4: 3, 5: 2, 1000: 1}[group]
    ids = [set(table["batch_id"].to_pylist()) for _, _, table in groups]
    assert sum(map(len, ids)) == len(set().union(*ids)) == len(BATCHES)  # none in two groups
    work = missing(run, CONFIG)
    found = batches_of(work, "generate") + batches_of(work, "read")
    assert [batch["batch_id"][0].as_py() for batch in found] == BATCHES
