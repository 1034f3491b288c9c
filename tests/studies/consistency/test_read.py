"""Pictures that exist reach the run byte for byte, from every kind of source."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raypipe.config.inputs import Images
from raypipe.inputs import pictures as existing
from raypipe.storage import schema
from raypipe.studies.consistency.read import LoadImages, ReadImages
from tests.support.mistakes import mistake
from tests.support.pictures import encoded, noise


@pytest.fixture
def rows():
    return [
        {"model": model, "prompt": prompt, "seed": seed, "image": encoded(noise(seed))}
        for model in ("a", "b")
        for prompt in ("a ball", "a box / '😀'")
        for seed in range(3)
    ]


def read(images: Images) -> dict:
    """Everything that a source lists, through the stage."""
    listed = existing.list_pictures(images)
    table = ReadImages(images)(pa.table({"source": [found.source for found in listed]}))
    return {
        (found.model, found.prompt, found.seed): row
        for found, row in zip(listed, table.to_pylist(), strict=True)
    }


def test_parquet_over_several_files_and_row_groups(rows, tmp_path):
    for index in range(2):
        part = pa.Table.from_pylist(rows[6 * index : 6 * index + 6])
        pq.write_table(part, tmp_path / f"part{index}.parquet", row_group_size=2)
    found = read(Images(parquet=str(tmp_path)))
    assert len(found) == 12
    for row in rows:
        got = found[row["model"], row["prompt"], row["seed"]]
        assert got["image"] == row["image"]
        assert (got["width"], got["height"], got["status"]) == (12, 9, schema.OK)


def test_a_hugging_face_data_set(rows, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="the hub extra is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features(
        {
            "model": datasets.Value("string"),
            "prompt": datasets.Value("string"),
            "seed": datasets.Value("int64"),
            "image": datasets.Image(),
        }
    )
    stored = [{**row, "image": {"bytes": row["image"], "path": None}} for row in rows]
    (tmp_path / "data").mkdir()
    made = datasets.Dataset.from_list(stored, features=features)
    made.to_parquet(tmp_path / "data" / "train.parquet")
    found = read(Images(huggingface=str(tmp_path / "data")))
    assert list(found) == [(row["model"], row["prompt"], row["seed"]) for row in rows]
    for row in rows:
        assert found[row["model"], row["prompt"], row["seed"]]["image"] == row["image"]
    told = mistake(existing.list_pictures, Images(huggingface=str(tmp_path / "absent")))
    assert told.startswith("data set cannot be read: ")


def test_a_folder_with_files_that_cannot_be_used(tmp_path):
    folder = tmp_path / "m" / "p"
    folder.mkdir(parents=True)
    (folder / "0.png").write_bytes(encoded(noise(0)))
    (folder / "1.png").write_bytes(b"not a picture")
    Image.new("RGB", (8, 8), "red").save(folder / "2.png")
    (folder / "3.png").write_bytes(encoded(noise(3))[:60])
    (folder / "4.jpg").write_bytes(encoded(noise(4)[..., 0]))
    found = read(Images(folder=str(tmp_path)))
    reasons = {seed: row["reason"] for (_, _, seed), row in found.items()}
    assert reasons == {0: None, 1: "unreadable", 2: "blank", 3: "unreadable", 4: None}
    assert found["m", "p", 1]["image"] is None


def test_a_missing_picture_is_a_row(tmp_path):
    gone = ReadImages(Images(folder=str(tmp_path)))(pa.table({"source": ["", f"{tmp_path}/x.png"]}))
    assert gone["reason"].to_pylist() == ["missing", "missing"]
    assert gone["status"].to_pylist() == [schema.QUARANTINED] * 2


def test_stored_pictures_are_loaded_by_batch(tmp_path):
    (tmp_path / "images").mkdir()
    table = pa.table(
        {"image": [encoded(noise(1)), None], "status": [schema.OK, schema.QUARANTINED]}
    )
    pq.write_table(table, tmp_path / "images" / "0000-00000003.parquet")
    loaded = LoadImages(str(tmp_path))(pa.table({"batch_id": ["0000-00000003"] * 2}))
    assert loaded.to_pylist() == table.to_pylist()
