"""Photos are listed from every kind of source, each with its caption, and read byte for byte."""

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe.config.inputs import Photos
from raypipe.inputs.photos import PhotoReader, list_photos
from raypipe.inputs.shards import split_name
from raypipe.storage import schema
from tests.support.mistakes import mistake
from tests.support.pictures import encoded, noise

PICTURES = [encoded(noise(seed)) for seed in range(5)]
CAPTIONS = ["one", "two", "three é", None, "five"]


def folder(root):
    """Captions of both kinds: of two photos in a metadata file of a subfolder."""
    (root / "deep").mkdir(parents=True)
    lines = []
    for number, (data, caption) in enumerate(zip(PICTURES, CAPTIONS, strict=True)):
        below = "deep/" if number < 2 else "late-"
        (root / f"{below}{number}.png").write_bytes(data)
        if number < 2:
            lines.append(json.dumps({"file_name": f"{number}.png", "text": caption}))
        elif caption is not None:
            (root / f"{below}{number}.txt").write_text(f" {caption}\n", encoding="utf-8")
    (root / "deep" / "metadata.jsonl").write_text("\n".join(lines))
    (root / "readme.txt").write_text("no caption")
    return Photos(folder=str(root))


def parquet(root):
    root.mkdir()
    for part, some in enumerate((slice(0, 2), slice(2, 5))):
        rows = {"TEXT": CAPTIONS[some], "jpg": PICTURES[some]}
        pq.write_table(pa.table(rows), root / f"{part}.parquet", row_group_size=2)
    return Photos(parquet=str(root), image="jpg", captions=("caption", "TEXT"))


def parquet_of_structs(root):
    root.mkdir()
    pictures = [{"bytes": data, "path": "x.png"} for data in PICTURES]
    pq.write_table(pa.table({"image": pictures, "text": CAPTIONS}), root / "x.parquet")
    return Photos(parquet=str(root / "x.parquet"))


def huggingface(root):
    datasets = pytest.importorskip("datasets", reason="the hub extra is not installed")
    root.mkdir()
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    rows = [
        {"image": {"bytes": data, "path": None}, "text": caption}
        for data, caption in zip(PICTURES, CAPTIONS, strict=True)
    ]
    datasets.Dataset.from_list(rows, features=features).to_parquet(root / "train.parquet")
    return Photos(huggingface=str(root))


def add(tar, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def shards(root):
    """Two shards; captions in .txt and .json, before and after their photos."""
    root.mkdir()
    for part, numbers in enumerate(([0, 1], [2, 3, 4])):
        with tarfile.open(root / f"{part:05d}.tar", "w") as tar:
            for number in numbers:
                stem = f"{'a' * 120}/{number:06d}"  # longer than a plain header has room for
                caption = CAPTIONS[number]
                if number == 1:
                    add(tar, f"{stem}.txt", caption.encode())
                add(tar, f"{stem}.png", PICTURES[number])
                add(tar, f"{stem}.json", json.dumps({"caption": caption, "w": 12}).encode())
    return Photos(shards=str(root))


KINDS = [folder, parquet, parquet_of_structs, huggingface, shards]


@pytest.mark.parametrize("make", KINDS)
def test_every_source_gives_the_same_photos(make, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    photos = make(tmp_path / "photos")
    planned = list_photos(photos, 2)
    assert planned.schema == schema.SOURCES
    assert planned["caption"].to_pylist() == CAPTIONS
    assert planned["batch_id"].to_pylist() == [f"0000-{n // 2:08d}" for n in range(5)]
    sources = planned["source"].to_pylist()
    read = PhotoReader(photos)
    assert read(sources) == PICTURES
    assert read(sources[3:] + sources[:1]) == [PICTURES[3], PICTURES[4], PICTURES[0]]


def test_one_shard_and_a_default_caption(tmp_path):
    shards(tmp_path / "photos")
    one = Photos(shards=str(tmp_path / "photos" / "00001.tar"), default_caption="a photo")
    planned = list_photos(one, 8)
    assert planned["caption"].to_pylist() == ["three é", "a photo", "five"]
    assert PhotoReader(one)(planned["source"].to_pylist()) == PICTURES[2:]


def test_photos_that_are_gone_are_missing(tmp_path):
    for number, make in enumerate((folder, parquet, shards)):
        root = tmp_path / str(number)
        photos = make(root)
        source = list_photos(photos, 8)["source"][-1].as_py()
        (root.parent / "gone").mkdir(exist_ok=True)
        root.rename(root.parent / "gone" / root.name)
        assert PhotoReader(photos)([source]) == [None]


@pytest.mark.parametrize(
    ("name", "stem", "ending"),
    [("a/b.png", "a/b", ".png"), ("a.b/c.x.JPG", "a.b/c", ".x.jpg"), ("plain", "plain", "")],
)
def test_stems_are_those_of_webdataset(name, stem, ending):
    assert split_name(name) == (stem, ending)


def test_sources_without_photos_or_captions_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    empty = str(tmp_path / "empty")
    assert mistake(list_photos, Photos(folder=empty), 4) == f"no photos found: {empty}"
    assert mistake(list_photos, Photos(shards=empty), 4) == f"no photos found: {empty}"
    assert "photo folder not found" in mistake(list_photos, Photos(folder=f"{empty}/x"), 4)
    assert "shard not found" in mistake(list_photos, Photos(shards=f"{empty}/x.tar"), 4)
    (tmp_path / "empty" / "a.png").write_bytes(PICTURES[0])
    told = mistake(list_photos, Photos(folder=empty), 4)
    assert told.startswith("none of the 1 photos has a caption (photos.captions = caption, text); ")
    (tmp_path / "empty" / "metadata.jsonl").write_text('{"text": "x"}\n')
    assert "must be an object with a file_name" in mistake(list_photos, Photos(folder=empty), 4)


def test_what_is_no_shard_is_refused(tmp_path):
    shard = tmp_path / "x.tar"
    shard.write_bytes(b"nothing of the kind" * 100)
    assert f"shard cannot be read: {shard}" in mistake(list_photos, Photos(shards=str(shard)), 4)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"picture": [b"x"], "caption": ["a"]}, "has no column image; it has "),
        ({"image": ["x.png"], "caption": ["a"]}, "must be encoded bytes, got string"),
        ({"image": [b"x"], "words": ["a"]}, "none of the 1 photos has a caption"),
        ({"image": [b"x"], "caption": [7]}, "none of the 1 photos has a caption"),
    ],
)
def test_parquet_of_another_shape_is_refused(tmp_path, columns, told):
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    assert told in mistake(list_photos, Photos(parquet=str(tmp_path / "x.parquet")), 4)
    (tmp_path / "x.parquet").write_text("no table")
    assert "Parquet photos cannot be read" in mistake(
        list_photos, Photos(parquet=str(tmp_path / "x.parquet")), 4
    )
