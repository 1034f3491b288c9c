"""Parquet files with digests: any reader opens them, and no bit of them changes unnoticed."""

import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe.storage import parquet
from raypipe.storage.damage import DamagedError
from raypipe.storage.files import Folder
from raypipe.storage.parquet import ParquetFile
from tests.support.mistakes import mistake

N, DIM = 24, 16
METADATA = {b"raypipe.device_seconds": b"1.5"}
SMALL = ["sample_id", "embedding", "score"]


def table(picture_bytes: int = 9_000) -> pa.Table:
    """With a column of pictures that is much larger than what is fetched at once."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(N, DIM)).astype(np.float32)
    return pa.table(
        {
            "sample_id": [f"{i:032x}" for i in range(N)],
            "embedding": pa.array(list(vectors), pa.list_(pa.float32(), DIM)),
            "image": [rng.bytes(picture_bytes) for _ in range(N)],
            "faces": pa.array([[{"box": [1.0, 2.0], "word": "a"}]] * N),
            "score": pa.array(rng.random(N), pa.float32()),
            "score.reason": pa.array([None, "no face"] * (N // 2), pa.string()),
        }
    )


@pytest.fixture
def folder(tmp_path):
    return Folder(str(tmp_path))


@pytest.fixture
def stored(folder, tmp_path):
    """The bytes of a file of two row groups, `x.parquet`."""
    parquet.write(folder, "x.parquet", [table(), table()], table().schema.with_metadata(METADATA))
    return (tmp_path / "x.parquet").read_bytes()


def footer_of(data: bytes) -> int:
    return len(data) - 8 - int.from_bytes(data[-8:-4], "little")


def told(folder, columns=None) -> str:
    return mistake(parquet.read, folder, "x.parquet", columns)


def test_any_reader_of_parquet_opens_it(stored, tmp_path):
    found = pq.read_table(tmp_path / "x.parquet")
    assert found.equals(pa.concat_tables([table(), table()]))
    assert found.schema.metadata == METADATA


@pytest.mark.parametrize(
    "columns",
    [None, SMALL, ["score"], ["score.reason"], ["faces", "sample_id"], ["image"], list("x")[:0]],
)
def test_columns_are_those_of_another_reader(stored, folder, tmp_path, columns):
    found = parquet.read(folder, "x.parquet", columns)
    assert found.equals(pq.read_table(tmp_path / "x.parquet", columns=columns))
    for group in (0, 1):
        part = ParquetFile(folder, "x.parquet").read(columns, [group])
        assert part.equals(table().select(columns if columns is not None else table().column_names))


def test_pictures_are_not_fetched_with_the_other_columns(stored, folder):
    fetched = 0
    file = ParquetFile(folder, "x.parquet")
    fetch = file._fetch

    def counting(start, end):
        nonlocal fetched
        fetched += end - start
        return fetch(start, end)

    file._fetch = counting
    file.read(SMALL)
    assert 0 < fetched < len(stored) / 20


def flips(data: bytes, n: int, seed: int) -> list[bytes]:
    """The file with one bit changed each; half of them are in its last 600 bytes, or the gap."""
    rng = random.Random(seed)
    made = []
    for number in range(n):
        first = 0 if number % 2 else footer_of(data) - 300
        at = rng.randrange(first, len(data))
        made.append(data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :])
    return made


@pytest.mark.parametrize("n", [300, pytest.param(3_000, marks=pytest.mark.long)])
def test_no_bit_changes_unnoticed(stored, folder, tmp_path, n):
    want, caught = parquet.read(folder, "x.parquet", SMALL), 0
    for changed in flips(stored, n, seed=n):
        (tmp_path / "x.parquet").write_bytes(changed)
        with pytest.raises(DamagedError):
            ParquetFile(folder, "x.parquet").check()
        try:  # a bit of a picture is none of the columns that are read here
            assert parquet.read(folder, "x.parquet", SMALL).equals(want)
        except DamagedError:
            caught += 1
    assert caught > n / 3


@pytest.mark.parametrize("part", ["footer", "length", "begin", "end", "digest", "key", "data"])
def test_each_part_of_the_file_is_covered(stored, folder, tmp_path, part):
    footer = footer_of(stored)
    at = {
        "footer": footer + 20,
        "length": len(stored) - 8,
        "begin": stored.index(parquet.BEGIN),
        "end": stored.index(parquet.END),
        "digest": stored.index(parquet.BEGIN) + len(parquet.BEGIN),
        "key": stored.index(parquet.KEY),
        "data": 200,
    }[part]
    for bit in range(8):
        changed = stored[:at] + bytes([stored[at] ^ 1 << bit]) + stored[at + 1 :]
        (tmp_path / "x.parquet").write_bytes(changed)
        assert str(tmp_path / "x.parquet") in told(folder)


def test_a_file_whose_digests_were_cut_out_does_not_pass_for_an_older_one(stored, folder, tmp_path):
    begin, footer = stored.index(parquet.BEGIN), footer_of(stored)
    (tmp_path / "x.parquet").write_bytes(stored[:begin] + stored[footer:])
    assert "has changed since it was written: its digests" in told(folder)


@pytest.mark.parametrize(
    "content",
    [b"", b"PAR1", b"PAR1PAR1PAR1", b"not Parquet at all, but long enough", b"\0" * 5_000],
)
def test_what_is_no_parquet_file_is_one_line_with_its_name(folder, tmp_path, content):
    (tmp_path / "x.parquet").write_bytes(content)
    assert told(folder).startswith(f"{tmp_path}/x.parquet must be a whole Parquet file")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_cut_file_is_named(stored, folder, tmp_path, share):
    (tmp_path / "x.parquet").write_bytes(stored[: int(share * len(stored))])
    assert "x.parquet must be a whole Parquet file" in told(folder)


def test_a_missing_file_and_a_missing_column_are_named(stored, folder):
    with pytest.raises(DamagedError, match=r"y\.parquet is missing"):
        parquet.read(folder, "y.parquet")
    assert "must have the column medoid, got sample_id" in told(folder, ["medoid"])
    with pytest.raises(DamagedError, match="must have the column score as string, got float"):
        parquet.read(folder, "x.parquet", schema=pa.schema([("score", pa.string())]))


def test_a_file_without_digests_is_read_as_it_is(folder, tmp_path):
    pq.write_table(table(), tmp_path / "x.parquet", compression="zstd")
    file = ParquetFile(folder, "x.parquet")
    assert not file.sealed
    assert file.read().equals(table())
    assert file.read(SMALL).equals(table().select(SMALL))
    file.check()


def test_an_empty_table_has_digests_too(folder):
    parquet.write(folder, "x.parquet", [table().slice(0, 0)], table().schema)
    file = ParquetFile(folder, "x.parquet")
    assert file.sealed
    assert file.read().equals(table().slice(0, 0))
    parquet.write(folder, "x.parquet", [], table().schema)
    assert len(parquet.read(folder, "x.parquet", SMALL)) == 0
