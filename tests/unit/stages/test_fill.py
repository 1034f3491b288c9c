"""What is missing is decided by the files that are there, and by nothing else."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe import schema
from raypipe.plan import batches
from raypipe.run import Run
from raypipe.settings import Consistency
from raypipe.stages.embed import file_name
from raypipe.stages.fill import missing

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
        *(file_name(encoder, batch_id) for encoder in CONFIG.encoder),
    )
]


@pytest.fixture(scope="module")
def run_with(tmp_path_factory):
    """Makes a run directory that holds these files."""

    def make(files):
        run = Run(str(tmp_path_factory.mktemp("run")))
        for name in files:
            run.folder.write(name, b"")
        return run

    return make


def test_there_are_batches_of_both_kinds():
    assert len(BATCHES) == 3 + 2
    assert len(set(ALL_FILES)) == 5 * 3


@given(present=st.sets(st.sampled_from(ALL_FILES)))
def test_exactly_the_batches_that_lack_a_file_are_missing(run_with, present):
    work = missing(run_with(present), CONFIG, SAMPLES)
    expected: dict[str, set[str]] = {"generate": set(), "read": set(), "load": set()}
    for batch_id in BATCHES:
        images, *embeddings = (name for name in ALL_FILES if batch_id in name)
        if images not in present:
            expected["read" if batch_id in BATCHES[3:] else "generate"].add(batch_id)
        elif not present.issuperset(embeddings):
            expected["load"].add(batch_id)
    assert {way: set(found) for way, found in work.items()} == {
        way: wanted for way, wanted in expected.items() if wanted
    }
    for found in work.values():
        for batch_id, batch in found.items():
            ids = [s["sample_id"] for s in SAMPLES.to_pylist() if s["batch_id"] == batch_id]
            assert batch["sample_id"].to_pylist() == ids  # whole batches, in order


def test_a_half_written_file_does_not_count(run_with, tmp_path):
    run = run_with(ALL_FILES)
    assert missing(run, CONFIG, SAMPLES) == {}
    run.folder.delete(ALL_FILES[0])
    run.folder.write(ALL_FILES[0] + ".0a1b2c3d.partial", b"half")
    assert {way: list(found) for way, found in missing(run, CONFIG, SAMPLES).items()} == {
        "generate": BATCHES[:1]
    }


def test_files_of_other_encoders_or_strangers_do_not_count(run_with):
    run = run_with([name for name in ALL_FILES if "/two-openai." not in name])
    run.folder.write(f"embeddings/three.{BATCHES[0]}.parquet", b"")
    run.folder.write("images/notes.txt", b"")
    assert set(missing(run, CONFIG, SAMPLES)["load"]) == set(BATCHES)
